//! `squeezenet_node masks evaluate`: how well the mask agrees with pictures labelled by hand.
//!
//! A picture goes the node's own way, decoder to up-sampled mask, and its mask is compared with the
//! label file of the same stem, at the label's own size. What the labels mean says `--classes`, a JSON
//! file with an object `classes`: from each id to a name and one of `traversable`, `caution`,
//! `obstacle`, `background` and `ignore`.

mod measure;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use image::{RgbImage, imageops};
use serde::Serialize;

use super::labelled::{LabelMeaning, pairs, read_classes, read_label};
use super::learning::LearningOptions;
use super::overwrite::{self, Target};
use super::picture_file::{PictureFile, write_png};
use super::{ModelOptions, Outcome, print, print_line};
use crate::geometry::Size;
use crate::head::segmentation::UNKNOWN;
use crate::manifest::SegmentationSpec;
use crate::overlay::{self, Overlay};
use crate::pipeline::Pipeline;
use crate::result::{Maps, Picture, Wanted};
use crate::settings::{CameraSettings, MaskKind};

use measure::{Figures, Measures};

/// Of one picture of the sheet; the left half shows the label, the right half the mask.
const CELL: (u32, u32) = (320, 260);

/// Arguments of `masks`.
#[derive(Debug, Args)]
pub struct MasksArgs {
    #[command(subcommand)]
    command: MasksCommand,
}

#[derive(Debug, Subcommand)]
enum MasksCommand {
    /// Compare masks with pictures labelled by hand
    Evaluate(EvaluateArgs),
}

/// Arguments of `masks evaluate`.
#[derive(Debug, Args)]
struct EvaluateArgs {
    /// Folder of pictures, JPEG or PNG
    images: PathBuf,
    /// Folder of labels: a PNG for each picture's stem, one channel of at most 8 bits, or a palette, an id a pixel
    labels: PathBuf,
    /// What the ids mean: JSON, {"classes": {"ID": ["NAME", "traversable|caution|obstacle|background|ignore"]}}
    #[arg(long, value_name = "FILE")]
    classes: PathBuf,
    /// One JSON object of all figures
    #[arg(long)]
    json: bool,
    /// Write the worst pictures here, as PNG: label to the left, mask to the right
    #[arg(long, value_name = "PNG")]
    sheet: Option<PathBuf>,
    /// How many pictures the sheet shows
    #[arg(long, default_value_t = 12)]
    worst: usize,
    /// Pixels below this confidence are unknown; as the parameter mask.min_confidence
    #[arg(long, default_value_t = CameraSettings::default().mask.min_confidence, value_parser = probability)]
    min_confidence: f32,
    #[command(flatten)]
    learning: LearningOptions,
    #[command(flatten)]
    model: ModelOptions,
}

fn probability(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("a number from 0 to 1 is wanted".to_owned()),
    }
}

pub(super) fn run(args: &MasksArgs) -> anyhow::Result<Outcome> {
    match &args.command {
        MasksCommand::Evaluate(args) => evaluate(args),
    }
}

/// One picture's figures, and what the sheet needs of it.
#[derive(Debug)]
struct Compared {
    file: PathBuf,
    label: PathBuf,
    figures: Figures,
}

/// `--json`: a picture.
#[derive(Debug, Serialize)]
struct PictureRecord<'a> {
    file: &'a Path,
    #[serde(flatten)]
    figures: &'a Figures,
}

/// `--json`: the whole.
#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    precision: &'static str,
    min_confidence: f32,
    pictures: usize,
    failed: usize,
    #[serde(flatten)]
    figures: &'a Figures,
    worst: Vec<PictureRecord<'a>>,
}

fn evaluate(args: &EvaluateArgs) -> anyhow::Result<Outcome> {
    let meanings = read_classes(&args.classes)?;
    let files = pairs(&args.images, &args.labels)?;
    ensure!(args.sheet.is_none() || args.worst > 0, "--sheet without a picture: --worst is 0");
    let read: Vec<PathBuf> =
        files.iter().flat_map(|(image, label)| [image, label]).cloned().collect();
    overwrite::refuse(&read, &Target::all("--sheet", args.sheet.clone()))?;
    let mut pipeline = args.model.pipeline()?;
    args.learning.apply_to(&mut pipeline)?;
    let model = pipeline.network().model().clone();
    let Some(spec) = &model.manifest.segmentation else {
        bail!("model {} has no mask", model.manifest.name);
    };
    let mut camera = CameraSettings::default();
    camera.mask.min_confidence = args.min_confidence;
    let mut total = Measures::new(&meanings, spec);
    let mut compared = Vec::with_capacity(files.len());
    for (file, label) in files {
        let mut own = Measures::new(&meanings, spec);
        match compare(&file, &label, &mut pipeline, &camera, &mut [&mut total, &mut own]) {
            Ok(()) => compared.push(Compared { file, label, figures: own.figures() }),
            Err(error) => print::tell(&format!("{}: {error:#}", file.display())),
        }
    }
    ensure!(!compared.is_empty(), "none of the {} pictures could be compared", total.failed());
    // A picture without ground, in label and mask, has no IoU and is not among the worst.
    let iou = |one: &Compared| one.figures.ground_iou.unwrap_or(1.0);
    compared.sort_by(|a, b| iou(a).total_cmp(&iou(b)));
    let worst = &compared[..compared.len().min(args.worst)];
    let figures = total.figures();
    if args.json {
        let record = |one| {
            let Compared { file, figures, .. }: &Compared = one;
            PictureRecord { file, figures }
        };
        let report = Report {
            model: &model.manifest.name,
            precision: pipeline.network().execution().precision.name(),
            min_confidence: args.min_confidence,
            pictures: compared.len(),
            failed: total.failed(),
            figures: &figures,
            worst: worst.iter().map(record).collect(),
        };
        print_line(&serde_json::to_string(&report)?)?;
    } else {
        tell(&figures, compared.len(), worst)?;
    }
    if let Some(path) = &args.sheet {
        write_sheet(path, worst, &meanings, &mut pipeline, &camera, spec)?;
    }
    Ok(if total.failed() == 0 { Outcome::Done } else { Outcome::SomeFailed })
}

