//! Image health on real pictures: hardly a false alarm, and nearly every degraded copy found.
//! `cargo test --no-default-features --test image_health -- --nocapture` prints the table over all
//! pictures of `../shared/data` (or of `SQUEEZENET_DATA`), and their quantiles.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may")]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::{ExtendedColorType, ImageFormat};
use squeezenet_node::decode::{Decoder, PixelLayout, Pixels};
use squeezenet_node::frame::Frame;
use squeezenet_node::geometry::Size;
use squeezenet_node::image_health::{ImageFault, Watch, measure};
use squeezenet_node::result::{ImageMeasures, Picture};
use squeezenet_node::settings::HealthSettings;

/// Numerical Recipes' generator: the same noise on each run.
struct Random(u32);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }

    /// Standard normal, as the sum of twelve.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.next()).sum::<f32>() - 6.0
    }
}

fn measured(picture: &Picture) -> ImageMeasures {
    let Size { width, .. } = picture.size;
    measure(&Pixels {
        layout: PixelLayout::Rgb,
        size: picture.size,
        stride_bytes: 3 * width as usize,
        bytes: &picture.rgb,
    })
    .unwrap()
}

fn each(picture: &Picture, mut change: impl FnMut(usize, f32) -> f32) -> Picture {
    let bytes = picture.rgb.iter().enumerate();
    let rgb = bytes.map(|(at, value)| change(at, f32::from(*value)).clamp(0.0, 255.0) as u8);
    Picture { size: picture.size, rgb: rgb.collect() }
}

/// Three passes of a box along both axes, nearly a Gaussian of `radius` pixels' standard deviation.
fn blur(picture: &Picture, radius: usize) -> Picture {
    let (width, height) = (picture.size.width as usize, picture.size.height as usize);
    let mut rgb = picture.rgb.clone();
    let pass = |rgb: &mut Vec<u8>, lines: usize, length: usize, line_step: usize, step: usize| {
        let before = rgb.clone();
        for line in 0..lines {
            for channel in 0..3 {
                let at = |i: usize| line * line_step + i.min(length - 1) * step + channel;
                let value = |i: isize| u32::from(before[at(i.max(0) as usize)]);
                let reach = radius as isize;
                let mut sum: u32 = (-reach..=reach).map(value).sum();
                for i in 0..length {
                    rgb[at(i)] = (sum / (2 * radius as u32 + 1)) as u8;
                    sum += value(i as isize + reach + 1);
                    sum -= value(i as isize - reach);
                }
            }
        }
    };
    for _ in 0..3 {
        pass(&mut rgb, height, width, 3 * width, 3);
        pass(&mut rgb, width, height, 3, 3 * width);
    }
    Picture { size: picture.size, rgb }
}

/// A hand before the lens: nine tenths of the width are a dark, blurred slope with a little noise.
fn cover(picture: &Picture) -> Picture {
    let width = picture.size.width as usize;
    let blurred = blur(picture, (width / 60).max(1));
    let mut random = Random(7);
    each(&blurred, |at, value| {
        let (x, channel) = (at / 3 % width, at % 3);
        let share = x as f32 / width as f32;
        let hand = [70.0, 45.0, 35.0][channel] + 30.0 * share + 1.5 * random.normal();
        let weight = ((0.95 - share) / 0.05).clamp(0.0, 1.0);
        weight * hand + (1.0 - weight) * value
    })
}

/// The lower two fifths are one grey, as what a decoder makes of a JPEG's lost rest.
fn half_grey(picture: &Picture) -> Picture {
    let from = picture.rgb.len() * 3 / 5;
    each(picture, |at, value| if at >= from { 128.0 } else { value })
}

/// The lower two fifths repeat one row, as a transfer that got stuck.
fn stuck_row(picture: &Picture) -> Picture {
    let row = 3 * picture.size.width as usize;
    let from = picture.size.height as usize * 3 / 5 * row;
    let before = picture.rgb.clone();
    each(picture, |at, value| if at >= from { f32::from(before[from + at % row]) } else { value })
}

