//! `replay` and `report` as a user runs them, over bags made here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use squeezenet_node::bag::writer::BagWriter;
use squeezenet_node::bag::{Bag, Message, Selection};
use squeezenet_node::message::{
    CompressedImage, Header, Image, RosMessage, Stamp, Text, TfMessage, TransformStamped,
};

const SECOND: u64 = 1_000_000_000;

/// ONNX Runtime's library: where the environment says, or in the checkout's own set-up.
fn runtime() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return Some(path.into());
    }
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/venv/lib");
    let capi = |folder: PathBuf| folder.join("site-packages/onnxruntime/capi");
    let pythons = std::fs::read_dir(lib).ok()?.flatten();
    let files = pythons.flat_map(|entry| std::fs::read_dir(capi(entry.path()))).flatten();
    let mut paths = files.flatten().map(|entry| entry.path());
    paths.find(|path| path.to_string_lossy().contains("libonnxruntime.so"))
}

/// The command, or `None` where no network can run.
fn command(arguments: &[&str]) -> Option<Command> {
    let Some(runtime) = runtime() else {
        eprintln!("skipped: there is no ONNX Runtime; set ORT_DYLIB_PATH");
        return None;
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_squeezenet_node"));
    command.args(arguments).env("ORT_DYLIB_PATH", runtime);
    command.env("SQUEEZENET_MODELS", concat!(env!("CARGO_MANIFEST_DIR"), "/models"));
    Some(command)
}

fn run(arguments: &[&str]) -> Option<(i32, String, String)> {
    let Output { status, stdout, stderr } = command(arguments)?.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Some((status.code().unwrap(), text(stdout), text(stderr)))
}

fn header(number: u32) -> Header<'static> {
    Header { stamp: Stamp { sec: number as i32, nanosec: 25 }, frame_id: "camera" }
}

/// A picture that differs from number to number.
fn image(number: u32) -> Vec<u8> {
    let pixels: Vec<u8> =
        (0..3 * 96 * 64).map(|i| (i * (3 + number) / 7 + i / 288) as u8).collect();
    let image = Image {
        header: header(number),
        height: 64,
        width: 96,
        encoding: "bgr8",
        is_bigendian: false,
        step: 288,
        data: &pixels,
    };
    image.to_cdr()
}

/// A bag of `count` pictures a second apart.
fn bag(folder: &Path, count: u32) -> PathBuf {
    let path = folder.join("in.mcap");
    let mut writer = BagWriter::create(&path).unwrap();
    let topic = writer.add("/front/image_raw", Image::TYPE, false).unwrap();
    for number in 0..count {
        let time = SECOND * (1 + u64::from(number));
        writer.write(topic, time, time, &image(number)).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn messages(path: &Path) -> Vec<Message> {
    let bag = Bag::open(path).unwrap();
    assert!(bag.problems().is_empty(), "{:?}", bag.problems());
    bag.messages(&Selection::ALL).unwrap().collect::<Result<_, _>>().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_smoothed_mask_hangs_on_the_frames_before_over_any_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let input = bag(folder.path(), 4);
    let parameters = folder.path().join("smooth.yaml");
    let yaml = "squeezenet:\n  ros__parameters:\n    mask: {smoothing: 0.9}\n";
    std::fs::write(&parameters, yaml).unwrap();
    let mut runs = Vec::new();
    for (is_smoothed, jobs) in [(false, "2"), (true, "1"), (true, "3")] {
        let out = folder.path().join(format!("out{}.mcap", runs.len()));
        let mut arguments = vec!["replay", text(&input), "--out", text(&out), "--jobs", jobs];
        arguments.extend(["--outputs", "confidence"]);
        if is_smoothed {
            arguments.extend(["--params-file", text(&parameters)]);
        }
        let Some((code, _, stderr)) = run(&arguments) else { return };
        assert_eq!(code, 0, "{stderr}");
        let mut all = messages(&out);
        all.retain(|message| &*message.topic == "/squeezenet/confidence");
        assert_eq!(all.len(), 4);
        runs.push(all);
    }
    assert_eq!(runs[0][0], runs[1][0], "the first frame has none before it");
    assert_ne!(runs[0][1..], runs[1][1..]);
    assert_eq!(runs[1], runs[2]);
}

#[test]
fn runs_give_the_same_bytes_over_any_threads_and_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let input = bag(folder.path(), 5);
    let mut runs = Vec::new();
    for (threads, jobs, told) in [
        ("1", None, "1 frame at once on 1 thread each"),
        ("2", None, "2 frames at once on 1 thread each"),
        ("2", Some("1"), "1 frame at once on 2 threads each"),
        ("1", Some("3"), "3 frames at once on 1 thread each"),
    ] {
        let out = folder.path().join(format!("out{}.mcap", runs.len()));
        let mut arguments =
            vec!["replay", text(&input), "--out", text(&out), "--threads", threads, "--copy"];
        arguments.extend(jobs.iter().flat_map(|jobs| ["--jobs", jobs]));
        let Some((code, stdout, stderr)) = run(&arguments) else { return };
        assert!(stdout.contains(told), "{stdout}");
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("5 frames with squeezenet1_1_anywhere"), "{stdout}");
        let mut all = messages(&out);
        all.retain(|message| &*message.topic != "/squeezenet/timing");
        runs.push(all);
    }
    assert!(runs.iter().all(|run| *run == runs[0]));
    let on = |topic: &str| runs[0].iter().filter(|message| &*message.topic == topic).count();
    assert_eq!((on("/squeezenet/labels"), on("/front/image_raw")), (5, 5));
    let labels = runs[0].iter().find(|message| &*message.topic == "/squeezenet/labels").unwrap();
    assert_eq!(labels.log_time, SECOND, "the input's log time");
    assert_eq!(labels.payload[4..8], [0; 4], "the input's stamp");
    assert_eq!(labels.payload[8..12], 25_u32.to_le_bytes(), "the input's stamp");
}