/// Adds one picture to `measures`; one that fails is counted in all of them.
fn compare(
    file: &Path,
    label: &Path,
    pipeline: &mut Pipeline,
    camera: &CameraSettings,
    measures: &mut [&mut Measures],
) -> anyhow::Result<()> {
    let result = run_on(file, pipeline, camera, false).and_then(|(maps, _)| {
        let truth = read_label(label, maps.size)?;
        Ok((truth, maps))
    });
    for one in measures {
        match &result {
            Ok((truth, maps)) => one.add(truth, maps),
            Err(_) => one.add_failure(),
        }
    }
    result.map(drop)
}

fn run_on(
    file: &Path,
    pipeline: &mut Pipeline,
    camera: &CameraSettings,
    picture: bool,
) -> anyhow::Result<(Maps, Option<Picture>)> {
    let upright = PictureFile::read(file)?;
    let wanted = Wanted { mask: true, classes: true, picture, ..Wanted::default() };
    let result = pipeline.process(upright.frame()?, wanted, camera)?;
    let maps = result.maps.context("the model gave no mask")?;
    Ok((maps, result.picture))
}

fn write_sheet(
    path: &Path,
    worst: &[Compared],
    meanings: &[Option<LabelMeaning>],
    pipeline: &mut Pipeline,
    camera: &CameraSettings,
    spec: &SegmentationSpec,
) -> anyhow::Result<()> {
    const COLUMNS: usize = 2;
    let rows = worst.len().div_ceil(COLUMNS);
    let mut sheet = RgbImage::new(2 * COLUMNS as u32 * CELL.0, rows as u32 * CELL.1);
    let at =
        |index: usize| ((index % COLUMNS) as u32 * 2 * CELL.0, (index / COLUMNS) as u32 * CELL.1);
    for (index, one) in worst.iter().enumerate() {
        let (maps, picture) = run_on(&one.file, pipeline, camera, true)?;
        let Some(picture) = picture else { continue };
        let truth = read_label(&one.label, maps.size)?;
        let meant = |&id: &u8| meanings[usize::from(id)].as_ref().map(|m| m.traversability.id());
        let traversability = truth.ids.iter().map(|id| meant(id).unwrap_or(UNKNOWN)).collect();
        let labelled = Maps {
            size: truth.size,
            semantic: Vec::new(),
            traversability,
            confidence: Vec::new(),
            cost: Vec::new(),
        };
        let (x, y) = at(index);
        for (shown, x) in [(&labelled, x), (&maps, x + CELL.0)] {
            let mut drawn = picture.clone();
            let mask = Some((shown, spec, MaskKind::Traversability));
            overlay::draw(&mut drawn, &Overlay { mask, alpha: 0.5, ..Overlay::default() });
            let small = overlay::shrink(&drawn, Size::new(CELL.0, CELL.1 - 20)).into_owned();
            let small = RgbImage::from_raw(small.size.width, small.size.height, small.rgb);
            if let Some(small) = small {
                imageops::replace(&mut sheet, &small, i64::from(x), i64::from(y) + 20);
            }
        }
    }
    let size = Size::new(sheet.width(), sheet.height());
    let mut picture = Picture { size, rgb: sheet.into_raw() };
    for (index, one) in worst.iter().enumerate() {
        let name = one.file.file_name().unwrap_or_default().to_string_lossy();
        let line = format!("{} ground {}", name, share(one.figures.ground_iou));
        overlay::write_line(&mut picture, &line, at(index));
    }
    write_png(path, &picture)
}

/// A share, or a dash where there was nothing to take it of.
fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

fn tell(figures: &Figures, pictures: usize, worst: &[Compared]) -> anyhow::Result<()> {
    print_line(&format!("{pictures} pictures, {} labelled pixels", figures.labelled_px))?;
    let rows = [
        ("ground: IoU", figures.ground_iou),
        ("ground: precision", figures.ground_precision),
        ("ground: recall", figures.ground_recall),
        ("foot: median error, share of the height", figures.foot_median_error),
        ("foot: columns within 5 % of the height", figures.foot_within_5_percent),
        ("obstacles called ground", figures.obstacles_called_ground),
        ("unknown, of all labelled pixels", figures.unknown),
        ("unknown, of ground", figures.unknown_ground),
        ("mean IoU of classes known by name", figures.mean_iou),
        ("ground or not: calibration error", figures.calibration_error),
        ("ground or not: AUROC of the confidence", figures.error_auroc),
    ];
    for (name, value) in rows {
        print_line(&format!("  {name:<44} {}", share(value)))?;
    }
    for (name, iou) in &figures.iou {
        print_line(&format!("  IoU {name:<40} {}", share(*iou)))?;
    }
    print_line("worst:")?;
    for one in worst {
        let iou = share(one.figures.ground_iou);
        print_line(&format!("  {iou}  {}", one.file.display()))?;
    }
    Ok(())
}
