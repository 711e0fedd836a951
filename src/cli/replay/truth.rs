//! Ground truth in the same bag: labels as `vision_msgs/Classification` or `std_msgs/String`,
//! masks as `sensor_msgs/Image` mono8, of the model's class ids or of traversability (255 counts nowhere).

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::bag::{Bag, Message, Selection, seconds};
use crate::message::{Classification, Image, RosMessage, Text};
use crate::result::Label;

/// How well the answers fit, in sums that many replays can add up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Frames with a true label.
    pub labelled: u64,
    /// Of these, those whose best label is the true one.
    pub top1: u64,
    /// Of these, those with the true one among the best five.
    pub top5: u64,
    /// Frames with a true mask.
    pub masked: u64,
    /// Pixels of each class in both masks, and in either, by class name.
    pub overlap: BTreeMap<String, (u64, u64)>,
}

impl Score {
    /// Share of frames whose best label is true.
    pub fn top1_share(&self) -> Option<f64> {
        (self.labelled > 0).then(|| self.top1 as f64 / self.labelled as f64)
    }

    /// Share of frames with the true label among the best five.
    pub fn top5_share(&self) -> Option<f64> {
        (self.labelled > 0).then(|| self.top5 as f64 / self.labelled as f64)
    }

    /// Mean over the classes of intersection over union.
    pub fn mean_iou(&self) -> Option<f64> {
        let seen: Vec<_> = self.overlap.values().filter(|(_, either)| *either > 0).collect();
        let sum: f64 = seen.iter().map(|(both, either)| *both as f64 / *either as f64).sum();
        (!seen.is_empty()).then(|| sum / seen.len() as f64)
    }

    /// Adds another replay's.
    pub fn add(&mut self, other: &Self) {
        self.labelled += other.labelled;
        self.top1 += other.top1;
        self.top5 += other.top5;
        self.masked += other.masked;
        for (class, (both, either)) in &other.overlap {
            let sum = self.overlap.entry(class.clone()).or_default();
            *sum = (sum.0 + both, sum.1 + either);
        }
    }
}

/// The truth about a bag. Labels and masks belong to the frame of the same stamp, wherever in the
/// bag they stand.
#[derive(Default)]
pub struct Truth {
    /// By the stamp of the picture, in nanoseconds.
    labels_by_stamp: BTreeMap<i64, String>,
    /// Plain strings hold from their log time to the next.
    labels_by_time: BTreeMap<u64, String>,
    labels_topic: Option<String>,
    masks_topic: Option<String>,
    classes: Vec<String>,
    masks: BTreeMap<i64, VecDeque<TrueMask>>,
    /// Masks that have another size than the answer to their frame.
    of_other_size: usize,
    score: Score,
    problems: Vec<String>,
}

/// A mask that waits for its frame. Few classes in large regions: packed they take a few kilobytes,
/// so that those of a long bag can wait in memory.
struct TrueMask {
    frame_id: String,
    pixels: usize,
    packed: Vec<u8>,
}

impl TrueMask {
    fn read(message: &Message) -> anyhow::Result<(i64, Self)> {
        let image = Image::read(&message.payload)?;
        let picture = image.raw_image()?;
        anyhow::ensure!(
            picture.encoding() == crate::frame::Encoding::Mono8,
            "a true mask of encoding {} where mono8 is read",
            image.encoding
        );
        let rows: Vec<u8> = (0..picture.height()).flat_map(|y| picture.row(y)).copied().collect();
        let packed = zstd::bulk::compress(&rows, 1)?;
        let frame_id = image.header.frame_id.to_owned();
        Ok((image.header.stamp.nanoseconds(), Self { frame_id, pixels: rows.len(), packed }))
    }
}

