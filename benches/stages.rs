//! What each stage takes, one thread, against the obvious alternative where there is one:
//! `cargo bench --bench stages --no-default-features` (or `make bench-stages`).
//!
//! The network is measured by `squeezenet_node bench`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may")]

use std::hint::black_box;
use std::io::Cursor;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageBuffer, ImageFormat, Rgb};
use squeezenet_node::decode::Decoder;
use squeezenet_node::descriptor::{Descriptors, FeatureMap};
use squeezenet_node::frame::{Frame, RawImage};
use squeezenet_node::geometry::{Fit, Size, input_transform};
use squeezenet_node::ground::grid::from_ids;
use squeezenet_node::ground::tf_buffer::TfBuffer;
use squeezenet_node::ground_messages::{CameraFrame, GroundMessages, GroundSink};
use squeezenet_node::head::classification::softmax;
use squeezenet_node::head::obstacle;
use squeezenet_node::head::segmentation::{ClassMapping, Grid, SegmentationHead};
use squeezenet_node::install;
use squeezenet_node::learning::{Correction, Footprint, Learner, Margins, Mark};
use squeezenet_node::manifest::{Manifest, Model, SegmentationSpec};
use squeezenet_node::message::{Header, RosMessage, Stamp, TfMessage, TransformStamped};
use squeezenet_node::output::{Output, OutputSet, Sink};
use squeezenet_node::overlay::{self, Overlay};
use squeezenet_node::pipeline::test_picture;
use squeezenet_node::place::{Gallery, Kind, Motion, Recognition, View};
use squeezenet_node::preprocess::Preprocessor;
use squeezenet_node::result::{FrameResult, Ground, Label, Maps, Picture, Wanted};
use squeezenet_node::settings::{
    CameraSettings, MaskKind, MaskSettings, ObstacleSettings, Settings,
};

const SIZES: [(u32, u32); 2] = [(640, 480), (1280, 720)];

/// The test picture of the model, at another size.
fn picture(width: u32, height: u32) -> Picture {
    let small = test_picture();
    let size = small.size;
    let image = ImageBuffer::<Rgb<u8>, _>::from_raw(size.width, size.height, small.rgb).unwrap();
    let large = imageops::resize(&image, width, height, FilterType::Triangle);
    Picture { size: Size::new(width, height), rgb: large.into_raw() }
}

/// Bytes of a frame of that encoding; what they show does not matter to the time.
fn raw_bytes(encoding: &str, picture: &Picture) -> Vec<u8> {
    let area = picture.size.area();
    let bytes = match encoding {
        "yuyv" | "uyvy" => 2 * area,
        "nv12" => area * 3 / 2,
        "bayer_rggb8" | "mono8" => area,
        "bgra8" => 4 * area,
        _ => 3 * area,
    };
    picture.rgb.iter().copied().cycle().take(bytes).collect()
}

fn jpeg(picture: &Picture) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let Size { width, height } = picture.size;
    image::write_buffer_with_format(
        &mut file,
        &picture.rgb,
        width,
        height,
        ExtendedColorType::Rgb8,
        ImageFormat::Jpeg,
    )
    .unwrap();
    file.into_inner()
}

fn decode(criterion: &mut Criterion) {
    for (width, height) in SIZES {
        let picture = picture(width, height);
        let mut group = criterion.benchmark_group(format!("decode {width}x{height}"));
        group.throughput(Throughput::Elements(picture.size.area() as u64));
        for encoding in ["bgr8", "yuyv", "nv12", "bayer_rggb8"] {
            let bytes = raw_bytes(encoding, &picture);
            let mut decoder = Decoder::default();
            group.bench_function(encoding, |bencher| {
                bencher.iter(|| {
                    let image = RawImage::new(encoding, width, height, 0, false, &bytes).unwrap();
                    black_box(decoder.decode(Frame::Raw(image)).unwrap().size)
                });
            });
        }
        let file = jpeg(&picture);
        let mut decoder = Decoder::default();
        group.bench_function("jpeg", |bencher| {
            bencher.iter(|| black_box(decoder.decode(Frame::file(&file)).unwrap().size));
        });
        group.bench_function("jpeg, image crate", |bencher| {
            bencher.iter(|| {
                let format = ImageFormat::Jpeg;
                black_box(image::load_from_memory_with_format(&file, format).unwrap().to_rgb8())
            });
        });
    }
}

