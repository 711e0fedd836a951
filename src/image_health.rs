//! Whether a picture shows the scene at all: what a lens cap, mud, a stuck driver or a torn
//! transfer do to it, measured on some 29,000 samples, however large the picture is.
//!
//! [`measure`] looks at one picture and remembers nothing. [`Watch`] judges what it found against
//! the settings, and knows the frames before, for what only a sequence shows.

use std::time::Duration;

use crate::answer_state::AnswerState;
use crate::decode::Pixels;
use crate::ground::grid::Cell as GroundCell;
use crate::result::{FrameResult, ImageMeasures};
use crate::settings::{HealthAction, HealthSettings};

/// Columns and rows of cells; each is a strip of [`RUN`] samples in three rows, and one across its middle.
const COLUMNS: usize = 24;
const ROWS: usize = 18;
const RUN: usize = 17;

/// Grey levels that a strip has to span before the width of its edges says something of focus.
const EDGE_RANGE: u8 = 12;

/// Grey levels within which a cell has no texture.
const FLAT_RANGE: u8 = 8;

/// Frames further apart are no sequence: light may have changed between them.
const SEQUENCE: Duration = Duration::from_millis(500);

/// Rows of a JPEG's largest coding unit, by which what a decoder makes of missing bytes repeats.
const UNIT: usize = 16;

/// Repeats below which a slow camera before a still scene may just have sent the same picture.
const FEWEST_REPEATS: u32 = 3;

/// What is wrong with a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageFault {
    /// Hardly any light: night without lamps, a lens cap.
    Dark,
    /// Most of the picture is saturated.
    BlownOut,
    /// The lower part is no picture: one grey, or one row again and again.
    Torn,
    /// Nearly everything is without texture: a hand, mud, paper, fog.
    Covered,
    /// No edge is sharp: out of focus, wet or greasy lens.
    Blurred,
    /// Noise of the sensor or of the transfer covers the scene.
    Noise,
    /// The very same picture again for too long.
    Frozen,
    /// Brightness leapt from one frame to the next.
    ExposureJump,
}

impl ImageFault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Dark,
        Self::BlownOut,
        Self::Torn,
        Self::Covered,
        Self::Blurred,
        Self::Noise,
        Self::Frozen,
        Self::ExposureJump,
    ];

    /// Its name, as the value of the key `image fault`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::BlownOut => "blown_out",
            Self::Torn => "torn",
            Self::Covered => "covered",
            Self::Blurred => "blurred",
            Self::Noise => "noise",
            Self::Frozen => "frozen",
            Self::ExposureJump => "exposure_jump",
        }
    }

    /// What is wrong, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Dark => "the picture is dark",
            Self::BlownOut => "the picture is blown out",
            Self::Torn => "the lower part of the picture is missing",
            Self::Covered => "the lens is covered",
            Self::Blurred => "the picture is blurred",
            Self::Noise => "the picture is full of noise",
            Self::Frozen => "the picture is frozen",
            Self::ExposureJump => "the exposure jumped",
        }
    }

    /// How far an answer to such a picture can be trusted: none that withholds it is an answer.
    pub fn state(self, action: HealthAction) -> AnswerState {
        match (action, self) {
            (HealthAction::Report, Self::Blurred | Self::Noise | Self::ExposureJump) => {
                AnswerState::Degraded
            }
            _ => AnswerState::Blind,
        }
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Dark => "look for a lens cap, light the scene or let the camera expose longer",
            Self::BlownOut => "look at the camera's exposure and gain",
            Self::Torn => "look at the camera's cable, bandwidth and driver",
            Self::Covered => "look at what is in front of the lens",
            Self::Blurred => "clean and focus the lens",
            Self::Noise => "look at the camera's gain and cable",
            Self::Frozen => "look at the camera driver: it sends the same picture again",
            Self::ExposureJump => "look at the camera's automatic exposure",
        }
    }
}