#[test]
fn a_golden_file_passes_the_same_run_and_fails_another() {
    let folder = tempfile::tempdir().unwrap();
    let input = bag(folder.path(), 4);
    let golden = folder.path().join("golden.json");
    let Some((code, ..)) = run(&["replay", text(&input), "--write-golden", text(&golden)]) else {
        return;
    };
    assert_eq!(code, 0);
    let (code, stdout, _) = run(&["replay", text(&input), "--golden", text(&golden)]).unwrap();
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("0 differences in 4 frames"), "{stdout}");
    let changed =
        std::fs::read_to_string(&golden).unwrap().replacen("\"index\":", "\"index\":9", 1);
    std::fs::write(&golden, changed).unwrap();
    let (code, stdout, _) =
        run(&["replay", text(&input), "--golden", text(&golden), "--limit", "3"]).unwrap();
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.contains("/front/image_raw at 1.000000000: best label: expected"), "{stdout}");
    assert!(stdout.contains("1 differences in 3 frames"), "{stdout}");
    let golden = text(&golden);
    let other_folder = tempfile::tempdir().unwrap();
    let shorter = bag(other_folder.path(), 3);
    let (code, stdout, _) = run(&["replay", text(&shorter), "--golden", golden]).unwrap();
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.contains("at 4.000000000: the golden file's frame did not come"), "{stdout}");
}

#[test]
fn bad_messages_are_named_and_the_good_ones_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.mcap");
    let mut writer = BagWriter::create(&path).unwrap();
    let raw = writer.add("/front/image_raw", Image::TYPE, false).unwrap();
    let packed = writer.add("/rear/image/compressed", CompressedImage::TYPE, false).unwrap();
    let odd = |encoding, width, height| {
        let data = &[0; 600][..];
        let step = width;
        Image { header: header(1), height, width, encoding, is_bigendian: false, step, data }
            .to_cdr()
    };
    let file = CompressedImage { header: header(2), format: "jpeg", data: &[0xff, 0xd8, 0xff, 0] };
    let cut = image(3)[..200].to_vec();
    let payloads = [
        (raw, image(0)),
        (raw, cut),
        (raw, odd("jpeg2000", 10, 10)),
        (raw, odd("mono8", 60_000, 60_000)),
        (packed, file.to_cdr()),
        (raw, image(5)),
    ];
    for (number, (topic, payload)) in (1..).zip(&payloads) {
        writer.write(*topic, number * SECOND, number * SECOND, payload).unwrap();
    }
    writer.finish().unwrap();
    let report = folder.path().join("report");
    let Some((code, stdout, stderr)) = run(&["replay", text(&path), "--report", text(&report)])
    else {
        return;
    };
    assert_eq!(code, 1);
    assert!(stdout.contains("2 frames with") && stdout.contains("4 failures"), "{stdout}");
    for expected in [
        "/front/image_raw at 2.000000000: field data needs 18432 bytes",
        "/front/image_raw at 3.000000000: unknown encoding \"jpeg2000\"",
        "/front/image_raw at 4.000000000: picture of 60000x60000 pixels",
        "/rear/image/compressed at 5.000000000: JPEG picture of 4 bytes cannot be unpacked",
    ] {
        assert!(stderr.contains(expected), "{stderr:?} lacks {expected:?}");
    }
    let page = std::fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("60000x60000") && page.contains("data:image/jpeg;base64,"));
}