fn manifest() -> Manifest {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/squeezenet1_1_street.yaml");
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn preprocess(criterion: &mut Criterion) {
    let input = manifest().input;
    let network = Size::new(input.width, input.height);
    for (width, height) in SIZES {
        let picture = picture(width, height);
        let image = RawImage::new("bgr8", width, height, 0, false, &picture.rgb).unwrap();
        let transform = input_transform(picture.size, network, Fit::Stretch, 0);
        let mut group = criterion.benchmark_group(format!("preprocess {width}x{height}"));
        group.throughput(Throughput::Elements(network.area() as u64));
        let mut decoder = Decoder::default();
        let mut preprocessor = Preprocessor::default();
        group.bench_function("resize, normalise", |bencher| {
            let pixels = decoder.decode(Frame::Raw(image)).unwrap();
            bencher.iter(|| black_box(preprocessor.run(&pixels, &transform, &input).len()));
        });
        group.bench_function("image crate, loop", |bencher| {
            let buffer =
                ImageBuffer::<Rgb<u8>, _>::from_raw(width, height, picture.rgb.clone()).unwrap();
            bencher.iter(|| {
                let small =
                    imageops::resize(&buffer, network.width, network.height, FilterType::Triangle);
                let mut tensor = vec![0.0_f32; 3 * network.area()];
                for (index, pixel) in small.pixels().enumerate() {
                    for channel in 0..3 {
                        tensor[channel * network.area() + index] =
                            f32::from(pixel.0[channel]) - input.mean[channel];
                    }
                }
                black_box(tensor)
            });
        });
    }
}

/// Logits of large regions, as a street has them.
fn logits(spec: &SegmentationSpec, size: Size) -> Vec<f32> {
    let (width, height) = (size.width as usize, size.height as usize);
    let mut logits = vec![0.0; spec.classes.len() * size.area()];
    for y in 0..height {
        for x in 0..width {
            let class = (x * 4 / width + y * 5 / height * 3) % spec.classes.len();
            logits[class * size.area() + y * width + x] = 4.0;
        }
    }
    logits
}

/// Upsampling by hand: probabilities, bilinear, arg-max, one pixel after the other.
fn naive_mask(logits: &[f32], classes: usize, grid: Size, target: Size) -> Vec<u8> {
    let area = grid.area();
    let mut probabilities = vec![0.0_f32; logits.len()];
    let mut column = Vec::new();
    for cell in 0..area {
        let cell_logits: Vec<f32> = (0..classes).map(|class| logits[class * area + cell]).collect();
        softmax(&cell_logits, 1.0, &mut column);
        for (class, probability) in column.iter().enumerate() {
            probabilities[class * area + cell] = *probability;
        }
    }
    let at = |position: u32, length: u32, cells: u32| {
        let source = (position as f32 + 0.5) * cells as f32 / length as f32 - 0.5;
        let source = source.clamp(0.0, cells as f32 - 1.0);
        let first = source as usize;
        (first, (first + 1).min(cells as usize - 1), source - first as f32)
    };
    let width = grid.width as usize;
    let mut mask = Vec::with_capacity(target.area());
    for y in 0..target.height {
        let (top, bottom, v) = at(y, target.height, grid.height);
        for x in 0..target.width {
            let (left, right, u) = at(x, target.width, grid.width);
            let value = |class: usize| {
                let plane = &probabilities[class * area..];
                let mix = |a: f32, b: f32, w: f32| a + (b - a) * w;
                mix(
                    mix(plane[top * width + left], plane[top * width + right], u),
                    mix(plane[bottom * width + left], plane[bottom * width + right], u),
                    v,
                )
            };
            let best = (0..classes).max_by(|a, b| value(*a).total_cmp(&value(*b)));
            mask.push(best.unwrap_or(0) as u8);
        }
    }
    mask
}

fn postprocess(criterion: &mut Criterion) {
    let spec = manifest().segmentation.unwrap();
    let settings = MaskSettings::default();
    let mapping = ClassMapping::new(&spec, &settings);
    for (width, height) in SIZES {
        let size = Size::new(width, height);
        let transform = input_transform(size, Size::new(480, 360), Fit::Stretch, 0);
        let grid_size = Size::new(240, 180);
        let logits = logits(&spec, grid_size);
        let grid = Grid::new(&logits, grid_size);
        let mut group = criterion.benchmark_group(format!("postprocess {width}x{height}"));
        group.throughput(Throughput::Elements(size.area() as u64));
        let mut head = SegmentationHead::default();
        let mask = Wanted { mask: true, ..Wanted::NONE };
        let classes = Wanted { classes: true, ..mask };
        for (name, wanted) in [
            ("mask, confidence", mask),
            ("mask, confidence, cost", Wanted { cost: true, ..mask }),
            ("mask, confidence, classes", classes),
        ] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let maps = head.run(grid, &transform, &spec, &mapping, &settings, wanted);
                    let first = black_box(maps.traversability[0]);
                    head.recycle(maps);
                    first
                });
            });
        }
        group.bench_function("mask, pixel by pixel", |bencher| {
            bencher.iter(|| black_box(naive_mask(&logits, spec.classes.len(), grid_size, size)));
        });
        let maps = head.run(grid, &transform, &spec, &mapping, &settings, classes);
        group.bench_function("obstacles", |bencher| {
            let limits = ObstacleSettings::default();
            bencher.iter(|| {
                let found =
                    obstacle::find(&maps, settings.size, &transform, &spec, &mapping, &limits);
                black_box(found.len())
            });
        });
        let limits = ObstacleSettings::default();
        let obstacles = obstacle::find(&maps, settings.size, &transform, &spec, &mapping, &limits);
        let label = |name: &str| Label { name: name.to_owned(), index: 0, score: 0.31 };
        let labels = ["street sign", "traffic light", "minivan"].map(label);
        let mut drawn = self::picture(width, height);
        group.bench_function("overlay", |bencher| {
            bencher.iter(|| {
                let overlay = Overlay {
                    mask: Some((&maps, &spec, MaskKind::Traversability)),
                    alpha: 0.5,
                    obstacles: &obstacles,
                    labels: &labels,
                    place: Some("kitchen"),
                    frames_per_s: Some(29.97),
                    ..Overlay::default()
                };
                overlay::draw(&mut drawn, &overlay);
                black_box(drawn.rgb[0])
            });
        });
        group.bench_function("overlay as JPEG", |bencher| {
            bencher.iter(|| overlay::to_jpeg(black_box(&drawn), 80).unwrap().len());
        });
        group.bench_function("overlay as JPEG, image crate", |bencher| {
            bencher.iter(|| {
                let mut file = Vec::with_capacity(drawn.size.area() / 4);
                let color = ExtendedColorType::Rgb8;
                JpegEncoder::new_with_quality(&mut file, 80)
                    .encode(black_box(&drawn.rgb), width, height, color)
                    .unwrap();
                file.len()
            });
        });
    }
    let values: Vec<f32> = (0..1000).map(|index| (index % 17) as f32).collect();
    let mut probabilities = Vec::new();
    criterion.bench_function("softmax over 1000 classes", |bencher| {
        bencher.iter(|| softmax(black_box(&values), 0.9, &mut probabilities));
    });
}

