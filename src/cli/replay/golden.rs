//! Golden files: what a replay gave once, against which later ones are held.
//!
//! JSON with a line a frame, so that a version control system shows which frames changed. Masks
//! are kept as run lengths on a grid of at most [`GRID_WIDTH`] columns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::bag::seconds;
use crate::cli::print::tell_left;
use crate::geometry::Size;
use crate::result::FrameResult;

/// Columns of the grid on which masks are compared.
const GRID_WIDTH: u32 = 160;

/// Golden files larger than this are refused.
const MAX_BYTES: u64 = 1 << 30;

/// How much a run may differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Of a label's score.
    pub score: f32,
    /// Mean intersection over union of the mask's classes, at least.
    pub iou: f64,
}

/// One frame's expected answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenFrame {
    /// The picture's topic.
    pub topic: String,
    /// The picture's log time, in nanoseconds.
    pub log_time: u64,
    /// Labels, best first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<GoldenLabel>>,
    /// Traversability mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<GoldenMask>,
}

/// One label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenLabel {
    /// Its name.
    pub class_id: String,
    /// Its index.
    pub index: usize,
    /// Its probability, to four digits.
    pub score: f32,
}

/// A mask, thinned out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenMask {
    /// Of the whole mask.
    pub size: Size,
    /// Of the grid.
    pub grid: Size,
    /// `ID*COUNT` of each run, row after row.
    pub runs: String,
}

#[derive(Deserialize)]
struct GoldenFile {
    schema: u32,
    model: String,
    frames: Vec<GoldenFrame>,
}

impl GoldenFrame {
    /// What a frame gave.
    pub fn new(topic: &str, log_time: u64, result: &FrameResult) -> Self {
        let labels = result.labels.as_ref().map(|labels| {
            let kept = labels.iter().map(|label| GoldenLabel {
                class_id: label.name.clone(),
                index: label.index,
                score: (label.score * 1e4).round() / 1e4,
            });
            kept.collect()
        });
        let mask =
            result.maps.as_ref().map(|maps| GoldenMask::new(maps.size, &maps.traversability));
        Self { topic: topic.to_owned(), log_time, labels, mask }
    }
}

impl GoldenMask {
    fn new(size: Size, ids: &[u8]) -> Self {
        let columns = size.width.clamp(1, GRID_WIDTH);
        let rows = (size.height * columns / size.width.max(1)).max(1);
        let grid = Size::new(columns, rows);
        let mut runs: Vec<(u8, u32)> = Vec::new();
        for id in sampled(size, grid, ids) {
            match runs.last_mut() {
                Some((last, count)) if *last == id => *count += 1,
                _ => runs.push((id, 1)),
            }
        }
        let runs: Vec<String> = runs.iter().map(|(id, count)| format!("{id}*{count}")).collect();
        Self { size, grid, runs: runs.join(" ") }
    }

    /// The grid's ids.
    fn ids(&self) -> Result<Vec<u8>, String> {
        let cells = self.grid.area();
        let mut ids = Vec::new();
        for run in self.runs.split_whitespace() {
            let parsed = run
                .split_once('*')
                .and_then(|(id, count)| Some((id.parse().ok()?, count.parse::<usize>().ok()?)));
            let (id, count) = parsed.ok_or_else(|| format!("run {run:?} is not ID*COUNT"))?;
            if count > cells.saturating_sub(ids.len()) {
                return Err(format!("runs have more than the {cells} cells of the grid"));
            }
            ids.resize(ids.len() + count, id);
        }
        if ids.len() == cells {
            Ok(ids)
        } else {
            Err(format!("runs have {} of the {cells} cells of the grid", ids.len()))
        }
    }
}

/// The pixels in the middle of each cell.
fn sampled(size: Size, grid: Size, ids: &[u8]) -> impl Iterator<Item = u8> {
    let middle = |cell: u32, cells: u32, pixels: u32| {
        ((2 * u64::from(cell) + 1) * u64::from(pixels) / (2 * u64::from(cells))) as usize
    };
    (0..grid.height).flat_map(move |row| {
        let y = middle(row, grid.height, size.height);
        (0..grid.width).map(move |column| {
            let x = middle(column, grid.width, size.width);
            ids.get(y * size.width as usize + x).copied().unwrap_or(255)
        })
    })
}

/// Writes a golden file frame by frame. It takes its name when it is finished.
pub struct GoldenWriter {
    file: BufWriter<tempfile::NamedTempFile>,
    path: std::path::PathBuf,
    count: u64,
}