impl Truth {
    /// Reads the true labels and masks of a bag.
    ///
    /// # Errors
    /// If a topic is not there or carries something else, or the bag cannot be read.
    pub fn open(
        bag: &Bag,
        labels_topic: Option<&str>,
        masks_topic: Option<&str>,
        classes: Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut truth = Self {
            labels_topic: labels_topic.map(str::to_owned),
            masks_topic: masks_topic.map(str::to_owned),
            classes,
            ..Self::default()
        };
        let type_of = |name: &str| {
            let topic = bag.topic(name).map(|topic| topic.ros_type.as_str());
            topic.ok_or_else(|| anyhow::anyhow!("no topic {name} in the bag"))
        };
        if let Some(topic) = masks_topic {
            let found = type_of(topic)?;
            anyhow::ensure!(found == Image::TYPE, "{topic} carries {found}, not {}", Image::TYPE);
            anyhow::ensure!(
                !truth.classes.is_empty(),
                "the model has no segmentation to hold against {topic}"
            );
            // Damage is told by the replay itself, which reads the same chunks.
            for message in bag.messages(&Selection::topics([topic]))?.flatten() {
                match TrueMask::read(&message) {
                    Ok((stamp, mask)) => truth.masks.entry(stamp).or_default().push_back(mask),
                    Err(error) => {
                        let time = seconds(message.log_time);
                        truth.problems.push(format!("{topic} at {time}: {error:#}"));
                    }
                }
            }
        }
        let Some(topic) = labels_topic else { return Ok(truth) };
        let found = type_of(topic)?;
        let is_text = found == Text::TYPE;
        anyhow::ensure!(
            is_text || found == Classification::TYPE,
            "{topic} carries {found}, neither {} nor {}",
            Classification::TYPE,
            Text::TYPE
        );
        for message in bag.messages(&Selection::topics([topic]))?.flatten() {
            if is_text {
                let text = Text::read(&message.payload)?.0.to_owned();
                truth.labels_by_time.insert(message.log_time, text);
            } else {
                let labels = Classification::read(&message.payload)?;
                let best = labels.results.iter().max_by(|a, b| a.score.total_cmp(&b.score));
                if let Some(best) = best {
                    let stamp = labels.header.stamp.nanoseconds();
                    truth.labels_by_stamp.insert(stamp, best.class_id.to_owned());
                }
            }
        }
        Ok(truth)
    }

    /// Holds the answer to the frame of a stamp and frame_id against the truth; gives its true mask, if it has one.
    pub fn answer(
        &mut self,
        (stamp, frame_id): (i64, &str),
        log_time: u64,
        labels: Option<&[Label]>,
        answer: Option<&[u8]>,
    ) -> Option<Vec<u8>> {
        let by_time = || self.labels_by_time.range(..=log_time).next_back().map(|(_, text)| text);
        if let Some(truth) = self.labels_by_stamp.get(&stamp).or_else(by_time)
            && let Some(labels) = labels
        {
            let is_true = |label: &Label| is_named(label, truth);
            self.score.labelled += 1;
            self.score.top1 += u64::from(labels.first().is_some_and(is_true));
            self.score.top5 += u64::from(labels.iter().take(5).any(is_true));
        }
        if let Some(answer) = answer
            && let Some(mask) = self.take_mask(stamp, frame_id)
        {
            match zstd::bulk::decompress(&mask.packed, mask.pixels) {
                Ok(truth) => {
                    if truth.len() == answer.len() {
                        self.count(&truth, answer);
                    } else {
                        let (pixels, answered) = (truth.len(), answer.len());
                        self.of_other_size += 1;
                        tracing::warn!(
                            "a true mask of {pixels} pixels is not of the answer's size, {answered}: mask.size source gives the picture's"
                        );
                    }
                    return Some(truth);
                }
                Err(error) => self.problems.push(format!("a true mask does not unpack: {error}")),
            }
        }
        None
    }

    /// The mask of a stamp. Cameras that are triggered together share stamps: then the frame_id
    /// tells, where both have one.
    fn take_mask(&mut self, stamp: i64, frame_id: &str) -> Option<TrueMask> {
        let masks = self.masks.get_mut(&stamp)?;
        let is_of = |mask: &TrueMask| {
            mask.frame_id == frame_id || mask.frame_id.is_empty() || frame_id.is_empty()
        };
        let index = masks.iter().position(is_of)?;
        let mask = masks.remove(index);
        if masks.is_empty() {
            self.masks.remove(&stamp);
        }
        mask
    }

    fn count(&mut self, truth: &[u8], answer: &[u8]) {
        self.score.masked += 1;
        let mut both = [0_u64; 256];
        let (mut true_pixels, mut answered) = ([0_u64; 256], [0_u64; 256]);
        for (truth, answer) in truth.iter().zip(answer).filter(|(truth, _)| **truth != 255) {
            true_pixels[*truth as usize] += 1;
            answered[*answer as usize] += 1;
            both[*truth as usize] += u64::from(truth == answer);
        }
        for (id, class) in self.classes.iter().enumerate().take(255) {
            let either = true_pixels[id] + answered[id] - both[id];
            let sum = self.score.overlap.entry(class.clone()).or_default();
            *sum = (sum.0 + both[id], sum.1 + either);
        }
    }