/// Pseudo-random unit vectors.
fn vector(seed: usize, dimensions: usize) -> Vec<f32> {
    let mut state = seed as u64 * 0x9e37_79b9_7f4a_7c15 + 1;
    let values: Vec<f32> = (0..dimensions)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.into_iter().map(|value| value / length).collect()
}

fn places(criterion: &mut Criterion) {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/models/squeezenet1_1_street_descriptors.safetensors");
    let descriptors = Descriptors::read(&std::fs::read(path).unwrap()).unwrap();
    let features: Vec<f32> = (0..512 * 45 * 60).map(|index| (index % 13) as f32).collect();
    let card = manifest();
    criterion.bench_function("place descriptor, 480x360", |bencher| {
        bencher.iter(|| {
            let vector = descriptors.place.run(|name| {
                let channels =
                    card.features.iter().find(|spec| spec.output == name).unwrap().channels;
                let (height, width) = (22, 30);
                let values = &features[..channels * height * width];
                Ok::<_, squeezenet_node::descriptor::DescriptorError>(FeatureMap {
                    channels,
                    height,
                    width,
                    values,
                })
            });
            black_box(vector.unwrap())
        });
    });
    let dimensions = descriptors.place.dimensions();
    for views in [1_000, 100_000] {
        let mut gallery = Gallery::new(dimensions);
        for view in 0..views {
            let name = format!("place {}", view / 20);
            gallery.teach(&name, &vector(view, dimensions), View::default(), 100);
        }
        let query = vector(7, dimensions);
        let mut group = criterion.benchmark_group(format!("gallery of {views} views"));
        group.sample_size(20);
        group.bench_function("search", |bencher| {
            bencher.iter(|| black_box(gallery.similarities(&query)).len());
        });
        group.bench_function("search, filter, names", |bencher| {
            let recognition = Recognition::new(&gallery, Kind::Place, Motion::Anywhere);
            bencher.iter_batched_ref(
                || recognition.clone(),
                |recognition| black_box(recognition.update(&gallery, &query, 0.5)).len(),
                BatchSize::SmallInput,
            );
        });
    }
}

