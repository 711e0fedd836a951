//! What masks are measured by: overlap, the foot of obstacles, and whether confidence tells errors.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::labelled::{LabelMeaning, Truth};
use crate::head::segmentation::UNKNOWN;
use crate::manifest::{SegmentationSpec, Traversability};
use crate::result::Maps;

/// Confidences are bytes.
const LEVELS: usize = 256;
/// Errors of the foot are kept as thousandths of the height, up to all of it.
const FOOT_STEPS: usize = 1000;

/// Counts over pictures.
#[derive(Debug, Clone)]
pub struct Measures {
    /// By label id: ground or not, an obstacle or not, and the model's class of the same name.
    labels: Vec<Option<Known>>,
    /// Names of the model's classes that labels name, by the model's index.
    named: BTreeMap<u8, String>,
    failed: usize,
    /// By the model's class: pixels labelled so and called so, labelled so, called so where labelled.
    classes: BTreeMap<u8, [u64; 3]>,
    labelled: u64,
    ground: u64,
    called_ground: u64,
    both: u64,
    obstacles: u64,
    obstacles_called_ground: u64,
    unknown: u64,
    unknown_ground: u64,
    /// Columns by the error of their foot.
    foot: Vec<u64>,
    /// By confidence: right and wrong about ground, of the pixels that are not unknown.
    about_ground: Vec<[u64; 2]>,
    /// By confidence: ground that was found.
    found_ground: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    is_ground: bool,
    is_obstacle: bool,
    class: Option<u8>,
}

/// The figures of one picture or of many. `None`: there was nothing to take it of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Pixels with a label that is not ignored; all else is taken of these.
    pub labelled_px: u64,
    /// Intersection over union of ground (traversable or caution) in label and mask.
    pub ground_iou: Option<f64>,
    /// Of what the mask calls ground, what is.
    pub ground_precision: Option<f64>,
    /// Of ground, what the mask calls so.
    pub ground_recall: Option<f64>,
    /// Of the pixels labelled obstacle, those that the mask calls ground.
    pub obstacles_called_ground: Option<f64>,
    /// The foot of a column is its lowest pixel that is not ground; the error is a share of the
    /// picture's height.
    pub foot_median_error: Option<f64>,
    /// Columns whose foot is off by at most a twentieth of the height.
    pub foot_within_5_percent: Option<f64>,
    /// Pixels that the mask calls unknown.
    pub unknown: Option<f64>,
    /// Ground that the mask calls unknown.
    pub unknown_ground: Option<f64>,
    /// Mean of `iou`.
    pub mean_iou: Option<f64>,
    /// By name, of the classes that the labels and the model both have.
    pub iou: BTreeMap<String, Option<f64>>,
    /// Expected calibration error (Guo et al. 2017, 15 bins) of the confidence, about ground or not.
    pub calibration_error: Option<f64>,
    /// Area under the ROC curve of the confidence as a sign of being right about ground or not.
    pub error_auroc: Option<f64>,
    /// Wrong about ground or not, of the share of pixels that are the most confident.
    pub risk_at_coverage: BTreeMap<String, Option<f64>>,
    /// The highest `mask.min_confidence` that makes at most 3 % of rightly found ground unknown.
    pub confidence_losing_3_percent: Option<f64>,
}

impl Measures {
    /// Nothing counted yet.
    pub fn new(meanings: &[Option<LabelMeaning>], spec: &SegmentationSpec) -> Self {
        let class_of = |name: &str| {
            let found = spec.classes.iter().position(|class| class.name.eq_ignore_ascii_case(name));
            found.and_then(|index| u8::try_from(index).ok())
        };
        let mut named = BTreeMap::new();
        let labels = meanings.iter().map(|meaning| {
            let meaning = meaning.as_ref()?;
            let class = class_of(&meaning.name);
            if let Some(class) = class {
                named.insert(class, meaning.name.clone());
            }
            Some(Known {
                is_ground: Traversability::is_ground(meaning.traversability.id()),
                is_obstacle: meaning.traversability == Traversability::Obstacle,
                class,
            })
        });
        let labels = labels.collect();
        Self {
            labels,
            classes: named.keys().map(|&class| (class, [0; 3])).collect(),
            named,
            failed: 0,
            labelled: 0,
            ground: 0,
            called_ground: 0,
            both: 0,
            obstacles: 0,
            obstacles_called_ground: 0,
            unknown: 0,
            unknown_ground: 0,
            foot: vec![0; FOOT_STEPS + 1],
            about_ground: vec![[0; 2]; LEVELS],
            found_ground: vec![0; LEVELS],
        }
    }

