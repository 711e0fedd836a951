//! What users met with: recordings, pictures and command lines that used to lose data or to say
//! nothing. Each test stands for a kind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use squeezenet_node::bag::writer::BagWriter;
use squeezenet_node::bag::{Bag, Selection, Topic};
use squeezenet_node::message::{CompressedImage, Header, Image, RosMessage, Stamp};

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

/// The command on one thread, or `None` where no network can run.
fn command(folder: &Path, arguments: &[&str]) -> Option<Command> {
    let Some(runtime) = runtime() else {
        eprintln!("skipped: there is no ONNX Runtime; set ORT_DYLIB_PATH");
        return None;
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_squeezenet_node"));
    command.args(arguments).args(["--threads", "1"]).current_dir(folder);
    command.env("ORT_DYLIB_PATH", runtime).env("ROS_HOME", folder);
    command.env("SQUEEZENET_MODELS", concat!(env!("CARGO_MANIFEST_DIR"), "/models"));
    Some(command)
}

/// Exit status, standard output and standard error.
fn run(folder: &Path, arguments: &[&str]) -> Option<(i32, String, String)> {
    let output = command(folder, arguments)?.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Some((output.status.code().unwrap(), text(output.stdout), text(output.stderr)))
}

fn header(number: u32) -> Header<'static> {
    Header { stamp: Stamp { sec: number as i32, nanosec: 0 }, frame_id: "camera" }
}

fn image(number: u32, encoding: &str, bytes_a_pixel: u32) -> Vec<u8> {
    let step = 32 * bytes_a_pixel;
    let data: Vec<u8> = (0..24 * step).map(|i| (i * (3 + number) / 7) as u8).collect();
    let is_bigendian = false;
    let (height, width) = (24, 32);
    Image { header: header(number), height, width, encoding, is_bigendian, step, data: &data }
        .to_cdr()
}

/// A bag of pictures of `times` in seconds on each of some topics of an encoding.
fn bag(path: &Path, topics: &[(&str, &str, u32)], times: &[u64]) {
    let mut writer = BagWriter::create(path).unwrap();
    for (name, encoding, bytes) in topics {
        let topic = writer.add(name, Image::TYPE, false).unwrap();
        for (number, time) in (0..).zip(times) {
            let time = time * SECOND;
            writer.write(topic, time, time, &image(number, encoding, *bytes)).unwrap();
        }
    }
    writer.finish().unwrap();
}

const COLOUR: (&str, &str, u32) = ("/front/image_raw", "bgr8", 3);

fn picture(path: &Path, seed: u8) {
    let picture =
        image::RgbImage::from_fn(32, 24, |x, y| image::Rgb([(8 * x) as u8, (10 * y) as u8, seed]));
    picture.save(path).unwrap();
}

#[test]
fn nothing_is_written_over_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    bag(&at("bag"), &[COLOUR], &[1, 2]);
    let files = ["bag/bag_0.mcap", "bag/metadata.yaml"];
    let before = files.map(|file| std::fs::read(at(file)).unwrap());
    std::fs::hard_link(at(files[0]), at("hard.mcap")).unwrap();
    std::os::unix::fs::symlink(at(files[0]), at("soft.mcap")).unwrap();
    for arguments in [
        ["bag", "--out", "bag/bag_0.mcap"],
        ["bag", "--out", "bag/../bag/./bag_0.mcap"],
        ["bag", "--out", "bag"],
        ["bag", "--out", "bag/new.mcap"],
        ["bag", "--out", "hard.mcap"],
        ["bag", "--out", "soft.mcap"],
        ["bag/bag_0.mcap", "--out", "bag"],
        ["hard.mcap", "--out", "soft.mcap"],
        ["bag", "--write-golden", "bag/bag_0.mcap"],
        ["bag", "--write-golden", "bag/metadata.yaml"],
        ["bag", "--report", "soft.mcap.html"],
    ] {
        if arguments[2] == "soft.mcap.html" {
            std::os::unix::fs::symlink(at(files[0]), at("soft.mcap.html")).unwrap();
        }
        let all = [["replay"].as_slice(), &arguments].concat();
        let Some((code, _, stderr)) = run(folder.path(), &all) else { return };
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains("which is read"), "{arguments:?}: {stderr}");
        let after = files.map(|file| std::fs::read(at(file)).unwrap());
        assert!(after == before, "{arguments:?} changed the recording");
    }
    let twice = ["replay", "bag", "--out", "o.mcap", "--write-golden", "./o.mcap"];
    let (code, _, stderr) = run(folder.path(), &twice).unwrap();
    assert!(code == 2 && stderr.contains("would both write"), "{stderr}");
    let golden = ["replay", "bag", "--write-golden", "golden"];
    assert_eq!(run(folder.path(), &golden).unwrap().0, 0);
    let renewed = ["replay", "bag", "--golden", "golden", "--write-golden", "golden"];
    assert_eq!(run(folder.path(), &renewed).unwrap().0, 0, "a golden file may be made anew");
}