/// Takes the messages as the node does: their bytes are made, and go nowhere.
struct Bytes(OutputSet);

impl Sink for Bytes {
    fn wanted(&self) -> OutputSet {
        self.0
    }
    fn put(&mut self, _: Output, message: &impl RosMessage) {
        black_box(message.to_cdr());
    }
}

impl GroundSink for Bytes {
    fn transforms(&mut self, transforms: [TransformStamped<'_>; 2]) {
        black_box(TfMessage { transforms: transforms.into() }.to_cdr());
    }
}

/// A floor with a wall at row 50 of 90 and a box before it, as a camera at 0.4 m sees it that looks down
/// by 10 degrees; 640x480 in, 480x360 through the network.
fn floor() -> FrameResult {
    let (image, cells) = (Size::new(640, 480), Size::new(120, 90));
    let class = |x: u32, y: u32| match (x, y) {
        (_, 0..20) => 3,
        (_, 20..50) | (40..60, 50..65) => 2,
        _ => 0,
    };
    let places = (0..cells.height).flat_map(|y| (0..cells.width).map(move |x| (x, y)));
    let ids: Vec<u8> = places.map(|(x, y)| class(x, y)).collect();
    let mask = image.area();
    let traversability = (0..mask).map(|i| {
        let (x, y) = (i % 640 * 120 / 640, i / 640 * 90 / 480);
        ids[y * 120 + x]
    });
    FrameResult {
        maps: Some(Maps {
            size: image,
            semantic: vec![0; mask],
            traversability: traversability.collect(),
            confidence: vec![255; mask],
            cost: Vec::new(),
        }),
        ground: Some(Ground {
            grid: from_ids(cells, &ids),
            transform: input_transform(image, Size::new(480, 360), Fit::Stretch, 0),
        }),
        ..FrameResult::new(image)
    }
}

fn ground(criterion: &mut Criterion) {
    let result = floor();
    let settings = Settings::default();
    let of = |outputs: &[Output]| outputs.iter().copied().collect::<OutputSet>();
    let scan = of(&[Output::Scan]);
    let clouds = of(&[Output::ObstaclePoints, Output::GroundPoints]);
    let points = of(&[Output::Points]);
    let map = of(&[Output::LocalMap]);
    let all = OutputSet::GROUND;
    for (motion, sway) in [("camera at rest", 0.0), ("camera that nods", 0.2)] {
        let mut group = criterion.benchmark_group(format!("ground, 640x480, {motion}"));
        let wanted =
            [("scan", scan), ("clouds", clouds), ("points", points), ("map", map), ("all", all)];
        for (name, wanted) in wanted {
            let mut messages = GroundMessages::default();
            let mut sink = Bytes(wanted);
            let mut frames = 0;
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    frames += 1;
                    let mut own = CameraSettings::default();
                    own.ground.height_m = 0.4;
                    own.ground.hfov_deg = 70.0;
                    own.ground.pitch_deg = 10.0 + sway * f64::from(frames % 5);
                    // Ten a second, so that the map is due each time.
                    let (sec, tenth) = (frames / 10, frames % 10);
                    let stamp = Stamp { sec: 1 + sec, nanosec: 100_000_000 * tenth as u32 };
                    let header = Header { stamp, frame_id: "camera" };
                    let frame = CameraFrame {
                        camera: 0,
                        header,
                        info: None,
                        image_size: result.image_size,
                        now: stamp,
                        image_topic: &own.image_topic,
                        settings: &settings,
                        own: &own,
                    };
                    black_box(
                        messages.make(&frame, &result, &TfBuffer::default(), &mut sink).unwrap(),
                    );
                });
            });
        }
    }
}

