//! The picture with mask, boxes, labels and legend drawn in, for people.
//!
//! What is drawn are layers, one over the other: the mask, the boxes, whatever else the caller
//! brings ([`Overlay::layers`]), and on top the text. A layer draws into a [`Canvas`] in source
//! pixels; line widths and letters grow with the picture.

mod canvas;
mod ground;
mod mask;
mod picture;
mod text;

pub use canvas::{Canvas, Color, Point};
pub use ground::GroundLayer;
pub use picture::{shrink, thumbnail, to_jpeg};

use crate::geometry::Rect;
use crate::manifest::{Manifest, SegmentationSpec};
use crate::result::{Experience, FrameResult, Label, Maps, Obstacle, Picture};
use crate::settings::MaskKind;

const WHITE: Color = [255, 255, 255];

/// Labels written, at most.
const LABELS: usize = 3;

/// Something that is drawn over the mask and the boxes, and under the text.
pub trait Layer: std::fmt::Debug {
    /// Draws itself; what lies beyond the picture is cut off by the canvas.
    fn draw(&self, canvas: &mut Canvas<'_>);
}

/// What is drawn. Every part may be absent.
#[derive(Debug, Clone, Default)]
pub struct Overlay<'a> {
    /// The mask, with the classes' names and colours, and what its ids mean.
    pub mask: Option<(&'a Maps, &'a SegmentationSpec, MaskKind)>,
    /// Where it lies in the picture, see [`crate::geometry::InputTransform::image_from_mask`]; without, it covers the
    /// picture.
    pub image_from_mask: Option<[(f64, f64); 2]>,
    /// Weight of the mask's colours, 0 to 1.
    pub alpha: f32,
    /// Boxes, the one whose name matters most first.
    pub obstacles: &'a [Obstacle],
    /// Where what was learnt changes the answer.
    pub experience: &'a [Experience],
    /// What else is drawn, in this order.
    pub layers: Vec<&'a dyn Layer>,
    /// Best first; three are written.
    pub labels: &'a [Label],
    /// The place, if one is recognised.
    pub place: Option<&'a str>,
    /// Frames a second, if known.
    pub frames_per_s: Option<f64>,
}

impl<'a> Overlay<'a> {
    /// What a frame gave, for a model of `manifest`; the rate and further layers are the caller's
    /// to add.
    pub fn of(result: &'a FrameResult, manifest: &'a Manifest, kind: MaskKind, alpha: f32) -> Self {
        let mask = result.maps.as_ref().zip(manifest.segmentation.as_ref());
        Self {
            mask: mask.map(|(maps, spec)| (maps, spec, kind)),
            image_from_mask: Some(result.image_from_mask),
            alpha,
            obstacles: result.obstacles.as_deref().unwrap_or_default(),
            experience: &result.experience,
            labels: result.labels.as_deref().unwrap_or_default(),
            place: result.places.as_deref().and_then(<[_]>::first).map(|place| place.name.as_str()),
            ..Self::default()
        }
    }
}

/// Draws into the picture.
pub fn draw(picture: &mut Picture, overlay: &Overlay<'_>) {
    if let Some((maps, spec, kind)) = overlay.mask {
        let place = overlay.image_from_mask;
        mask::blend(picture, (maps, place), spec, kind, overlay.alpha);
    }
    let mut canvas = Canvas::new(picture);
    draw_experience(&mut canvas, overlay.experience);
    draw_obstacles(&mut canvas, overlay);
    for layer in &overlay.layers {
        layer.draw(&mut canvas);
    }
    draw_lines(&mut canvas, overlay);
    if let Some((maps, spec, kind)) = overlay.mask {
        draw_legend(&mut canvas, &mask::legend(maps, spec, kind));
    }
}

/// Writes a line of text into the picture, its upper left corner at `at`.
pub fn write_line(picture: &mut Picture, text: &str, at: (u32, u32)) {
    let at = [at.0 as f32 + 2.0, at.1 as f32 + 2.0];
    Canvas::new(picture).write(text, at, 14, WHITE);
}

/// A plus where what was learnt makes ground of something, a minus where it makes something of ground.
fn draw_experience(canvas: &mut Canvas<'_>, experience: &[Experience]) {
    let width = canvas.line_width() as f32;
    let arm = 2.0 * width + 1.0;
    for Experience { pixel, is_ground } in experience {
        let [x, y] = pixel.map(|at| at as f32 + 0.5);
        canvas.line([x - arm, y], [x + arm, y], width, WHITE);
        if *is_ground {
            canvas.line([x, y - arm], [x, y + arm], width, WHITE);
        }
    }
}