/// ImageMeasures a picture. `None` for one of less than 32 columns or 8 rows, too small to be judged.
///
/// Samples lie as far apart as the pixels of the same picture at a width of 480, so that focus is
/// judged by what the network sees.
pub fn measure(pixels: &Pixels<'_>) -> Option<ImageMeasures> {
    let (width, height) = (pixels.size.width as usize, pixels.size.height as usize);
    if width < 32 || height < 8 {
        return None;
    }
    let step = ((width + 240) / 480).clamp(1, (height - 1) / 2);
    let bytes = pixels.layout.bytes_per_pixel();
    let [red, green, blue] = pixels.layout.rgb_offsets();
    let span = RUN * step;
    let grey = |pixel: &[u8]| {
        let sum = u16::from(pixel[red]) + u16::from(pixel[blue]);
        ((sum + 2 * u16::from(pixel[green])) / 4) as u8
    };
    let mut cells = Vec::with_capacity(COLUMNS * ROWS);
    let mut fingerprint: u64 = 0xcbf2_9ce4_8422_2325;
    for row in 0..ROWS {
        let y = step + (height - 1 - 2 * step) * row / (ROWS - 1);
        let lines = [y - step, y, y + step].map(|y| pixels.row(y as u32));
        let far = y.checked_sub(UNIT).map(|y| pixels.row(y as u32));
        for column in 0..COLUMNS {
            let x = (width - span) * column / (COLUMNS - 1);
            let sample = |line: &[u8]| {
                let mut strip = [0; RUN];
                let chosen = line[x * bytes..].chunks_exact(bytes).step_by(step);
                strip.iter_mut().zip(chosen).for_each(|(to, pixel)| *to = grey(pixel));
                strip
            };
            let strips = lines.map(sample);
            let far = far.map(sample);
            let (middle, reach) = (x + span / 2, step * (RUN / 2));
            let down = (y.saturating_sub(reach)..=(y + reach).min(height - 1)).step_by(step);
            let down = down.map(|y| grey(&pixels.row(y as u32)[middle * bytes..]));
            // FNV-1a over words instead of bytes.
            for word in strips.iter().flat_map(|strip| strip.as_chunks::<8>().0) {
                fingerprint ^= u64::from_le_bytes(*word);
                fingerprint = fingerprint.wrapping_mul(0x0100_0000_01b3);
            }
            cells.push(Cell::of(&strips, far.as_ref(), down));
        }
    }
    Some(summarise(&cells, fingerprint))
}

/// What a strip shows.
struct Cell {
    mean: f32,
    /// Of the middle row.
    low: u8,
    range: u8,
    /// Of the middle row, and of the samples above and below its middle.
    spread: u8,
    largest_step: u8,
    noise: f32,
    /// The three rows are the same, byte by byte.
    repeats: bool,
    /// The middle row is the one a unit above it, byte by byte.
    repeats_far: bool,
}

impl Cell {
    fn of(
        [above, middle, below]: &[[u8; RUN]; 3],
        far: Option<&[u8; RUN]>,
        down: impl Iterator<Item = u8>,
    ) -> Self {
        let low = middle.iter().copied().min().unwrap_or_default();
        let high = middle.iter().copied().max().unwrap_or_default();
        let (lowest, highest) =
            down.fold((low, high), |(low, high), grey| (low.min(grey), high.max(grey)));
        let spread = highest - lowest;
        let steps = middle.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
        let sum: u32 = middle.iter().map(|grey| u32::from(*grey)).sum();
        let second = |strip: &[u8; RUN], x: usize| {
            i32::from(strip[x - 1]) - 2 * i32::from(strip[x]) + i32::from(strip[x + 1])
        };
        let laplacians = (1..RUN - 1)
            .map(|x| (second(above, x) - 2 * second(middle, x) + second(below, x)).unsigned_abs());
        let laplacian = laplacians.sum::<u32>() as f32 / (RUN - 2) as f32;
        Self {
            mean: sum as f32 / RUN as f32,
            low,
            range: high - low,
            spread,
            largest_step: steps.max().unwrap_or_default(),
            noise: (std::f32::consts::PI / 2.0).sqrt() / 6.0 * laplacian,
            repeats: above == middle && middle == below,
            repeats_far: far == Some(middle),
        }
    }
}

fn summarise(cells: &[Cell], fingerprint: u64) -> ImageMeasures {
    let count = cells.len() as f32;
    let share =
        |is: &dyn Fn(&Cell) -> bool| cells.iter().filter(|cell| is(cell)).count() as f32 / count;
    let means = sorted(cells.iter().map(|cell| cell.mean).collect());
    let mut by_range: Vec<&Cell> = cells.iter().collect();
    by_range.sort_unstable_by_key(|cell| std::cmp::Reverse(cell.range));
    by_range.truncate(cells.len() / 5);
    let edges = by_range.iter().filter(|cell| cell.range >= EDGE_RANGE);
    let steps = edges.map(|cell| f32::from(cell.largest_step) / f32::from(cell.range));
    let steps = sorted(steps.collect());
    let exposed = cells.iter().filter(|cell| (20.0..=235.0).contains(&cell.mean));
    let noise = sorted(exposed.map(|cell| cell.noise).collect());
    ImageMeasures {
        mean: means.iter().sum::<f32>() / count,
        bright: quantile(&means, 0.9).unwrap_or_default(),
        saturated: share(&|cell| cell.mean >= 250.0),
        flat: share(&|cell| f32::from(cell.spread) <= f32::from(FLAT_RANGE) + 2.0 * cell.noise),
        sharpness: quantile(&steps, 0.5).unwrap_or(1.0),
        noise: quantile(&noise, 0.2).unwrap_or_default(),
        dead_rows: dead_rows(cells),
        fingerprint,
    }
}

