//! `squeezenet_node learning teach`: a few labelled pictures of a site instead of a drive.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;

use super::{new_learner, restore_to_write};
use crate::cli::labelled::{LabelMeaning, Truth, pairs, read_classes, read_label};
use crate::cli::picture_file::PictureFile;
use crate::cli::print::{print_line, tell};
use crate::cli::{ModelOptions, Outcome};
use crate::file_lock::Lock;
use crate::geometry::Size;
use crate::learning::{Footprint, Learner, Mark};
use crate::pipeline::Pipeline;
use crate::result::{Cells, Wanted};
use crate::settings::CameraSettings;
use crate::traversability::Traversability;

/// `--driven`: the strip begins at the picture's lower edge with this share of its width, and ends in a point at
/// this share of its height from above.
const STRIP_WIDTH: f64 = 0.5;
const STRIP_END: f64 = 0.45;
/// What is above this share of the height, from above, is above the horizon of a camera that is nearly level.
const HORIZON: f64 = 0.35;

/// Arguments of `learning teach`.
#[derive(Debug, Args)]
pub(super) struct TeachArgs {
    /// Folder of pictures, JPEG or PNG
    images: PathBuf,
    /// Folder of labels: a PNG for each picture's stem, one channel of at most 8 bits, or a palette, an id a pixel
    labels: PathBuf,
    /// What the ids mean: JSON, {"classes": {"ID": ["NAME", "traversable|caution|obstacle|background|ignore"]}}
    #[arg(long, value_name = "FILE")]
    classes: PathBuf,
    /// The file to learn into; one that is there goes on
    #[arg(long, value_name = "FILE")]
    learning_file: PathBuf,
    /// Only what a robot that drives straight on would know, with a nearly level camera: that what it stands on is
    /// ground, and what is above the horizon is not
    #[arg(long)]
    driven: bool,
    #[command(flatten)]
    model: ModelOptions,
}

pub(super) fn run(args: &TeachArgs) -> anyhow::Result<Outcome> {
    let meanings = read_classes(&args.classes)?;
    let files = pairs(&args.images, &args.labels)?;
    let mut pipeline = args.model.pipeline()?;
    let model = pipeline.network().model().clone();
    let mut learner = new_learner(&model, Footprint::default())?;
    let path = &args.learning_file;
    let _lock = Lock::take(path, "--learning-file", "squeezenet_node learning teach")?;
    restore_to_write(&mut learner, &model, path)?;
    let before = learner.report().counts.frames;
    let (mut outcome, mut is_told) = (Outcome::Done, false);
    for (file, label) in &files {
        match teach(file, label, &meanings, args.driven, &mut pipeline, &mut learner) {
            Ok(tells) => is_told |= tells,
            Err(error) => {
                tell(&format!("{}: {error:#}", file.display()));
                outcome = Outcome::SomeFailed;
            }
        }
    }
    let report = learner.report();
    let taught = report.counts.frames - before;
    ensure!(taught > 0, "none of the {} pictures taught anything; nothing is written", files.len());
    ensure!(
        is_told,
        "no label has an id that {} gives a meaning; nothing is written",
        args.classes.display()
    );
    learner.state().write(path, &model.manifest.name, &model.manifest.weights_sha256())?;
    let said = match report.verdict.filter(|_| report.is_active) {
        Some(verdict) => verdict.summary(),
        None => report.change_summary(),
    };
    print_line(&format!("{}: learnt from {taught} pictures; {said}", path.display()))?;
    Ok(outcome)
}

/// Whether the label says of any cell what it is.
fn teach(
    file: &Path,
    label: &Path,
    meanings: &[Option<LabelMeaning>],
    driven: bool,
    pipeline: &mut Pipeline,
    learner: &mut Learner,
) -> anyhow::Result<bool> {
    let upright = PictureFile::read(file)?;
    let wanted = Wanted { cells: true, ..Wanted::default() };
    let result = pipeline.process(upright.frame()?, wanted, &CameraSettings::default())?;
    let cells = result.cells.context("the picture is too small to learn from")?;
    let truth = read_label(label, result.image_size)?;
    let is_above = |cell| driven && cells.pixel(cell)[1] < HORIZON * f64::from(truth.size.height);
    let is_above: Vec<_> = (0..cells.count()).map(is_above).collect();
    learner.teach(&cells, &marks(&cells, &truth, meanings, driven), &is_above);
    let is_told = |cell| {
        let id = cells.at(cell, &truth.ids, truth.size.width);
        id.is_some_and(|id| meanings[usize::from(id)].is_some())
    };
    Ok((0..cells.count()).any(is_told))
}

/// What each cell is, by the label at its middle.
fn marks(
    cells: &Cells,
    truth: &Truth,
    meanings: &[Option<LabelMeaning>],
    driven: bool,
) -> Vec<Mark> {
    let mark = |cell| {
        let id = cells.at(cell, &truth.ids, truth.size.width);
        let Some(meaning) = id.and_then(|id| meanings[usize::from(id)].as_ref()) else {
            return Mark::None;
        };
        match Traversability::is_ground(meaning.traversability.id()) {
            true if !driven || is_in_strip(cells.pixel(cell), truth.size) => Mark::Ground,
            false if !driven => Mark::Obstacle,
            _ => Mark::None,
        }
    };
    (0..cells.count()).map(mark).collect()
}

/// Whether a pixel lies in the strip that a robot sees before it and then drives along.
fn is_in_strip([x, y]: [f64; 2], size: Size) -> bool {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let near = (y / height - STRIP_END) / (1.0 - STRIP_END);
    (x / width - 0.5).abs() <= STRIP_WIDTH / 2.0 * near
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Fit, input_transform};

    #[test]
    fn the_strip_is_ground_in_the_lower_middle() {
        let size = Size::new(80, 60);
        let transform = input_transform(size, size, Fit::Stretch, 0);
        let cells = Cells {
            size: [8, 6],
            channels: 1,
            features: vec![0.0; 48],
            margins: vec![0.0; 48],
            transform,
            room: [8.0, 6.0],
        };
        // Ground below the middle but for the right third, of which nothing is said.
        let id = |at: usize| match (at % 80, at / 80) {
            (_, ..30) => 1,
            (..53, _) => 2,
            _ => 9,
        };
        let truth = Truth { size, ids: (0..80 * 60).map(id).collect() };
        let mut meanings = vec![None; 256];
        let meaning = |traversability| Some(LabelMeaning { name: String::new(), traversability });
        meanings[1] = meaning(Traversability::Obstacle);
        meanings[2] = meaning(Traversability::Caution);
        let count = |marks: &[Mark]| {
            [Mark::Ground, Mark::Obstacle, Mark::None]
                .map(|of| marks.iter().filter(|one| **one == of).count())
        };
        let whole = marks(&cells, &truth, &meanings, false);
        assert_eq!(count(&whole), [15, 24, 9]);
        let strip = marks(&cells, &truth, &meanings, true);
        assert_eq!(count(&strip), [6, 0, 42]);
        // Of the last row the four in the middle less the one that no label tells of.
        assert_eq!(&strip[5 * 8..][2..6], [Mark::Ground, Mark::Ground, Mark::Ground, Mark::None]);
    }
}