#[test]
fn a_bag_without_pictures_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.mcap");
    let mut writer = BagWriter::create(&path).unwrap();
    let topic = writer.add("/note", Text::TYPE, false).unwrap();
    writer.write(topic, 1, 1, &Text("hello").to_cdr()).unwrap();
    writer.finish().unwrap();
    let Some((code, _, stderr)) = run(&["replay", text(&path)]) else { return };
    assert_eq!(code, 2);
    assert!(stderr.contains("no pictures in the bag"), "{stderr}");
    let (code, _, stderr) = run(&["replay", text(&path), "--topic", "/note"]).unwrap();
    assert!(code == 2 && stderr.contains("carries std_msgs/msg/String"), "{stderr}");
    let (code, _, stderr) = run(&["replay", text(&path), "--topic", "/none"]).unwrap();
    assert!(code == 2 && stderr.contains("it has /note"), "{stderr}");
}

#[test]
fn answers_in_a_bag_are_no_cameras() {
    let folder = tempfile::tempdir().unwrap();
    let input = bag(folder.path(), 2);
    let both = folder.path().join("both.mcap");
    let overlay = ["--outputs", "labels,overlay", "--copy"];
    let arguments = [&["replay", text(&input), "--out", text(&both)][..], &overlay].concat();
    let Some((code, ..)) = run(&arguments) else { return };
    assert_eq!(code, 0);
    let (code, stdout, stderr) = run(&["replay", text(&both)]).unwrap();
    assert!(code == 0 && stdout.starts_with("2 frames"), "{stdout}");
    assert!(stderr.contains("/squeezenet/overlay is left out"), "{stderr}");
    // Whoever wants one of them names it.
    let (code, stdout, _) =
        run(&["replay", text(&both), "--topic", "/squeezenet/overlay"]).unwrap();
    assert!(code == 0 && stdout.starts_with("2 frames"), "{stdout}");
}

#[test]
fn a_copy_has_the_new_answers_alone() {
    let folder = tempfile::tempdir().unwrap();
    let input = bag(folder.path(), 2);
    let [both, again] = ["both.mcap", "again.mcap"].map(|name| folder.path().join(name));
    let outputs = ["--outputs", "labels", "--copy"];
    let arguments = [&["replay", text(&input), "--out", text(&both)][..], &outputs].concat();
    let Some((code, ..)) = run(&arguments) else { return };
    assert_eq!(code, 0);
    let arguments = [&["replay", text(&both), "--out", text(&again)][..], &outputs].concat();
    let (code, _, stderr) = run(&arguments).unwrap();
    assert!(code == 0 && stderr.contains("not copied: /squeezenet/labels"), "{stderr}");
    assert_eq!(messages(&again).len(), 4, "two pictures and their labels");
}

#[test]
fn a_copy_of_a_part_has_what_was_latched_before_and_every_picture() {
    let folder = tempfile::tempdir().unwrap();
    let [input, out] = ["in.mcap", "out.mcap"].map(|name| folder.path().join(name));
    let mut writer = BagWriter::create(&input).unwrap();
    let pictures = writer.add("/front/image_raw", Image::TYPE, false).unwrap();
    let frames = writer.add("/tf_static", TfMessage::TYPE, true).unwrap();
    let news = writer.add("/news", Text::TYPE, false).unwrap();
    let frame = TransformStamped { header: header(1), child_frame_id: "lens", transform: None };
    let static_frames = TfMessage { transforms: vec![frame] }.to_cdr();
    writer.write(frames, SECOND, SECOND, &static_frames).unwrap();
    writer.write(news, SECOND, SECOND, &Text("old").to_cdr()).unwrap();
    for number in 0..7 {
        let time = SECOND * (1 + u64::from(number));
        writer.write(pictures, time, time, &image(number)).unwrap();
    }
    writer.finish().unwrap();
    let options = ["--outputs", "labels", "--copy", "--from", "2", "--every", "2"];
    let arguments = [&["replay", text(&input), "--out", text(&out)][..], &options].concat();
    let Some((code, _, stderr)) = run(&arguments) else { return };
    assert_eq!(code, 0, "{stderr}");
    let all = messages(&out);
    let times = |topic: &str| -> Vec<u64> {
        let found = all.iter().filter(|message| &*message.topic == topic);
        found.map(|message| message.log_time / SECOND).collect()
    };
    assert_eq!(times("/tf_static"), [3]);
    assert_eq!(times("/front/image_raw"), [3, 4, 5, 6, 7]);
    assert_eq!(times("/squeezenet/labels"), [3, 5, 7]);
    assert!(times("/news").is_empty());
}