/// The JPEG file, cut off at half its length, with an end-of-image marker put behind. `None` where
/// the decoder refuses it.
fn cut_jpeg(picture: &Picture) -> Option<Picture> {
    let mut file = Cursor::new(Vec::new());
    let Size { width, height } = picture.size;
    let (colour, format) = (ExtendedColorType::Rgb8, ImageFormat::Jpeg);
    image::write_buffer_with_format(&mut file, &picture.rgb, width, height, colour, format)
        .unwrap();
    let mut file = file.into_inner();
    file.truncate(file.len() / 2);
    file.extend([0xff, 0xd9]);
    let mut decoder = Decoder::default();
    decoder.decode(Frame::file(&file)).ok().map(|pixels| pixels.to_picture())
}

fn judged(measures: &ImageMeasures) -> Option<ImageFault> {
    let verdict = Watch::default().judge(measures, Duration::ZERO, &HealthSettings::default());
    verdict.map(|verdict| verdict.fault)
}

/// Copies of a picture that are no good, each by a name.
fn degraded(picture: &Picture) -> Vec<(&'static str, Option<Picture>)> {
    let width = picture.size.width as usize;
    let mut random = Random(1);
    vec![
        ("dark: 5 % of the light", Some(each(picture, |_, value| value * 0.05))),
        ("blown out: ten times the light", Some(each(picture, |_, value| value * 10.0 + 100.0))),
        ("blurred: sigma 1/48 of the width", Some(blur(picture, (width / 48).max(2)))),
        ("covered: a hand over 90 %", Some(cover(picture))),
        ("noise: sigma 30", Some(each(picture, |_, value| value + 30.0 * random.normal()))),
        ("torn: lower 40 % grey", Some(half_grey(picture))),
        ("torn: lower 40 % one row", Some(stuck_row(picture))),
        ("torn: JPEG cut at half its bytes", cut_jpeg(picture)),
    ]
}

/// What only a sequence shows, at 10 Hz: whether it is found.
fn sequences(picture: &Picture) -> [(&'static str, bool); 2] {
    let settings = HealthSettings::default();
    let at = |frame: u64| Duration::from_millis(100 * frame);
    let measures = measured(picture);
    let mut watch = Watch::default();
    let last = (0..=40).map(|frame| watch.judge(&measures, at(frame), &settings)).last();
    let frozen = last.flatten().is_some_and(|verdict| verdict.fault == ImageFault::Frozen);
    let mut watch = Watch::default();
    watch.judge(&measures, at(0), &settings);
    // Towards the side on which there is room.
    let offset = if measures.mean < 128.0 { 90.0 } else { -90.0 };
    let leapt = measured(&each(picture, |_, value| value + offset));
    let jump = watch.judge(&leapt, at(1), &settings).is_some();
    [("frozen: the same for 4 s", frozen), ("exposure jump: by 90 grey levels", jump)]
}

fn pictures(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            pictures(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "jpg") {
            found.push(path);
        }
    }
}

/// The set of pictures that a file is of.
fn group(root: &Path, file: &Path) -> String {
    let name = file.strip_prefix(root).unwrap().components().next().unwrap();
    name.as_os_str().to_string_lossy().into_owned()
}

/// Pictures of the web, among them drawings, shots before white, and macros: what no robot sees.
const STRANGE: &str = "imagenet_dev";

/// Folders that were walked along, so that they can be played as a sequence.
const WALKS: [&str; 2] = ["corridor", "gardens_point"];

/// Counts by name, in the order in which names come up: found, of how many.
#[derive(Default)]
struct Counts(Vec<(String, usize, usize)>);

impl Counts {
    fn add(&mut self, name: &str, is_found: bool) {
        let index = self.0.iter().position(|(known, ..)| known == name);
        let index = index.unwrap_or_else(|| {
            self.0.push((name.to_owned(), 0, 0));
            self.0.len() - 1
        });
        self.0[index].1 += usize::from(is_found);
        self.0[index].2 += 1;
    }

    fn print(&self, title: &str) {
        println!("\n| {title} | found | of |\n| --- | ---: | ---: |");
        for (name, found, of) in &self.0 {
            println!("| {name} | {found} | {of} |");
        }
    }
}

