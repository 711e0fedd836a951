//! `squeezenet_node image FILE...`: what is in picture files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::{ModelOptions, Outcome, print_line};
use crate::frame::Frame;
use crate::pipeline::Pipeline;
use crate::result::{FrameResult, Wanted};
use crate::settings::CameraSettings;
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
    /// Labels a picture, best first
    #[arg(long, default_value_t = 5)]
    top_k: usize,
    #[command(flatten)]
    model: ModelOptions,
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Record<'a> {
    file: &'a Path,
    width: u32,
    height: u32,
    labels: Vec<LabelRecord>,
    place: Vec<LabelRecord>,
    mask: Option<PathBuf>,
    semantic: Option<PathBuf>,
    confidence: Option<PathBuf>,
    timing_ms: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct LabelRecord {
    class_id: String,
    index: usize,
    score: f32,
}

pub(super) fn run(args: &ImageArgs) -> anyhow::Result<Outcome> {
    let mut pipeline = args.model.pipeline()?;
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut camera = CameraSettings::default();
    camera.labels.top_k = args.top_k;
    let mut outcome = Outcome::Done;
    for file in &args.files {
        if let Err(error) = label(file, &mut pipeline, &camera, args) {
            eprintln!("{}: {error:#}", file.display());
            outcome = Outcome::SomeFailed;
        }
    }
    Ok(outcome)
}

fn label(
    file: &Path,
    pipeline: &mut Pipeline,
    camera: &CameraSettings,
    args: &ImageArgs,
) -> anyhow::Result<()> {
    let bytes = std::fs::read(file)?;
    let maps = args.out.is_some();
    let wanted =
        Wanted { labels: true, mask: maps, obstacles: maps, picture: maps, ..Wanted::default() };
    let result = pipeline.process(Frame::Compressed(&bytes), wanted, camera)?;
    let record = Record {
        file,
        width: result.image_size.width,
        height: result.image_size.height,
        labels: labels(&result),
        place: Vec::new(),
        mask: None,
        semantic: None,
        confidence: None,
        timing_ms: timing(&result),
    };
    if args.json {
        return print_line(&serde_json::to_string(&record)?);
    }
    print_line(&format!("{} ({}x{})", file.display(), record.width, record.height))?;
    for label in &record.labels {
        print_line(&format!("  {:5.1} %  {}", 100.0 * label.score, label.class_id))?;
    }
    for path in [&record.mask, &record.semantic, &record.confidence].into_iter().flatten() {
        print_line(&format!("  {}", path.display()))?;
    }
    Ok(())
}

fn labels(result: &FrameResult) -> Vec<LabelRecord> {
    let labels = result.labels.iter().flatten();
    labels
        .map(|label| LabelRecord {
            class_id: label.name.clone(),
            index: label.index,
            score: label.score,
        })
        .collect()
}

fn timing(result: &FrameResult) -> serde_json::Map<String, serde_json::Value> {
    let stages = result.times.stages().into_iter().chain([("total", result.times.total())]);
    stages.map(|(name, time)| (name.to_owned(), milliseconds(time).into())).collect()
}
