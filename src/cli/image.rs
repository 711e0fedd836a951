//! `squeezenet_node image FILE...`: what is in picture files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use image::{ExtendedColorType, ImageEncoder};
use serde::Serialize;

use super::learning::LearningOptions;
use super::output_names::output_names;
use super::overwrite::{self, Target};
use super::picture_file::PictureFile;
use super::places::{GalleryOptions, NameRecord};
use super::print::{print_line, reader_has_gone, tell};
use super::{ModelOptions, Outcome};
use crate::atomic_file;
use crate::geometry::Size;
use crate::overlay::{self, Overlay};
use crate::pipeline::Pipeline;
use crate::place::PlaceRecognizer;
use crate::result::{FrameResult, Label, Wanted};
use crate::settings::{CameraSettings, MaskKind};
use crate::timing::milliseconds;

/// Arguments of `image`.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// Picture files, JPEG or PNG
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// One JSON object a line and file
    #[arg(long)]
    json: bool,
    /// Write mask, semantic mask, confidence and overlay here, as PNG
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Colours of the overlay: the model's own classes instead of their traversability
    #[arg(long)]
    semantic: bool,
    /// Labels a picture, best first
    #[arg(long, default_value_t = 5)]
    top_k: usize,
    #[command(flatten)]
    gallery: GalleryOptions,
    #[command(flatten)]
    learning: LearningOptions,
    #[command(flatten)]
    model: ModelOptions,
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Record<'a> {
    file: &'a Path,
    width: u32,
    height: u32,
    labels: Vec<NameRecord>,
    place: Vec<NameRecord>,
    #[serde(flatten)]
    written: Written,
    timing_ms: serde_json::Map<String, serde_json::Value>,
}

pub(super) fn run(args: &ImageArgs) -> anyhow::Result<Outcome> {
    let names = output_names(&args.files);
    if let Some(folder) = &args.out {
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        let files = unique.iter().flat_map(|name| KINDS.map(|kind| map_path(folder, name, kind)));
        overwrite::refuse(&args.files, &Target::all("--out", files))?;
    }
    let mut pipeline = args.model.pipeline()?;
    args.learning.apply_to(&mut pipeline)?;
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut camera = CameraSettings::default();
    camera.labels.top_k = args.top_k;
    if args.semantic {
        camera.mask.kind = MaskKind::Semantic;
    }
    let mut recognizer = args.gallery.recognizer(&pipeline)?;
    let mut outcome = Outcome::Done;
    for (file, name) in args.files.iter().zip(&names) {
        if args.out.is_none() && reader_has_gone() {
            break;
        }
        if let Err(error) = label(file, name, &mut pipeline, recognizer.as_mut(), &camera, args) {
            tell(&format!("{}: {error:#}", file.display()));
            outcome = Outcome::SomeFailed;
        }
    }
    Ok(outcome)
}

/// What is written of each picture.
const KINDS: [&str; 4] = ["overlay", "mask", "semantic", "confidence"];

fn map_path(folder: &Path, name: &str, kind: &str) -> PathBuf {
    folder.join(format!("{name}_{kind}.png"))
}

fn label(
    file: &Path,
    name: &str,
    pipeline: &mut Pipeline,
    recognizer: Option<&mut PlaceRecognizer>,
    camera: &CameraSettings,
    args: &ImageArgs,
) -> anyhow::Result<()> {
    let picture = PictureFile::read(file)?;
    let maps = args.out.is_some();
    let (embedding, taught) = (recognizer.is_some(), recognizer.is_some());
    let wanted = Wanted {
        labels: true,
        mask: maps,
        classes: maps,
        obstacles: maps,
        embedding,
        taught,
        picture: maps,
        ..Wanted::default()
    };
    let mut result = pipeline.process(picture.frame()?, wanted, camera)?;
    if let Some(recognizer) = recognizer {
        let class_count = pipeline.network().model().class_names.len();
        recognizer.add_to(&mut result, (0, Duration::ZERO), 0.0, &camera.labels, class_count);
    }
    let written = match &args.out {
        Some(folder) => write_maps(name, folder, &mut result, pipeline, camera)?,
        None => Written::default(),
    };
    let record = Record {
        file,
        width: result.image_size.width,
        height: result.image_size.height,
        labels: names(result.labels.take()),
        place: names(result.places.take()),
        written,
        timing_ms: timing(&result),
    };
    if args.json {
        return print_line(&serde_json::to_string(&record)?);
    }
    print_line(&format!("{} ({}x{})", file.display(), record.width, record.height))?;
    for label in &record.labels {
        print_line(&format!("  {:5.1} %  {}", 100.0 * label.score, label.class_id))?;
    }
    for place in &record.place {
        print_line(&format!("  {:5.1} %  at {}", 100.0 * place.score, place.class_id))?;
    }
    let Written { overlay, mask, semantic, confidence } = &record.written;
    for path in [overlay, mask, semantic, confidence].into_iter().flatten() {
        print_line(&format!("  {}", path.display()))?;
    }
    Ok(())
}

/// Files that were written of one picture.
#[derive(Debug, Default, Serialize)]
struct Written {
    overlay: Option<PathBuf>,
    mask: Option<PathBuf>,
    semantic: Option<PathBuf>,
    confidence: Option<PathBuf>,
}

fn write_maps(
    name: &str,
    folder: &Path,
    result: &mut FrameResult,
    pipeline: &Pipeline,
    camera: &CameraSettings,
) -> anyhow::Result<Written> {
    let path = |kind: &str| map_path(folder, name, kind);
    let model = pipeline.network().model();
    let mut written = Written::default();
    if let Some(mut picture) = result.picture.take() {
        let drawn = Overlay::of(result, &model.manifest, camera.mask.kind, 0.5);
        overlay::draw(&mut picture, &drawn);
        let path = path("overlay");
        write_png(&path, &picture.rgb, picture.size, ExtendedColorType::Rgb8)?;
        written.overlay = Some(path);
    }
    let Some(maps) = &result.maps else { return Ok(written) };
    let write = |kind: &str, ids: &[u8]| -> anyhow::Result<Option<PathBuf>> {
        let path = path(kind);
        write_png(&path, ids, maps.size, ExtendedColorType::L8)?;
        Ok(Some(path))
    };
    Ok(Written {
        mask: write("mask", &maps.traversability)?,
        semantic: write("semantic", &maps.semantic)?,
        confidence: write("confidence", &maps.confidence)?,
        ..written
    })
}

fn write_png(
    path: &Path,
    bytes: &[u8],
    size: Size,
    color: ExtendedColorType,
) -> anyhow::Result<()> {
    let mut file = std::io::Cursor::new(Vec::new());
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    encoder
        .write_image(bytes, size.width, size.height, color)
        .map_err(std::io::Error::other)
        .and_then(|()| atomic_file::write(path, file.get_ref()))
        .with_context(|| path.display().to_string())
}

fn names(labels: Option<Vec<Label>>) -> Vec<NameRecord> {
    labels.into_iter().flatten().map(NameRecord::from).collect()
}

fn timing(result: &FrameResult) -> serde_json::Map<String, serde_json::Value> {
    let stages = result.times.stages().into_iter().chain([("total", result.times.total())]);
    stages.map(|(name, time)| (name.to_owned(), milliseconds(time).into())).collect()
}