#[test]
fn hardly_a_false_alarm_and_nearly_every_fault_is_found_on_real_pictures() {
    let root = std::env::var_os("SQUEEZENET_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    if !root.is_dir() {
        println!("SKIPPED: there are no pictures at {}; set SQUEEZENET_DATA", root.display());
        return;
    }
    let mut files = Vec::new();
    pictures(&root, &mut files);
    let mut decoder = Decoder::default();
    let (mut alarms, mut found) = (Counts::default(), Counts::default());
    let mut spread: Vec<(&str, Vec<ImageMeasures>)> = vec![("as they are", Vec::new())];
    let (mut walk, mut walked) = (Watch::default(), PathBuf::new());
    let mut at = Duration::ZERO;
    for (index, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        let pixels = decoder.decode(Frame::file(&bytes)).unwrap();
        let measures = measure(&pixels).unwrap();
        let picture = pixels.to_picture();
        spread[0].1.push(measures);
        let group = group(&root, path);
        if WALKS.contains(&group.as_str()) {
            if path.parent() != Some(&walked) {
                (walk, walked) = (Watch::default(), path.parent().unwrap().to_owned());
            }
            at += Duration::from_millis(100);
            let verdict = walk.judge(&measures, at, &HealthSettings::default());
            alarms.add(&format!("{group}, played at 10 Hz"), verdict.is_some());
        }
        let fault = judged(&measures);
        alarms.add(&group, fault.is_some());
        if let Some(fault) = fault {
            println!("{}: {} {measures:?}", path.display(), fault.name());
        }
        // Each tenth picture is degraded: enough for a share, and ten times as fast.
        if index % 10 != 0 {
            continue;
        }
        for (name, copy) in degraded(&picture) {
            let measures = copy.as_ref().map(measured);
            // What the decoder refuses is found.
            found.add(name, measures.as_ref().is_none_or(|measures| judged(measures).is_some()));
            let Some(measures) = measures else { continue };
            match spread.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.push(measures),
                None => spread.push((name, vec![measures])),
            }
        }
        for (name, is_found) in sequences(&picture) {
            found.add(name, is_found);
        }
    }
    println!(
        "\n| quantiles 1 5 50 95 99 % | bright | saturated | flat | sharpness | noise | dead rows |"
    );
    for (name, all) in &spread {
        let of = |value: &dyn Fn(&ImageMeasures) -> f32| {
            let mut values: Vec<f32> = all.iter().map(value).collect();
            values.sort_by(f32::total_cmp);
            let at = |share: f32| values[((values.len() - 1) as f32 * share) as usize];
            [0.01, 0.05, 0.5, 0.95, 0.99].map(|share| format!("{:.3}", at(share))).join(" ")
        };
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            of(&|m| m.bright),
            of(&|m| m.saturated),
            of(&|m| m.flat),
            of(&|m| m.sharpness),
            of(&|m| m.noise),
            of(&|m| m.dead_rows),
        );
    }
    alarms.print("pictures as they are");
    found.print("degraded copies");
    assert!(files.len() > 1000, "{} has too few pictures", root.display());
    let ordinary = alarms.0.iter().filter(|(name, ..)| name != STRANGE);
    let (false_alarms, of) = ordinary.fold((0, 0), |sum, one| (sum.0 + one.1, sum.1 + one.2));
    println!("\nfalse alarms: {false_alarms} of {of}");
    assert!(100 * false_alarms <= of, "{false_alarms} false alarms of {of}");
    for (name, is_found, of) in found.0 {
        assert!(100 * is_found >= 95 * of, "{name}: {is_found} of {of}");
    }
}

#[test]
#[ignore = "prints a time; run it on a release build"]
fn time_of_a_measurement() {
    for (width, height) in [(320, 240), (640, 480), (1280, 720), (1920, 1080)] {
        let picture = squeezenet_node::pipeline::test_picture();
        let size = Size::new(width, height);
        let rgb = picture.rgb.iter().cycle().take(3 * size.area()).copied().collect();
        let picture = Picture { size, rgb };
        let start = std::time::Instant::now();
        for _ in 0..1000 {
            std::hint::black_box(measured(std::hint::black_box(&picture)));
        }
        println!("{width}x{height}: {:.3} ms", start.elapsed().as_secs_f64());
    }
}