    /// Pictures that could not be compared.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// A picture that could not be compared.
    pub fn add_failure(&mut self) {
        self.failed += 1;
    }

    /// A picture; label and mask have the same size.
    pub fn add(&mut self, truth: &Truth, maps: &Maps) {
        for (index, &id) in truth.ids.iter().enumerate() {
            let Some(known) = self.labels.get(usize::from(id)).copied().flatten() else { continue };
            self.add_pixel(
                known,
                maps.traversability[index],
                maps.semantic[index],
                maps.confidence[index],
            );
        }
        self.add_feet(truth, maps);
    }

    fn add_pixel(&mut self, known: Known, called: u8, class: u8, confidence: u8) {
        let calls_ground = Traversability::is_ground(called);
        let is_unknown = called == UNKNOWN;
        self.labelled += 1;
        self.ground += u64::from(known.is_ground);
        self.called_ground += u64::from(calls_ground);
        self.both += u64::from(known.is_ground && calls_ground);
        self.obstacles += u64::from(known.is_obstacle);
        self.obstacles_called_ground += u64::from(known.is_obstacle && calls_ground);
        self.unknown += u64::from(is_unknown);
        self.unknown_ground += u64::from(is_unknown && known.is_ground);
        let level = usize::from(confidence);
        if !is_unknown {
            self.about_ground[level][usize::from(known.is_ground != calls_ground)] += 1;
            self.found_ground[level] += u64::from(known.is_ground && calls_ground);
        }
        if let Some(labelled) = known.class
            && let Some(counts) = self.classes.get_mut(&labelled)
        {
            counts[0] += u64::from(labelled == class);
            counts[1] += 1;
        }
        if let Some(counts) = self.classes.get_mut(&class) {
            counts[2] += 1;
        }
    }

    /// The feet of all columns that have a label. Pixels without one are passed over in both.
    fn add_feet(&mut self, truth: &Truth, maps: &Maps) {
        let (width, height) = (truth.size.width as usize, truth.size.height as usize);
        for x in 0..width {
            let (mut labelled, mut called, mut any) = (None, None, false);
            for y in (0..height).rev() {
                let at = y * width + x;
                let id = usize::from(truth.ids[at]);
                let Some(known) = self.labels.get(id).copied().flatten() else { continue };
                any = true;
                if !known.is_ground {
                    labelled = labelled.or(Some(y + 1));
                }
                if !Traversability::is_ground(maps.traversability[at]) {
                    called = called.or(Some(y + 1));
                }
                if labelled.is_some() && called.is_some() {
                    break;
                }
            }
            if any {
                // Ground up to the top: the foot lies above the picture.
                let error = labelled.unwrap_or(0).abs_diff(called.unwrap_or(0));
                self.foot[error * FOOT_STEPS / height] += 1;
            }
        }
    }

    /// What the counts come to.
    pub fn figures(&self) -> Figures {
        let iou = |[hits, labelled, called]: [u64; 3]| ratio(hits, labelled + called - hits);
        let iou: BTreeMap<_, _> = self
            .named
            .iter()
            .map(|(class, name)| (name.clone(), self.classes.get(class).copied().and_then(iou)))
            .collect();
        let known: Vec<f64> = iou.values().filter_map(|value| *value).collect();
        let columns: u64 = self.foot.iter().sum();
        let step = 1.0 / FOOT_STEPS as f64;
        let coverages = ["1.00", "0.95", "0.90", "0.80", "0.50"];
        Figures {
            labelled_px: self.labelled,
            ground_iou: ratio(self.both, self.ground + self.called_ground - self.both),
            ground_precision: ratio(self.both, self.called_ground),
            ground_recall: ratio(self.both, self.ground),
            obstacles_called_ground: ratio(self.obstacles_called_ground, self.obstacles),
            foot_median_error: median(&self.foot).map(|index| index as f64 * step),
            foot_within_5_percent: ratio(self.foot[..=FOOT_STEPS / 20].iter().sum(), columns),
            unknown: ratio(self.unknown, self.labelled),
            unknown_ground: ratio(self.unknown_ground, self.ground),
            mean_iou: (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64),
            iou,
            calibration_error: calibration_error(&self.about_ground),
            error_auroc: auroc(&self.about_ground),
            risk_at_coverage: coverages
                .map(|name| {
                    (name.to_owned(), name.parse().ok().and_then(|c| risk(&self.about_ground, c)))
                })
                .into(),
            confidence_losing_3_percent: self.confidence_losing(0.03),
        }
    }

