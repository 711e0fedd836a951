//! The most and the least certain frames, as small pictures for the page.

use super::page::SampleFrame;
use super::source::QueuedFrame;
use crate::bag::seconds;
use crate::decode::Decoder;
use crate::geometry::Size;
use crate::overlay;
use crate::result::FrameResult;

/// Pictures of each kind.
const COUNT: usize = 6;

/// Width of a picture on the page, in pixels.
const WIDTH: u32 = 260;

/// Quality of the JPEG files.
const QUALITY: u8 = 75;

/// The frames at both ends, found as the replay goes.
#[derive(Default)]
pub struct SampleFrames {
    least: Vec<(f32, SampleFrame)>,
    most: Vec<(f32, SampleFrame)>,
    decoder: Decoder,
}

impl SampleFrames {
    /// Keeps a frame if it is among the most or least certain ones so far.
    pub fn offer(
        &mut self,
        queued: &QueuedFrame,
        is_compressed: bool,
        certainty: f32,
        result: &FrameResult,
    ) {
        let belongs = |kept: &[(f32, SampleFrame)], is_before: &dyn Fn(f32) -> bool| {
            kept.len() < COUNT || kept.last().is_some_and(|(last, _)| is_before(*last))
        };
        let is_least = belongs(&self.least, &|last| certainty < last);
        let is_most = belongs(&self.most, &|last| certainty > last);
        if !is_least && !is_most {
            return;
        }
        // Few frames come here, so the picture is unpacked anew instead of being kept of each.
        let Ok(frame) = queued.frame(is_compressed) else { return };
        let Ok(pixels) = self.decoder.decode(frame) else { return };
        let picture = pixels.to_picture();
        let small = overlay::shrink(&picture, Size::new(WIDTH, u32::MAX));
        let Ok(jpeg) = overlay::to_jpeg(&small, QUALITY) else { return };
        let label = result.labels.as_ref().and_then(|labels| labels.first());
        let name = label.map(|label| format!(" {}", label.name)).unwrap_or_default();
        let message = &queued.message;
        let time = seconds(message.log_time);
        let caption = format!("{:.1} %{name}, {} at {time}", 100.0 * certainty, message.topic);
        if is_least {
            let sample = SampleFrame { caption: caption.clone(), jpeg: jpeg.clone() };
            insert(&mut self.least, certainty, sample, |a, b| a.total_cmp(&b));
        }
        if is_most {
            insert(&mut self.most, certainty, SampleFrame { caption, jpeg }, |a, b| {
                b.total_cmp(&a)
            });
        }
    }

    /// Titles and pictures.
    pub fn groups(&self) -> Vec<(&'static str, Vec<&SampleFrame>)> {
        vec![
            ("Least certain frames", self.least.iter().map(|(_, sample)| sample).collect()),
            ("Most certain frames", self.most.iter().map(|(_, sample)| sample).collect()),
        ]
    }
}

fn insert(
    kept: &mut Vec<(f32, SampleFrame)>,
    certainty: f32,
    sample: SampleFrame,
    order: impl Fn(f32, f32) -> std::cmp::Ordering,
) {
    let at = kept.partition_point(|(other, _)| order(*other, certainty).is_le());
    kept.insert(at, (certainty, sample));
    kept.truncate(COUNT);
}