/// The frames of all that is no part of another, then the names that find room: the first ones
/// first, none over another, and none that would hide more than it tells.
fn draw_obstacles(canvas: &mut Canvas<'_>, overlay: &Overlay<'_>) {
    let color = |obstacle: &Obstacle| match overlay.mask {
        Some((_, spec, kind)) => mask::obstacle_color(spec, kind, obstacle.class_id),
        None => WHITE,
    };
    let shown: Vec<&Obstacle> = {
        let all = overlay.obstacles;
        let is_inner = |inner: &Obstacle| all.iter().any(|outer| is_part(inner, outer));
        all.iter().filter(|obstacle| !is_inner(obstacle)).collect()
    };
    // The first one lies on top.
    for obstacle in shown.iter().rev() {
        canvas.frame(obstacle.bounding_box, color(obstacle));
    }
    let px = canvas.name_px();
    let mut taken: Vec<Rect> = Vec::new();
    for obstacle in shown {
        let name = format!("{} {:.0}%", obstacle.class, 100.0 * obstacle.score);
        let (width, height) = canvas.strip_size(&name, px);
        let (width, height) = (f64::from(width), f64::from(height));
        let Rect { left, top, width: box_width, .. } = obstacle.bounding_box;
        // Above the box, or within where there is no room above it.
        let strip = Rect { left, top: (top - height).max(0.0), width, height };
        if 1.5 * box_width < width || taken.iter().any(|other| overlap(other, &strip)) {
            continue;
        }
        canvas.write(&name, [strip.left as f32, strip.top as f32], px, WHITE);
        taken.push(strip);
    }
}

/// Whether a box lies within another one four times its size, and would only clutter that.
fn is_part(inner: &Obstacle, outer: &Obstacle) -> bool {
    let (a, b) = (&inner.bounding_box, &outer.bounding_box);
    // What sticks out by a few pixels is within for the eye.
    let slack = 0.1 * a.width.max(a.height);
    a.left >= b.left - slack
        && a.top >= b.top - slack
        && a.left + a.width <= b.left + b.width + slack
        && a.top + a.height <= b.top + b.height + slack
        && 4.0 * a.width * a.height <= b.width * b.height
}

fn overlap(a: &Rect, b: &Rect) -> bool {
    a.left < b.left + b.width
        && b.left < a.left + a.width
        && a.top < b.top + b.height
        && b.top < a.top + a.height
}

/// Labels, place and rate, in the upper left corner.
fn draw_lines(canvas: &mut Canvas<'_>, overlay: &Overlay<'_>) {
    let labels = overlay.labels.iter().take(LABELS);
    let mut lines: Vec<String> =
        labels.map(|label| format!("{:.0}% {}", 100.0 * label.score, label.name)).collect();
    lines.extend(overlay.place.map(|place| format!("at {place}")));
    lines.extend(overlay.frames_per_s.map(|rate| format!("{rate:.1} frames/s")));
    let px = canvas.line_px();
    let mut y = 0.0;
    for line in &lines {
        canvas.write(line, [0.0, y], px, WHITE);
        y += canvas.strip_size(line, px).1 as f32;
    }
}