impl GoldenWriter {
    /// Starts a file of a model's answers.
    ///
    /// # Errors
    /// What the file says.
    pub fn create(path: &Path, model: &str) -> anyhow::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Readable for all, as far as the umask lets: it is made to be shared.
        let file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .with_context(|| path.display().to_string())?;
        let mut file = BufWriter::new(file);
        let model = serde_json::to_string(model)?;
        write!(file, "{{\"schema\": 1, \"model\": {model}, \"frames\": [")?;
        Ok(Self { file, path: path.to_owned(), count: 0 })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// What the file says.
    pub fn write(&mut self, frame: &GoldenFrame) -> anyhow::Result<()> {
        let comma = if self.count == 0 { "" } else { "," };
        self.count += 1;
        write!(self.file, "{comma}\n{}", serde_json::to_string(frame)?)?;
        Ok(())
    }

    /// Puts the file in its place, unless the run was stopped, which makes a part of one.
    ///
    /// # Errors
    /// What the file says.
    pub fn finish(mut self, is_stopped: bool) -> anyhow::Result<()> {
        if is_stopped {
            tell_left(&self.path);
            return Ok(());
        }
        writeln!(self.file, "\n]}}")?;
        let file = self.file.into_inner().map_err(|error| error.into_error())?;
        file.persist(&self.path).with_context(|| self.path.display().to_string())?;
        Ok(())
    }
}

/// A golden file, compared frame by frame.
pub struct Golden {
    /// By topic and log time; frames that share both in the order of the bag.
    frames: BTreeMap<(String, u64), VecDeque<GoldenFrame>>,
    tolerance: Tolerance,
    differences: Vec<String>,
    compared: u64,
}

impl Golden {
    /// Reads a golden file.
    ///
    /// # Errors
    /// If it is none, or of another model.
    pub fn open(path: &Path, model: &str, tolerance: Tolerance) -> anyhow::Result<Self> {
        let context = || path.display().to_string();
        let file = File::open(path).with_context(context)?;
        let bytes = file.metadata().with_context(context)?.len();
        anyhow::ensure!(bytes <= MAX_BYTES, "{}: {bytes} bytes are too many", path.display());
        let reader = std::io::BufReader::new(file);
        let golden: GoldenFile = serde_json::from_reader(reader).with_context(context)?;
        anyhow::ensure!(
            golden.schema == 1,
            "{}: schema {} where 1 is read",
            path.display(),
            golden.schema
        );
        let mut differences = Vec::new();
        if golden.model != model {
            differences.push(format!("model: expected {}, got {model}", golden.model));
        }
        let mut frames = BTreeMap::<_, VecDeque<GoldenFrame>>::new();
        for frame in golden.frames {
            frames.entry((frame.topic.clone(), frame.log_time)).or_default().push_back(frame);
        }
        Ok(Self { frames, tolerance, differences, compared: 0 })
    }

    /// Compares a frame with what is expected of it.
    pub fn compare(&mut self, actual: &GoldenFrame) {
        let key = (actual.topic.clone(), actual.log_time);
        let mut differences = Vec::new();
        match self.frames.get_mut(&key).and_then(VecDeque::pop_front) {
            None => differences.push("a frame that the golden file lacks".to_owned()),
            Some(expected) => {
                self.compared += 1;
                differences.extend(labels_differ(&expected, actual, self.tolerance.score));
                differences.extend(masks_differ(&expected, actual, self.tolerance.iou));
            }
        }
        let place = format!("{} at {}", actual.topic, seconds(actual.log_time));
        self.differences.extend(differences.iter().map(|text| format!("{place}: {text}")));
    }

    /// How many frames were compared, and all differences. Stored frames that never came are among
    /// them if `is_whole`: a run over a part of the bag leaves others out on purpose, as one of some `topics` (none: of
    /// all) does those of others.
    pub fn finish(mut self, is_whole: bool, topics: &[String]) -> (u64, Vec<String>) {
        let is_asked = |topic: &String| topics.is_empty() || topics.contains(topic);
        let missing = self.frames.into_values().flatten();
        let missing = missing.filter(|frame| is_whole && is_asked(&frame.topic));
        self.differences.extend(missing.map(|GoldenFrame { topic, log_time, .. }| {
            format!("{topic} at {}: the golden file's frame did not come", seconds(log_time))
        }));
        (self.compared, self.differences)
    }
}