/// What learning by driving adds to a frame, and what it takes beside it.
fn learning(criterion: &mut Criterion) {
    let grid = Size::new(120, 90);
    let model = Model::load("squeezenet1_1_anywhere", &install::models_dir()).unwrap();
    let channels = model.manifest.mask_features().unwrap().channels;
    let (classes, plane) = (22, grid.area());
    let number = |i: usize| (i * 2_654_435_761 % 1000) as f32 / 100.0;
    let values: Vec<f32> = (0..channels * plane).map(|i| (number(i) - 5.0).max(0.0)).collect();
    let logits: Vec<f32> = (0..classes * plane).map(|i| number(i + 7)).collect();
    let features = FeatureMap { channels, height: 90, width: 120, values: &values };
    let transform = input_transform(Size::new(640, 480), Size::new(480, 360), Fit::Stretch, 0);
    let is_ground: Vec<bool> = (0..classes).map(|class| class % 3 == 0).collect();
    let margins = || Margins::new(features, Grid::new(&logits, grid), 1.1, &is_ground).unwrap();
    let make = || margins().cells(&transform).unwrap();
    let cells = make();
    let marks: Vec<Mark> = (0..cells.count())
        .map(|cell| if cell % 3 == 0 { Mark::Ground } else { Mark::Obstacle })
        .collect();
    let is_above = vec![false; marks.len()];
    let (mut learner, _) = Learner::of(&model, Footprint::default()).unwrap();
    (0..4).for_each(|_| learner.teach(&cells, &marks, &is_above));
    let correction = learner.correction().cloned();
    let mut group = criterion.benchmark_group("learning, 480x360");
    group.bench_function("cells of a frame", |bencher| bencher.iter(|| black_box(make())));
    group.bench_function("correction of a frame", |bencher| {
        let zero = Correction::new(&vec![0.01; channels + 2], 1.0).unwrap();
        let correction = correction.as_deref().unwrap_or(&zero);
        let mut own = logits.clone();
        bencher.iter(|| {
            own.copy_from_slice(&logits);
            black_box(correction.apply(&margins(), &mut own));
        });
    });
    group.bench_function("a frame that teaches", |bencher| {
        bencher.iter(|| learner.teach(black_box(&cells), &marks, &is_above));
    });
}

criterion_group!(stages, decode, preprocess, postprocess, ground, learning, places);
criterion_main!(stages);