#[test]
fn a_recording_without_frames_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    bag(&folder.path().join("dead.mcap"), &[COLOUR], &[]);
    let Some((code, _, stderr)) = run(folder.path(), &["replay", "dead.mcap"]) else { return };
    assert!(code == 2 && stderr.contains("/front/image_raw has no messages"), "{stderr}");
    bag(&folder.path().join("bag.mcap"), &[COLOUR], &[1, 2]);
    let late = ["replay", "bag.mcap", "--from", "100"];
    let (code, _, stderr) = run(folder.path(), &late).unwrap();
    assert!(code == 1 && stderr.contains("no frame was replayed"), "{stderr}");
}

#[test]
fn depth_beside_colour_is_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let depth = [("/depth/image", "16UC1", 2), ("/depth/metres", "32FC1", 4)];
    let path = folder.path().join("rgbd.mcap");
    bag(&path, &[COLOUR, depth[0], depth[1]], &[1, 2]);
    let Some((code, stdout, stderr)) = run(folder.path(), &["replay", "rgbd.mcap"]) else { return };
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("2 frames with"), "{stdout}");
    for name in ["/depth/image is left out: 16UC1", "/depth/metres is left out: 32FC1"] {
        assert!(stderr.contains(name), "{stderr}");
    }
    let asked = ["replay", "rgbd.mcap", "--topic", "/depth/image"];
    let (code, _, stderr) = run(folder.path(), &asked).unwrap();
    assert!(code == 1 && stderr.contains("such as depth, no picture"), "{stderr}");
    bag(&path, &depth, &[1]);
    let (code, _, stderr) = run(folder.path(), &["replay", "rgbd.mcap"]).unwrap();
    assert!(code == 2 && stderr.contains("there are no pictures in the bag"), "{stderr}");
    let mut writer = BagWriter::create(&path).unwrap();
    let topic = writer.add("/depth/compressedDepth", CompressedImage::TYPE, false).unwrap();
    let format = "16UC1; compressedDepth png";
    let message = CompressedImage { header: header(1), format, data: &[0; 40] }.to_cdr();
    writer.write(topic, 1, 1, &message).unwrap();
    writer.finish().unwrap();
    let (code, _, stderr) = run(folder.path(), &["replay", "rgbd.mcap"]).unwrap();
    assert!(code == 2 && stderr.contains("compressedDepth"), "{stderr}");
}

#[test]
fn a_golden_of_equal_log_times_holds_for_its_bag() {
    let folder = tempfile::tempdir().unwrap();
    bag(&folder.path().join("bag.mcap"), &[COLOUR], &[1, 1, 1]);
    let write = ["replay", "bag.mcap", "--write-golden", "golden"];
    let Some((code, ..)) = run(folder.path(), &write) else { return };
    assert_eq!(code, 0);
    let (code, stdout, _) =
        run(folder.path(), &["replay", "bag.mcap", "--golden", "golden"]).unwrap();
    assert!(code == 0 && stdout.contains("0 differences in 3 frames"), "{stdout}");
}

#[test]
fn a_recording_of_ros_1_is_named_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.mcap");
    let mut writer = BagWriter::create(&path).unwrap();
    let topic = Topic {
        name: "/camera".to_owned(),
        ros_type: "sensor_msgs/Image".to_owned(),
        count: 0,
        serialization: "ros1".to_owned(),
        offered_qos_profiles: String::new(),
        definition: ("ros1msg".to_owned(), "uint8[] data".to_owned()),
    };
    let id = writer.add_copy(&topic).unwrap();
    writer.write(id, 1, 1, &[0; 8]).unwrap();
    writer.finish().unwrap();
    std::fs::write(folder.path().join("old.bag"), "#ROSBAG V2.0\n").unwrap();
    for name in ["old.mcap", "old.bag"] {
        let Some((code, _, stderr)) = run(folder.path(), &["replay", name]) else { return };
        assert!(code == 2 && stderr.contains("recorded by ROS 1"), "{name}: {stderr}");
    }
}

#[test]
fn a_topic_without_a_definition_stays_without_one_in_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.mcap");
    let mut writer = BagWriter::create(&path).unwrap();
    let topic = Topic {
        name: "/imu".to_owned(),
        ros_type: "sensor_msgs/msg/Imu".to_owned(),
        count: 0,
        serialization: "cdr".to_owned(),
        offered_qos_profiles: String::new(),
        definition: Default::default(),
    };
    let id = writer.add_copy(&topic).unwrap();
    writer.write(id, 1, 1, &[0; 8]).unwrap();
    writer.finish().unwrap();
    let read = Bag::open(&path).unwrap();
    assert_eq!(read.topic("/imu").unwrap().definition, Default::default());
    assert_eq!(read.messages(&Selection::ALL).unwrap().count(), 1);
}