/// The best label must be the same, unless two are as good as each other; every label's score
/// must be near the expected one.
fn labels_differ(expected: &GoldenFrame, actual: &GoldenFrame, tolerance: f32) -> Option<String> {
    let (expected, actual) = match (&expected.labels, &actual.labels) {
        (None, _) => return None,
        (Some(_), None) => return Some("no labels where some are expected".to_owned()),
        (Some(expected), Some(actual)) => (expected, actual),
    };
    let shown = |label: Option<&GoldenLabel>| {
        label.map_or("none".to_owned(), |label| format!("{} {:.4}", label.class_id, label.score))
    };
    let score = |labels: &[GoldenLabel], index: usize| {
        let found = labels.iter().find(|label| label.index == index);
        // A label that fell off the end of the list has at most the last one's score.
        found.map_or(labels.last().map_or(0.0, |last| last.score), |label| label.score)
    };
    let (first, now) = (expected.first(), actual.first());
    let is_near = |a: f32, b: f32| (a - b).abs() <= tolerance + 1e-4;
    let same_best = match (first, now) {
        (None, None) => true,
        (Some(first), Some(now)) => {
            let is_listed = actual.iter().any(|label| label.index == first.index);
            first.index == now.index
                || (is_listed && is_near(score(actual, first.index), now.score))
        }
        _ => false,
    };
    if !same_best {
        return Some(format!("best label: expected {}, got {}", shown(first), shown(now)));
    }
    let wrong = expected.iter().find(|label| {
        let is_listed = actual.iter().any(|other| other.index == label.index);
        let now = score(actual, label.index);
        if is_listed { !is_near(label.score, now) } else { label.score > now + tolerance + 1e-4 }
    })?;
    let now = score(actual, wrong.index);
    Some(format!("score of {}: expected {:.4}, got {now:.4}", wrong.class_id, wrong.score))
}