#[test]
fn another_recording_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let input = bag(folder.path(), 1);
    let drive = folder.path().join("drive2");
    std::fs::create_dir(&drive).unwrap();
    let recorded = drive.join("drive2_0.mcap");
    let mut bytes = std::fs::read(&input).unwrap();
    let library = b"squeezenet_node ";
    let at = bytes.windows(library.len()).position(|found| found == library).unwrap();
    bytes[at..at + library.len()].copy_from_slice(b"libmcap 1.4.0   ");
    std::fs::write(&recorded, &bytes).unwrap();
    for out in [&drive, &recorded] {
        let Some((code, _, stderr)) = run(&["replay", text(&input), "--out", text(out)]) else {
            return;
        };
        assert!(code == 2 && stderr.contains("would replace"), "{stderr}");
        assert!(std::fs::read(&recorded).unwrap() == bytes);
    }
    // Nor is the metadata of one in another format.
    std::fs::rename(&recorded, drive.join("drive2_0.db3")).unwrap();
    std::fs::write(drive.join("metadata.yaml"), "theirs").unwrap();
    let (code, _, stderr) = run(&["replay", text(&input), "--out", text(&drive)]).unwrap();
    assert!(code == 2 && stderr.contains("metadata.yaml"), "{stderr}");
    assert_eq!(std::fs::read_to_string(drive.join("metadata.yaml")).unwrap(), "theirs");
}

#[test]
fn what_is_wrong_with_another_option_leaves_the_last_answers() {
    let folder = tempfile::tempdir().unwrap();
    let input = bag(folder.path(), 1);
    let out = folder.path().join("answers.mcap");
    let base = ["replay", text(&input), "--out", text(&out)];
    let Some((code, ..)) = run(&base) else { return };
    assert_eq!(code, 0);
    let before = std::fs::read(&out).unwrap();
    let wrong: [&[&str]; 3] =
        [&["--golden", "typo.json"], &["--gallery", "none.bin"], &["--outputs", "masks"]];
    for option in wrong {
        let (code, _, stderr) = run(&[&base, option].concat()).unwrap();
        assert_eq!(code, 2, "{option:?}: {stderr}");
        assert!(std::fs::read(&out).unwrap() == before, "{option:?}");
    }
}