    /// The highest threshold below which at most that share of the rightly found ground lies: the least probability
    /// that is rounded to its level.
    fn confidence_losing(&self, most: f64) -> Option<f64> {
        let mut below = 0;
        let lost = self.found_ground.iter().position(|count| {
            below += count;
            below as f64 > most * self.both as f64
        });
        let level = lost.unwrap_or(LEVELS - 1) as f64;
        (self.both > 0).then(|| (level - 0.5).max(0.0) / (LEVELS - 1) as f64)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The step that half of the counts do not exceed.
fn median(counts: &[u64]) -> Option<usize> {
    let total: u64 = counts.iter().sum();
    let mut seen = 0;
    let found = counts.iter().position(|count| {
        seen += count;
        2 * seen >= total
    });
    found.filter(|_| total > 0)
}

/// Mean gap between confidence and share of right answers, over 15 bins of equal width.
fn calibration_error(levels: &[[u64; 2]]) -> Option<f64> {
    const BINS: usize = 15;
    let mut bins = [[0.0; 3]; BINS];
    for (level, [right, wrong]) in levels.iter().enumerate() {
        let confidence = level as f64 / (LEVELS - 1) as f64;
        let count = (right + wrong) as f64;
        let bin = &mut bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        bin[0] += count;
        bin[1] += confidence * count;
        bin[2] += *right as f64;
    }
    let total: f64 = bins.iter().map(|bin| bin[0]).sum();
    let gaps: f64 = bins.iter().map(|bin| (bin[1] - bin[2]).abs()).sum();
    (total > 0.0).then(|| gaps / total)
}

/// The chance that a right pixel has a higher confidence than a wrong one; a tie counts half.
fn auroc(levels: &[[u64; 2]]) -> Option<f64> {
    let (mut right_total, mut wrong_total, mut above) = (0.0, 0.0, 0.0);
    for [right, wrong] in levels.iter().map(|level| level.map(|count| count as f64)) {
        above += right * (wrong_total + 0.5 * wrong);
        right_total += right;
        wrong_total += wrong;
    }
    (right_total > 0.0 && wrong_total > 0.0).then(|| above / (right_total * wrong_total))
}

/// Share of wrong pixels among the most confident `coverage` of all; whole levels are taken.
fn risk(levels: &[[u64; 2]], coverage: f64) -> Option<f64> {
    let total: u64 = levels.iter().flatten().sum();
    let (mut taken, mut wrong) = (0, 0);
    for level in levels.iter().rev() {
        if taken as f64 >= coverage * total as f64 {
            break;
        }
        taken += level[0] + level[1];
        wrong += level[1];
    }
    ratio(wrong, taken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]

    use super::*;
    use crate::geometry::Size;
    use crate::manifest::SegmentationClass;

    /// Label and model: 0 road, 1 wall; the model's mask is given by class, of one confidence.
    fn measures(truth: &[u8], called: &[u8], width: u32, confidence: &[u8]) -> Figures {
        let meaning = |name: &str, traversability| {
            Some(LabelMeaning { name: name.to_owned(), traversability })
        };
        let mut meanings = vec![None; 256];
        meanings[0] = meaning("Road", Traversability::Traversable);
        meanings[1] = meaning("wall", Traversability::Obstacle);
        let class = |name: &str, traversability| SegmentationClass {
            name: name.to_owned(),
            color: [0; 3],
            traversability,
            cost: 0,
        };
        let spec = SegmentationSpec {
            output: "segmentation".to_owned(),
            temperature: 1.0,
            classes: vec![
                class("road", Traversability::Traversable),
                class("wall", Traversability::Obstacle),
            ],
        };
        let size = Size::new(width, truth.len() as u32 / width);
        let traversability = called.iter().map(|&id| match id {
            0 => 0,
            1 => 2,
            _ => UNKNOWN,
        });
        let maps = Maps {
            size,
            semantic: called.to_vec(),
            traversability: traversability.collect(),
            confidence: confidence.to_vec(),
            cost: Vec::new(),
        };
        let mut measures = Measures::new(&meanings, &spec);
        measures.add(&Truth { size, ids: truth.to_vec() }, &maps);
        measures.figures()
    }

    #[test]
    fn overlap_counts_labelled_pixels_alone() {
        // The last pixel has no label, so that what the mask says of it does not count.
        let figures = measures(&[0, 0, 1, 1, 255, 9], &[0, 1, 0, 1, 0, 255], 3, &[255; 6]);
        assert_eq!(figures.labelled_px, 4);
        assert_eq!(figures.ground_iou, Some(1.0 / 3.0));
        assert_eq!(figures.ground_precision, Some(0.5));
        assert_eq!(figures.obstacles_called_ground, Some(0.5));
        assert_eq!(figures.iou["Road"], Some(1.0 / 3.0));
        assert_eq!(figures.mean_iou, Some(1.0 / 3.0));
        assert_eq!(figures.unknown, Some(0.0));
    }

    #[test]
    fn unknown_ground_is_missed_and_unknown_obstacles_are_not_ground() {
        let figures = measures(&[0, 0, 1, 1], &[0, 255, 255, 1], 2, &[255, 0, 0, 255]);
        assert_eq!(figures.ground_recall, Some(0.5));
        assert_eq!(figures.obstacles_called_ground, Some(0.0));
        assert_eq!((figures.unknown, figures.unknown_ground), (Some(0.5), Some(0.5)));
    }

    #[test]
    fn the_foot_is_the_lowest_row_that_is_not_ground() {
        // A column of 20: wall above, road below. The mask puts the wall's foot 1 lower, then 3.
        let column = |rows_of_wall: usize| -> Vec<u8> {
            (0..20).map(|y| u8::from(y < rows_of_wall)).collect()
        };
        let near = measures(&column(10), &column(11), 1, &[255; 20]);
        assert_eq!(near.foot_median_error, Some(0.05));
        assert_eq!(near.foot_within_5_percent, Some(1.0));
        let far = measures(&column(10), &column(13), 1, &[255; 20]);
        assert_eq!(far.foot_within_5_percent, Some(0.0));
        // Ground all the way up, and a wall at the very top: one row off.
        let open = measures(&column(0), &column(1), 1, &[255; 20]);
        assert_eq!(open.foot_median_error, Some(0.05));
    }

    #[test]
    fn a_seam_without_label_does_not_move_the_foot() {
        let truth: Vec<u8> =
            (0..20).map(|y| [1, 255, 0][usize::from(y >= 8) + usize::from(y >= 12)]).collect();
        let called: Vec<u8> = (0..20).map(|y| u8::from(y < 11)).collect();
        let figures = measures(&truth, &called, 1, &[255; 20]);
        assert_eq!(figures.foot_median_error, Some(0.0));
    }

    #[test]
    fn confidence_is_judged_by_whether_it_tells_errors() {
        let told = measures(&[0, 0, 1, 1], &[0, 0, 1, 0], 2, &[200, 200, 200, 100]);
        assert_eq!(told.error_auroc, Some(1.0));
        assert_eq!(told.risk_at_coverage["1.00"], Some(0.25));
        assert_eq!(told.risk_at_coverage["0.50"], Some(0.0));
        assert_eq!(told.confidence_losing_3_percent, Some(199.5 / 255.0));
        let untold = measures(&[0, 0, 1, 1], &[0, 0, 1, 0], 2, &[100, 100, 100, 200]);
        assert_eq!(untold.error_auroc, Some(0.0));
    }

    #[test]
    fn certainty_that_is_wrong_half_of_the_time_is_half_off() {
        let figures = measures(&[0, 0, 1, 1], &[0, 1, 0, 1], 2, &[255; 4]);
        assert!((figures.calibration_error.unwrap() - 0.5).abs() < 1e-9);
    }
}