/// Names and colours of what is in the mask, on a band along the lower edge; what does not fit into
/// the lower third is left out.
fn draw_legend(canvas: &mut Canvas<'_>, entries: &[mask::Entry<'_>]) {
    if entries.is_empty() {
        return;
    }
    let px = canvas.name_px();
    let (size, em) = (canvas.size(), px as f32);
    let (swatch, gap, line_height) = (0.8 * em, 0.4 * em, (1.45 * em).round());
    // Where each entry stands, in lines from the first one down.
    let (mut x, mut line) = (gap, 0_u32);
    let mut placed = Vec::new();
    for entry in entries {
        let width = swatch + gap + canvas.text_width(entry.name, px);
        if x + width > size.width as f32 && x > gap {
            (x, line) = (gap, line + 1);
        }
        if (line + 1) as f32 * line_height > (size.height as f32 / 3.0).max(line_height) {
            line -= 1;
            break;
        }
        placed.push((x, line, entry));
        x += width + 2.0 * gap;
    }
    let height = line_height * (line + 1) as f32;
    let top = size.height as f32 - height;
    canvas.darken(Rect {
        left: 0.0,
        top: top.into(),
        width: size.width.into(),
        height: height.into(),
    });
    for (x, line, entry) in placed {
        let y = top + line as f32 * line_height;
        let square = Rect {
            left: f64::from(x.round()),
            top: f64::from((y + (line_height - swatch) / 2.0).round()),
            width: f64::from(swatch.round()),
            height: f64::from(swatch.round()),
        };
        match entry.color {
            Some(color) => canvas.fill(square, color),
            // What is not coloured in the picture is not coloured here.
            None => canvas.frame(square, [150, 150, 150]),
        }
        canvas.text(entry.name, [x + swatch + gap, y + (line_height - 1.2 * em) / 2.0], px, WHITE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use crate::manifest::{SegmentationClass, Traversability};

    pub(super) fn gray(size: Size) -> Picture {
        Picture { size, rgb: vec![100; 3 * size.area()] }
    }

    #[test]
    fn drawing_beyond_the_picture_is_harmless_at_any_size() {
        for size in [Size::new(1, 1), Size::new(20, 10), Size::new(1000, 30)] {
            for at in [-5.0, 1e12, f64::NAN] {
                let mut picture = gray(size);
                let bounding_box = Rect { left: at, top: at, width: 900.0, height: 900.0 };
                let obstacle = Obstacle {
                    class: "car".into(),
                    class_id: 200,
                    score: 0.5,
                    bounding_box,
                    area_px: 1.0,
                };
                let label =
                    Label { name: "Ägyptische Katze \u{1f408}".into(), index: 285, score: 0.9 };
                let overlay = Overlay {
                    obstacles: &[obstacle],
                    labels: &[label],
                    place: Some("kitchen"),
                    frames_per_s: Some(29.97),
                    ..Overlay::default()
                };
                draw(&mut picture, &overlay);
                assert_eq!(picture.rgb.len(), 3 * size.area());
                assert!(to_jpeg(&picture, 80).unwrap().starts_with(&[0xff, 0xd8]));
            }
        }
    }

    #[test]
    fn layers_are_drawn_in_order_over_the_mask() {
        #[derive(Debug)]
        struct Fill(Color);
        impl Layer for Fill {
            fn draw(&self, canvas: &mut Canvas<'_>) {
                canvas.fill(Rect { left: 1.0, top: 1.0, width: 1.0, height: 1.0 }, self.0);
            }
        }
        let mut picture = gray(Size::new(4, 4));
        let (first, second) = (Fill([1, 2, 3]), Fill([4, 5, 6]));
        draw(&mut picture, &Overlay { layers: vec![&first, &second], ..Overlay::default() });
        assert_eq!(picture.rgb[3 * 5..3 * 6], [4, 5, 6]);
        assert_eq!(picture.rgb[..3 * 5], [100; 15]);
    }

    #[test]
    fn a_box_within_a_much_larger_one_is_not_drawn() {
        let obstacle = |left: f64, side: f64| Obstacle {
            class: "car".into(),
            class_id: 0,
            score: 0.9,
            bounding_box: Rect { left, top: left, width: side, height: side },
            area_px: side * side,
        };
        let drawn = |obstacles: &[Obstacle]| {
            let mut picture = gray(Size::new(640, 480));
            draw(&mut picture, &Overlay { obstacles, ..Overlay::default() });
            picture
        };
        let alone = drawn(&[obstacle(100.0, 300.0)]);
        assert_eq!(drawn(&[obstacle(150.0, 40.0), obstacle(100.0, 300.0)]), alone);
        assert_ne!(drawn(&[obstacle(150.0, 200.0), obstacle(100.0, 300.0)]), alone);
        assert_ne!(drawn(&[obstacle(420.0, 40.0), obstacle(100.0, 300.0)]), alone);
    }

    #[test]
    fn a_name_does_not_lie_over_another() {
        let obstacle = |left: f64| Obstacle {
            class: "pedestrian".into(),
            class_id: 0,
            score: 0.9,
            bounding_box: Rect { left, top: 200.0, width: 100.0, height: 100.0 },
            area_px: 1e4,
        };
        let drawn = |obstacles: &[Obstacle]| {
            let mut picture = gray(Size::new(640, 480));
            draw(&mut picture, &Overlay { obstacles, ..Overlay::default() });
            // The strip above the boxes.
            picture.rgb[3 * 640 * 180..3 * 640 * 198].iter().filter(|value| **value != 100).count()
        };
        let alone = drawn(&[obstacle(100.0)]);
        assert!(alone > 0);
        assert_eq!(drawn(&[obstacle(100.0), obstacle(110.0)]), alone);
        assert!(drawn(&[obstacle(100.0), obstacle(300.0)]) > alone);
    }

    #[test]
    fn a_long_legend_is_wrapped_and_text_grows_with_the_picture() {
        let class = |index: usize| SegmentationClass {
            name: format!("a long name {index}"),
            color: [10 + index as u8, 200, 30],
            traversability: Traversability::Obstacle,
            cost: 254,
        };
        let spec = SegmentationSpec {
            output: String::new(),
            temperature: 1.0,
            classes: (0..11).map(class).collect(),
        };
        for size in [Size::new(160, 120), Size::new(640, 480), Size::new(3840, 2160)] {
            let semantic = (0..size.area()).map(|index| (index % 11) as u8).collect();
            let map = vec![0; size.area()];
            let maps = Maps {
                size,
                semantic,
                traversability: map.clone(),
                confidence: map,
                cost: Vec::new(),
            };
            let mut picture = gray(size);
            let overlay =
                Overlay { mask: Some((&maps, &spec, MaskKind::Semantic)), ..Overlay::default() };
            draw(&mut picture, &overlay);
            // In the lower half alone: with alpha 0 the mask itself is not seen.
            let half = 3 * size.width as usize * (size.height as usize / 2);
            let upper = &picture.rgb[..half];
            assert!(upper.iter().all(|value| *value == 100), "the legend is too high at {size}");
            let has_swatch = |class: &&SegmentationClass| {
                let pixels = picture.rgb[half..].chunks_exact(3);
                pixels.filter(|pixel| **pixel == class.color).count() >= 16
            };
            let shown = spec.classes.iter().filter(has_swatch).count();
            assert!(shown == 11 || size.width == 160 && shown > 1, "{shown} at {size}");
        }
    }
}