#[test]
fn a_reader_that_goes_away_costs_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let times: Vec<u64> = (1..200).collect();
    bag(&folder.path().join("bag.mcap"), &[COLOUR], &times);
    let arguments =
        ["replay", "bag.mcap", "--json", "--out", "out.mcap", "--write-golden", "golden"];
    let Some(mut command) = command(folder.path(), &arguments) else { return };
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Both ends are closed after a line, or at once.
    drop(child.stderr.take());
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("/front/image_raw"), "{first}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let out = Bag::open(&folder.path().join("out.mcap")).unwrap();
    assert!(out.problems().is_empty());
    assert_eq!(out.topic("/squeezenet/labels").unwrap().count, 199);
    let golden = std::fs::read_to_string(folder.path().join("golden")).unwrap();
    assert_eq!(golden.matches("log_time").count(), 199);

    for number in 0..8 {
        picture(&folder.path().join(format!("{number}.png")), number);
    }
    let files: Vec<String> = (0..8).map(|number| format!("{number}.png")).collect();
    let mut arguments = vec!["image", "--out", "masks"];
    arguments.extend(files.iter().map(String::as_str));
    let mut child = self::command(folder.path(), &arguments)
        .unwrap()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let masks = std::fs::read_dir(folder.path().join("masks")).unwrap().flatten();
    let is_mask = |name: String| name.ends_with("_mask.png");
    assert_eq!(masks.filter(|f| is_mask(f.file_name().into_string().unwrap())).count(), 8);
}

#[test]
fn no_picture_of_image_out_overwrites_another() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, seed) in [("a/1.png", 1), ("b/1.png", 2), ("x.jpg", 3), ("x.png", 4)] {
        std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        picture(&at(name), seed);
    }
    let arguments = ["image", "--json", "--out", "out", "a/1.png", "b/1.png", "x.jpg", "x.png"];
    let Some((code, stdout, stderr)) = run(folder.path(), &arguments) else { return };
    assert_eq!(code, 0, "{stderr}");
    let mut masks: Vec<String> = stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["mask"].to_string())
        .collect();
    masks.sort();
    masks.dedup();
    assert_eq!(masks.len(), 4, "{stdout}");
    assert_eq!(std::fs::read_dir(at("out")).unwrap().count(), 16);
    picture(&at("x_mask.png"), 5);
    let before = std::fs::read(at("x_mask.png")).unwrap();
    let (code, _, stderr) =
        run(folder.path(), &["image", "--out", ".", "x.png", "x_mask.png"]).unwrap();
    assert!(code == 2 && stderr.contains("which is read"), "{stderr}");
    assert_eq!(std::fs::read(at("x_mask.png")).unwrap(), before);
}

#[test]
fn a_replay_takes_the_nodes_parameter_file() {
    let folder = tempfile::tempdir().unwrap();
    bag(&folder.path().join("bag.mcap"), &[COLOUR], &[1]);
    let file = folder.path().join("tuned.yaml");
    let write = |lines: &str| {
        std::fs::write(&file, format!("/**/squeezenet:\n  ros__parameters:\n{lines}")).unwrap();
    };
    write("    model: squeezenet1_1_imagenet\n    labels:\n      top_k: 2\n");
    let base = ["replay", "bag.mcap", "--json", "--params-file", "tuned.yaml"];
    let Some((code, stdout, stderr)) = run(folder.path(), &base) else { return };
    assert_eq!(code, 0, "{stderr}");
    let line: serde_json::Value = serde_json::from_str(stdout.lines().next().unwrap()).unwrap();
    assert_eq!(line["labels"].as_array().unwrap().len(), 2);
    assert!(stderr.contains("squeezenet1_1_imagenet (fp32)"), "{stderr}");
    let over = [base.as_slice(), &["--model", "squeezenet1_1_street"]].concat();
    let (_, _, stderr) = run(folder.path(), &over).unwrap();
    assert!(stderr.contains("squeezenet1_1_street (fp32)"), "{stderr}");
    write("    labels.topk: 2\n");
    let (code, _, stderr) = run(folder.path(), &base).unwrap();
    assert!(code == 2 && stderr.contains("tuned.yaml, line 3: parameter labels.topk"), "{stderr}");
    write("    mask.traversability: [pavment=caution]\n");
    let (code, _, stderr) = run(folder.path(), &base).unwrap();
    assert!(code == 2 && stderr.contains("no class \"pavment\"; it has"), "{stderr}");
}
