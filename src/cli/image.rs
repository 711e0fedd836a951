//! `squeezenet_node image FILE...`: what is in picture files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use image::ExtendedColorType;
use serde::Serialize;

use super::places::{GalleryOptions, NameRecord};
use super::{ModelOptions, Outcome, print_line};
use crate::frame::Frame;
use crate::geometry::Size;
use crate::overlay::{self, Overlay};
use crate::pipeline::Pipeline;
use crate::place::PlaceRecognizer;
use crate::result::{FrameResult, Label, Outputs};
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
    mask: Option<PathBuf>,
    semantic: Option<PathBuf>,
    confidence: Option<PathBuf>,
    timing_ms: serde_json::Map<String, serde_json::Value>,
}

pub(super) fn run(args: &ImageArgs) -> anyhow::Result<Outcome> {
    let mut pipeline = args.model.pipeline()?;
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
    for file in &args.files {
        if let Err(error) = label(file, &mut pipeline, recognizer.as_mut(), &camera, args) {
            eprintln!("{}: {error:#}", file.display());
            outcome = Outcome::SomeFailed;
        }
    }
    Ok(outcome)
}

fn label(
    file: &Path,
    pipeline: &mut Pipeline,
    recognizer: Option<&mut PlaceRecognizer>,
    camera: &CameraSettings,
    args: &ImageArgs,
) -> anyhow::Result<()> {
    let bytes = std::fs::read(file)?;
    let maps = args.out.is_some();
    let (embedding, taught) = (recognizer.is_some(), recognizer.is_some());
    let wanted = Outputs {
        labels: true,
        mask: maps,
        obstacles: maps,
        embedding,
        taught,
        picture: maps,
        ..Outputs::default()
    };
    let mut result = pipeline.process(Frame::Compressed(&bytes), wanted, camera)?;
    if let Some(recognizer) = recognizer {
        let class_count = pipeline.network().model().class_names.len();
        recognizer.add_to(&mut result, 0, 0.0, &camera.labels, class_count);
    }
    let written = match &args.out {
        Some(folder) => write_maps(file, folder, &mut result, pipeline, camera)?,
        None => Written::default(),
    };
    let record = Record {
        file,
        width: result.image_size.width,
        height: result.image_size.height,
        labels: names(result.labels.take()),
        place: names(result.places.take()),
        mask: written.mask,
        semantic: written.semantic,
        confidence: written.confidence,
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
    for path in [&record.mask, &record.semantic, &record.confidence].into_iter().flatten() {
        print_line(&format!("  {}", path.display()))?;
    }
    Ok(())
}

/// Files that were written of one picture.
#[derive(Debug, Default)]
struct Written {
    mask: Option<PathBuf>,
    semantic: Option<PathBuf>,
    confidence: Option<PathBuf>,
}

fn write_maps(
    file: &Path,
    folder: &Path,
    result: &mut FrameResult,
    pipeline: &Pipeline,
    camera: &CameraSettings,
) -> anyhow::Result<Written> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let path = |kind: &str| folder.join(format!("{stem}_{kind}.png"));
    let model = pipeline.network().model();
    if let Some(mut picture) = result.picture.take() {
        let drawn = Overlay::of(result, &model.manifest, camera.mask.kind, 0.5);
        overlay::draw(&mut picture, &drawn);
        write_png(&path("overlay"), &picture.rgb, picture.size, ExtendedColorType::Rgb8)?;
    }
    let Some(maps) = &result.maps else { return Ok(Written::default()) };
    let write = |kind: &str, ids: &[u8]| -> anyhow::Result<Option<PathBuf>> {
        let path = path(kind);
        write_png(&path, ids, maps.size, ExtendedColorType::L8)?;
        Ok(Some(path))
    };
    Ok(Written {
        mask: write("mask", &maps.traversability)?,
        semantic: write("semantic", &maps.semantic)?,
        confidence: write("confidence", &maps.confidence)?,
    })
}

fn write_png(
    path: &Path,
    bytes: &[u8],
    size: Size,
    color: ExtendedColorType,
) -> anyhow::Result<()> {
    image::save_buffer(path, bytes, size.width, size.height, color)
        .with_context(|| path.display().to_string())
}

fn names(labels: Option<Vec<Label>>) -> Vec<NameRecord> {
    labels.into_iter().flatten().map(NameRecord::from).collect()
}

fn timing(result: &FrameResult) -> serde_json::Map<String, serde_json::Value> {
    let stages = result.times.stages().into_iter().chain([("total", result.times.total())]);
    stages.map(|(name, time)| (name.to_owned(), milliseconds(time).into())).collect()
}