    /// The score, and what went wrong.
    pub fn finish(mut self) -> (Score, Vec<String>) {
        let left: usize = self.masks.values().map(VecDeque::len).sum();
        match &self.masks_topic {
            Some(topic) if self.score.masked == 0 => {
                let (of_other_size, all) = (self.of_other_size, left + self.of_other_size);
                let mut reason = format!(
                    "{topic}: of {all} true masks none has stamp, frame_id and size of a replayed frame"
                );
                if of_other_size > 0 {
                    reason += &format!("; {of_other_size} have another size than the answer");
                }
                self.problems.push(reason);
            }
            Some(topic) if left > 0 => {
                tracing::warn!("{topic}: {left} true masks have the stamp of no replayed frame");
            }
            _ => {}
        }
        if let Some(topic) = &self.labels_topic
            && self.score.labelled == 0
        {
            self.problems.push(format!("{topic}: no replayed frame has a true label"));
        }
        (self.score, self.problems)
    }
}

/// Whether a label is the one meant: by name, whatever the case, or by index.
fn is_named(label: &Label, truth: &str) -> bool {
    let truth = truth.trim();
    label.name.eq_ignore_ascii_case(truth) || truth.parse() == Ok(label.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_known_masks() {
        let mut truth = Truth {
            labels_by_stamp: [(5, "Cat".to_owned())].into(),
            labels_by_time: [(10, "7".to_owned())].into(),
            classes: vec!["road".to_owned(), "wall".to_owned()],
            ..Truth::default()
        };
        truth.count(&[0, 0, 1, 255], &[0, 1, 1, 1]);
        let label = |name: &str, index| Label { name: name.to_owned(), index, score: 0.5 };
        truth.answer((5, ""), 5, Some(&[label("cat", 3)]), None);
        truth.answer((6, ""), 12, Some(&[label("cat", 3), label("dog", 7)]), None);
        truth.answer((7, ""), 9, Some(&[label("cat", 3)]), None);
        let (mut score, problems) = truth.finish();
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(score.overlap["road"], (1, 2));
        assert_eq!(score.overlap["wall"], (1, 2), "255 counts nowhere");
        assert_eq!(score.mean_iou(), Some(0.5));
        assert_eq!((score.labelled, score.top1, score.top5), (2, 1, 2));
        score.add(&score.clone());
        assert_eq!((score.top1_share(), score.overlap["road"]), (Some(0.5), (2, 4)));
    }

    #[test]
    fn masks_belong_to_the_frame_of_their_stamp_in_any_order() {
        let mask = |id: u8, frame_id: &str| TrueMask {
            frame_id: frame_id.to_owned(),
            pixels: 2,
            packed: zstd::bulk::compress(&[id, id], 1).unwrap(),
        };
        let mut truth = Truth {
            masks_topic: Some("/masks".to_owned()),
            classes: vec!["road".to_owned(), "wall".to_owned()],
            ..Truth::default()
        };
        for stamp in 0..100 {
            truth.masks.entry(stamp).or_default().push_back(mask((stamp % 2) as u8, "left"));
        }
        truth.masks.entry(7).or_default().push_front(mask(0, "right"));
        truth.masks.entry(200).or_default().push_back(mask(0, "left"));
        let of_another_size = truth.answer((200, "left"), 0, None, Some(&[0; 3]));
        assert_eq!(of_another_size, Some(vec![0; 2]), "given, not counted");
        // The last first, a stamp twice and one that no mask has.
        for stamp in (0..100).rev().chain([50, 1000]) {
            truth.answer((stamp, "left"), 0, None, Some(&[(stamp % 2) as u8; 2]));
        }
        let (score, problems) = truth.finish();
        assert_eq!((score.masked, score.mean_iou()), (100, Some(1.0)));
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn masks_of_which_none_fits_are_a_failure() {
        let masks_topic = Some("/masks".to_owned());
        let (_, problems) = Truth { masks_topic, ..Truth::default() }.finish();
        assert!(problems[0].contains("/masks: of 0 true masks none"), "{problems:?}");
    }
}