fn masks_differ(expected: &GoldenFrame, actual: &GoldenFrame, least: f64) -> Option<String> {
    let (expected, actual) = match (&expected.mask, &actual.mask) {
        (None, _) => return None,
        (Some(_), None) => return Some("no mask where one is expected".to_owned()),
        (Some(expected), Some(actual)) => (expected, actual),
    };
    if expected.size != actual.size || expected.grid != actual.grid {
        return Some(format!("mask: expected {}, got {}", expected.size, actual.size));
    }
    let (before, now) = match (expected.ids(), actual.ids()) {
        (Ok(before), Ok(now)) => (before, now),
        (Err(reason), _) | (_, Err(reason)) => return Some(format!("mask: {reason}")),
    };
    let ids: BTreeSet<u8> = before.iter().chain(&now).copied().collect();
    let overlap = |id: u8| {
        let pairs = || before.iter().zip(&now);
        let both = pairs().filter(|&(a, b)| *a == id && *b == id).count();
        let either = pairs().filter(|&(a, b)| *a == id || *b == id).count();
        (id, both as f64 / either as f64, either)
    };
    let overlaps: Vec<(u8, f64, usize)> = ids.into_iter().map(overlap).collect();
    // Weighted by area: a class of a few pixels that comes or goes is no news.
    let area: usize = overlaps.iter().map(|(.., area)| area).sum();
    let mean: f64 =
        overlaps.iter().map(|(_, iou, part)| iou * *part as f64).sum::<f64>() / area as f64;
    if mean >= least {
        return None;
    }
    let classes: Vec<String> =
        overlaps.iter().map(|(id, iou, _)| format!("id {id} {iou:.3}")).collect();
    Some(format!("mask: IoU {mean:.3} under {least:.3} ({})", classes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(scores: &[(usize, f32)], mask: &[u8]) -> GoldenFrame {
        let label =
            |&(index, score)| GoldenLabel { class_id: format!("class {index}"), index, score };
        GoldenFrame {
            topic: "/camera".to_owned(),
            log_time: 1_500_000_000,
            labels: Some(scores.iter().map(label).collect()),
            mask: Some(GoldenMask::new(Size::new(mask.len() as u32, 1), mask)),
        }
    }

    #[test]
    fn masks_come_back_from_their_runs() {
        let ids: Vec<u8> = (0..48 * 320).map(|pixel| (pixel / 700 % 3) as u8).collect();
        let mask = GoldenMask::new(Size::new(320, 48), &ids);
        assert_eq!(mask.grid, Size::new(160, 24));
        let back = mask.ids().unwrap();
        assert_eq!(back.len(), 160 * 24);
        assert_eq!(back[0], ids[320 + 1], "the middle of the first cell");
        let broken = GoldenMask { runs: "0*4000000000".to_owned(), ..mask };
        assert!(broken.ids().is_err());
    }

    #[test]
    fn differences_are_told_and_tolerances_kept() {
        let expected = frame(&[(1, 0.6), (2, 0.3)], &[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        let check = |actual: &GoldenFrame, wanted: &[&str]| {
            let mut golden = Golden {
                frames: [((expected.topic.clone(), expected.log_time), [expected.clone()].into())]
                    .into(),
                tolerance: Tolerance { score: 0.05, iou: 0.9 },
                differences: vec![],
                compared: 0,
            };
            golden.compare(actual);
            let (compared, differences) = golden.finish(true, &[]);
            assert_eq!(compared, 1);
            assert_eq!(differences.len(), wanted.len(), "{differences:?}");
            for (difference, wanted) in differences.iter().zip(wanted) {
                assert!(difference.starts_with("/camera at 1.500000000: "), "{difference}");
                assert!(difference.contains(wanted), "{difference:?} lacks {wanted:?}");
            }
        };
        let same = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1];
        check(&expected, &[]);
        check(&frame(&[(1, 0.58), (2, 0.33)], &same), &[]);
        check(
            &frame(&[(1, 0.5), (2, 0.3)], &same),
            &["score of class 1: expected 0.6000, got 0.5"],
        );
        check(&frame(&[(2, 0.6), (1, 0.3)], &same), &["best label: expected class 1 0.6000"]);
        check(&frame(&[(1, 0.6), (2, 0.3)], &[1; 10]), &["mask: IoU"]);
        check(&frame(&[(3, 0.6)], &[1; 10]), &["best label", "mask"]);
        check(&frame(&[(1, 0.6), (2, 0.3)], &[0; 9]), &["mask: expected 10x1, got 9x1"]);
    }

    #[test]
    fn a_written_file_is_read_and_missing_frames_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golden.json");
        let expected = frame(&[(1, 0.6)], &[0, 1]);
        let mut writer = GoldenWriter::create(&path, "a model").unwrap();
        writer.write(&expected).unwrap();
        writer.write(&GoldenFrame { log_time: 7, ..expected.clone() }).unwrap();
        writer.finish(false).unwrap();
        let tolerance = Tolerance { score: 0.0, iou: 1.0 };
        let mut golden = Golden::open(&path, "a model", tolerance).unwrap();
        golden.compare(&expected);
        let (compared, differences) = golden.finish(true, &[]);
        assert_eq!(compared, 1);
        assert_eq!(differences, ["/camera at 0.000000007: the golden file's frame did not come"]);
        let mut part = Golden::open(&path, "a model", tolerance).unwrap();
        part.compare(&expected);
        assert_eq!(part.finish(false, &[]), (1, Vec::new()));
        let missing = |topic: &str| {
            let golden = Golden::open(&path, "a model", tolerance).unwrap();
            golden.finish(true, &[topic.to_owned()]).1.len()
        };
        assert_eq!([missing("/camera"), missing("/rear")], [2, 0], "of the topics replayed");
        let other = Golden::open(&path, "another", tolerance).unwrap().finish(true, &[]).1;
        assert!(other[0].contains("expected a model, got another"));
    }

    #[test]
    fn frames_of_equal_times_are_compared_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golden.json");
        let (one, other) = (frame(&[(1, 0.6)], &[0, 1]), frame(&[(2, 0.6)], &[1, 1]));
        let mut writer = GoldenWriter::create(&path, "a model").unwrap();
        writer.write(&one).unwrap();
        writer.write(&other).unwrap();
        writer.finish(false).unwrap();
        let tolerance = Tolerance { score: 0.0, iou: 1.0 };
        let run = |frames: &[&GoldenFrame]| {
            let mut golden = Golden::open(&path, "a model", tolerance).unwrap();
            frames.iter().for_each(|frame| golden.compare(frame));
            golden.finish(true, &[])
        };
        assert_eq!(run(&[&one, &other]), (2, vec![]));
        assert_eq!(run(&[&other, &one]).1.len(), 4, "label and mask of each differ");
        assert!(run(&[&one]).1[0].contains("did not come"));
        assert!(run(&[&one, &other, &one]).1[0].contains("the golden file lacks"));
    }
}