/// Black and white are left out: bars, shadows and skies are.
fn dead_rows(cells: &[Cell]) -> f32 {
    let is_dead = |row: &[Cell]| {
        let low = row.iter().map(|cell| cell.low).min().unwrap_or_default();
        let high = row.iter().map(|cell| cell.low + cell.range).max().unwrap_or_default();
        let repeats =
            row.iter().all(|cell| cell.repeats) || row.iter().all(|cell| cell.repeats_far);
        repeats && (8..=247).contains(&low.midpoint(high))
    };
    let rows = cells.chunks_exact(COLUMNS).rev().take_while(|row| is_dead(row)).count();
    rows as f32 / ROWS as f32
}

fn sorted(mut values: Vec<f32>) -> Vec<f32> {
    values.sort_unstable_by(f32::total_cmp);
    values
}

fn quantile(sorted: &[f32], share: f32) -> Option<f32> {
    sorted.get((sorted.len() as f32 * share) as usize).copied()
}

/// Makes of an answer one that knows nothing: mask and cost are 255 all over, confidence is 0, there
/// are no obstacles, and of the ground nothing is known. Labels, places and descriptors stay.
pub fn withhold(result: &mut FrameResult) {
    if let Some(maps) = &mut result.maps {
        maps.semantic.fill(255);
        maps.traversability.fill(255);
        maps.confidence.fill(0);
        maps.cost.fill(255);
    }
    result.experience.clear();
    if let Some(obstacles) = &mut result.obstacles {
        obstacles.clear();
    }
    if let Some(ground) = &mut result.ground {
        ground.grid.cells.fill(GroundCell::default());
    }
}

/// A fault that lasts, as diagnostics say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong with the newest frame.
    pub fault: ImageFault,
    /// When the first frame came that had it, without one since that had not.
    pub since: Duration,
}

/// Judges one camera's frames in their order.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    last: Option<(ImageMeasures, Duration)>,
    /// When the first of the same pictures in a row came.
    same_since: Duration,
    /// How many have come since.
    repeats: u32,
    verdict: Option<Verdict>,
}