#[test]
fn no_part_of_a_recording_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let drive = folder.path().join("drive");
    let mut writer = BagWriter::create(&drive).unwrap();
    let topic = writer.add("/front/image_raw", Image::TYPE, false).unwrap();
    writer.write(topic, SECOND, SECOND, &image(0)).unwrap();
    writer.finish().unwrap();
    let part = drive.join("drive_0.mcap");
    std::fs::copy(&part, drive.join("drive_1.mcap")).unwrap();
    let metadata = drive.join("metadata.yaml");
    let listed = std::fs::read_to_string(&metadata).unwrap();
    let both = "    - \"drive_0.mcap\"\n    - \"drive_1.mcap\"\n";
    std::fs::write(&metadata, listed.replacen("    - \"drive_0.mcap\"\n", both, 1)).unwrap();
    let other = drive.join("drive_1.mcap");
    for out in [drive.clone(), part.clone(), drive.join("..").join("drive"), drive.join(".")] {
        let arguments = ["replay", text(&other), "--out", text(&out)];
        let Some((code, _, stderr)) = run(&arguments) else { return };
        assert!(code == 2 && stderr.contains("which is read"), "{out:?}: {stderr}");
    }
    let beside = drive.join("answers.mcap");
    let (code, _, stderr) = run(&["replay", text(&other), "--out", text(&beside)]).unwrap();
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn pictures_that_are_no_good_are_withheld_as_the_node_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dark.mcap");
    let mut writer = BagWriter::create(&path).unwrap();
    let topic = writer.add("/front/image_raw", Image::TYPE, false).unwrap();
    for number in 0..2 {
        let data = vec![0; 96 * 64];
        let (header, encoding) = (header(number), "mono8");
        let dark = Image {
            header,
            height: 64,
            width: 96,
            encoding,
            is_bigendian: false,
            step: 96,
            data: &data,
        };
        let time = SECOND * (1 + u64::from(number));
        writer.write(topic, time, time, &dark.to_cdr()).unwrap();
    }
    writer.finish().unwrap();
    let parameters = folder.path().join("unknown.yaml");
    let yaml = "squeezenet:\n  ros__parameters:\n    health: {action: unknown}\n";
    std::fs::write(&parameters, yaml).unwrap();
    for (is_withheld, options) in
        [(false, vec![]), (true, vec!["--params-file", text(&parameters)])]
    {
        let out = folder.path().join("out.mcap");
        let base = vec!["replay", text(&path), "--out", text(&out), "--outputs", "mask"];
        let Some((code, _, stderr)) = run(&[base, options].concat()) else { return };
        assert_eq!(code, 0, "{stderr}");
        let masks = messages(&out);
        assert_eq!(masks.len(), 2);
        for mask in masks {
            let mask = Image::read(&mask.payload).unwrap();
            assert_eq!(mask.data.iter().all(|id| *id == 255), is_withheld);
        }
    }
}

#[test]
fn an_interrupt_leaves_a_valid_bag() {
    let folder = tempfile::tempdir().unwrap();
    let input = bag(folder.path(), 3000);
    for signal in ["-INT", "-TERM"] {
        let out = folder.path().join(format!("out{signal}.mcap"));
        let Some(mut command) = command(&["replay", text(&input), "--out", text(&out), "--json"])
        else {
            return;
        };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first: serde_json::Value =
            serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(first["topic"], "/front/image_raw");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        lines.for_each(drop);
        assert_eq!(child.wait().unwrap().code(), Some(1), "stopped early");
        let written = messages(&out).len();
        assert!((1..9000).contains(&written), "{written}");
    }
}

#[test]
fn truth_in_the_bag_is_scored_and_reports_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let input = bag(folder.path(), 2);
    let Some((_, stdout, _)) = run(&["replay", text(&input), "--json"]) else { return };
    let first: serde_json::Value = serde_json::from_str(stdout.lines().next().unwrap()).unwrap();
    let best = first["labels"][0]["class_id"].as_str().unwrap();
    let path = folder.path().join("truth.mcap");
    let mut writer = BagWriter::create(&path).unwrap();
    let pictures = writer.add("/front/image_raw", Image::TYPE, false).unwrap();
    let labels = writer.add("/truth", Text::TYPE, false).unwrap();
    writer.write(labels, SECOND, SECOND, &Text(best).to_cdr()).unwrap();
    writer.write(pictures, SECOND, SECOND, &image(0)).unwrap();
    writer.write(labels, 2 * SECOND, 2 * SECOND, &Text("no such class").to_cdr()).unwrap();
    writer.write(pictures, 3 * SECOND, 3 * SECOND, &image(0)).unwrap();
    writer.finish().unwrap();
    let reports = [folder.path().join("a"), folder.path().join("b")];
    for report in &reports {
        let (code, stdout, _) =
            run(&["replay", text(&path), "--labels-topic", "/truth", "--report", text(report)])
                .unwrap();
        assert_eq!(code, 0);
        assert!(stdout.contains("top-1 0.5000 and top-5 0.5000 of 2 frames"), "{stdout}");
    }
    let (code, stdout, _) =
        run(&["report", text(&reports[0]), text(&reports[1]), "--json"]).unwrap();
    assert_eq!(code, 0);
    let merged: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&merged["frames"], &merged["truth"]["labelled"]), (&4.into(), &4.into()));
    let (code, stdout, _) = run(&["replay", text(&path), "--budget", "p50_ms=0.001"]).unwrap();
    assert!(stdout.contains("1 frame at once"), "a budget is of single frames: {stdout}");
    assert!(code == 1 && stdout.contains("over budget  total p50"), "{stdout}");
}