impl Watch {
    /// Judges a frame that came at `at` (since any fixed moment); `None` if it is well.
    ///
    /// A time that goes back begins a new sequence.
    pub fn judge(
        &mut self,
        measures: &ImageMeasures,
        at: Duration,
        settings: &HealthSettings,
    ) -> Option<Verdict> {
        let last = self.last.filter(|(_, before)| *before <= at);
        let is_same = last.is_some_and(|(last, _)| last.fingerprint == measures.fingerprint);
        if is_same {
            self.repeats = self.repeats.saturating_add(1);
        } else {
            (self.same_since, self.repeats) = (at, 0);
        }
        let same_s = at.saturating_sub(self.same_since).as_secs_f64();
        let jump = last.filter(|(_, before)| at - *before <= SEQUENCE);
        let jump = jump.map_or(0.0, |(last, _)| (last.mean - measures.mean).abs());
        let is_on = |threshold: f32| threshold > 0.0;
        let is_covered = is_on(settings.covered) && measures.flat > settings.covered;
        // One grey all over is a covered lens rather than the rest of a picture.
        let is_rest = measures.dead_rows < 1.0 || !is_covered;
        let fault = if measures.bright < settings.dark {
            Some(ImageFault::Dark)
        } else if is_on(settings.blown_out) && measures.saturated > settings.blown_out {
            Some(ImageFault::BlownOut)
        } else if is_on(settings.torn) && measures.dead_rows > settings.torn && is_rest {
            Some(ImageFault::Torn)
        } else if is_on(settings.noise) && measures.noise > settings.noise {
            Some(ImageFault::Noise)
        } else if is_covered {
            Some(ImageFault::Covered)
        } else if measures.sharpness < settings.blurred {
            Some(ImageFault::Blurred)
        } else if settings.frozen_s > 0.0
            && self.repeats >= FEWEST_REPEATS
            && same_s >= settings.frozen_s
        {
            Some(ImageFault::Frozen)
        } else if is_on(settings.exposure_jump) && jump > settings.exposure_jump {
            Some(ImageFault::ExposureJump)
        } else {
            None
        };
        self.last = Some((*measures, at));
        let before = self.verdict.filter(|verdict| last.is_some() && Some(verdict.fault) == fault);
        self.verdict = before.or_else(|| fault.map(|fault| Verdict { fault, since: at }));
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::PixelLayout;
    use crate::geometry::Size;

    fn measured(size: Size, grey: impl Fn(u32, u32) -> u8) -> ImageMeasures {
        let places = (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y)));
        let bytes: Vec<u8> = places.map(|(x, y)| grey(x, y)).collect();
        let stride_bytes = size.width as usize;
        measure(&Pixels { layout: PixelLayout::Gray, size, stride_bytes, bytes: &bytes }).unwrap()
    }

    /// Boards of 23 pixels with a slope over them.
    fn scene(x: u32, y: u32) -> u8 {
        (60 + x / 8 + y / 8 + 70 * ((x / 23 + y / 23) % 2)) as u8
    }

    const SIZE: Size = Size { width: 320, height: 240 };

    fn judged(measures: &ImageMeasures) -> Option<ImageFault> {
        let verdict = Watch::default().judge(measures, Duration::ZERO, &HealthSettings::default());
        verdict.map(|verdict| verdict.fault)
    }

    #[test]
    fn one_picture_shows_what_is_wrong_with_it() {
        let check = |expected, grey: &dyn Fn(u32, u32) -> u8| {
            assert_eq!(judged(&measured(SIZE, grey)), expected);
        };
        check(None, &scene);
        check(Some(ImageFault::Dark), &|x, y| scene(x, y) / 20);
        check(Some(ImageFault::BlownOut), &|x, y| scene(x, y).saturating_add(200));
        check(Some(ImageFault::Torn), &|x, y| if y > 150 { 128 } else { scene(x, y) });
        check(Some(ImageFault::Torn), &|x, y| scene(x, y.min(150)));
        check(Some(ImageFault::Covered), &|x, _| 60 + (x / 40) as u8);
        // Plain walls and floors have their edges where they meet, which strips along rows do not see.
        let board = |x: u32, y: u32| (60 + x / 40 + 50 * (y / 40 % 2) + (7 * x + 13 * y) % 3) as u8;
        check(None, &board);
        check(Some(ImageFault::Noise), &|x, y| {
            let hash = (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761) >> 24;
            (64 + hash / 2) as u8
        });
        check(Some(ImageFault::Blurred), &|x, y| {
            let wave = |at: u32| (at as f32 / 20.0).sin();
            (128.0 + 50.0 * wave(x) * wave(y)) as u8
        });
    }

    #[test]
    fn sizes_from_tiny_to_huge_are_measured_or_left_out() {
        for (width, height) in [(32, 8), (33, 9), (1920, 8), (32, 4000), (4000, 3000)] {
            let size = Size { width, height };
            assert_eq!(measured(size, |_, _| 7).mean, 7.0);
        }
        let bytes = [0; 31 * 8];
        let size = Size { width: 31, height: 8 };
        let pixels = Pixels { layout: PixelLayout::Gray, size, stride_bytes: 31, bytes: &bytes };
        assert_eq!(measure(&pixels), None);
    }

    #[test]
    fn a_sequence_shows_frozen_pictures_and_leaps_of_the_exposure() {
        let settings = HealthSettings::default();
        let at = |frame: u64| Duration::from_millis(100 * frame);
        let (one, two) = (measured(SIZE, scene), measured(SIZE, |x, y| scene(x + 1, y)));
        let mut watch = Watch::default();
        let verdicts: Vec<_> = (0..=40).map(|n| watch.judge(&one, at(n), &settings)).collect();
        let first = verdicts.iter().position(Option::is_some).unwrap() as u64;
        assert_eq!(at(first).as_secs_f64(), settings.frozen_s);
        let verdict = verdicts[40].unwrap();
        assert_eq!((verdict.fault, verdict.since), (ImageFault::Frozen, at(first)));
        assert_eq!(watch.judge(&two, at(41), &settings), None, "it moves again");
        let light = measured(SIZE, |x, y| scene(x, y) / 2);
        let verdict = watch.judge(&light, at(42), &settings).unwrap();
        assert_eq!(verdict.fault, ImageFault::ExposureJump);
        assert_eq!(watch.judge(&two, at(52), &settings), None, "a second later it may be lighter");
        assert_eq!(watch.judge(&light, at(3), &settings), None, "a new sequence");
    }

    #[test]
    fn thresholds_of_zero_switch_all_checks_off() {
        let off = HealthSettings::OFF;
        assert!(!off.is_on() && HealthSettings::default().is_on());
        let black = measured(SIZE, |_, _| 0);
        let mut watch = Watch::default();
        for frame in 0..60 {
            assert_eq!(watch.judge(&black, Duration::from_millis(100 * frame), &off), None);
        }
    }
}
