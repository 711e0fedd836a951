//! The picture with mask, boxes, labels and legend drawn in, for people.

use embedded_graphics::Drawable;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size as GraphicsSize};
use embedded_graphics::mono_font::ascii::{FONT_6X13, FONT_7X14_BOLD, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::primitives::{Primitive, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};

use crate::geometry::{Rect, Size};
use crate::manifest::{SegmentationSpec, Traversability};
use crate::result::{Label, Maps, Obstacle, Picture};
use crate::settings::MaskKind;

/// Colour of each traversability id: green, amber, red, grey-blue.
const MEANING_COLORS: [[u8; 3]; 4] =
    [[40, 190, 90], [250, 180, 40], [225, 55, 50], [110, 130, 160]];

/// What is drawn. Every part may be absent.
#[derive(Debug, Clone, Default)]
pub struct Overlay<'a> {
    /// The mask, with the classes' names and colours, and what its ids mean.
    pub mask: Option<(&'a Maps, &'a SegmentationSpec, MaskKind)>,
    /// Weight of the mask's colours, 0 to 1.
    pub alpha: f32,
    /// Boxes.
    pub obstacles: &'a [Obstacle],
    /// Best first; three are written.
    pub labels: &'a [Label],
    /// The place, if one is recognised.
    pub place: Option<&'a str>,
    /// Frames a second, if known.
    pub frames_per_s: Option<f64>,
}

/// Draws into the picture.
pub fn draw(picture: &mut Picture, overlay: &Overlay<'_>) {
    if let Some((maps, spec, kind)) = overlay.mask {
        blend(picture, maps, spec, kind, overlay.alpha);
    }
    let font = font_for(picture.size);
    let mut canvas = Canvas { picture };
    for obstacle in overlay.obstacles {
        let color = overlay
            .mask
            .map_or([255, 255, 255], |(_, spec, _)| class_color(spec, obstacle.class_id));
        canvas.frame(obstacle.bounding_box, color);
        let name = format!("{} {:.0}", obstacle.class, 100.0 * obstacle.score);
        let at = Point::new(
            obstacle.bounding_box.left as i32,
            obstacle.bounding_box.top as i32 - FONT_6X13.character_size.height as i32,
        );
        // Names of small boxes would hide more than they tell.
        if obstacle.bounding_box.width * 2.0 > name.len() as f64 * 6.0 {
            canvas.write(&name, at, &FONT_6X13, color);
        }
    }
    let mut lines: Vec<String> = overlay
        .labels
        .iter()
        .take(3)
        .map(|label| format!("{:3.0}% {}", 100.0 * label.score, label.name))
        .collect();
    if let Some(place) = overlay.place {
        lines.push(format!("at {place}"));
    }
    if let Some(rate) = overlay.frames_per_s {
        lines.push(format!("{rate:.1} frames/s"));
    }
    let line_height = font.character_size.height as i32 + 1;
    for (index, line) in lines.iter().enumerate() {
        canvas.write(line, Point::new(2, 2 + index as i32 * line_height), font, [255, 255, 255]);
    }
    if let Some((maps, spec, kind)) = overlay.mask {
        canvas.legend(maps, spec, kind);
    }
}

fn font_for(size: Size) -> &'static MonoFont<'static> {
    match size.width {
        0..400 => &FONT_6X13,
        400..900 => &FONT_7X14_BOLD,
        _ => &FONT_10X20,
    }
}

fn class_color(spec: &SegmentationSpec, class: u8) -> [u8; 3] {
    spec.classes.get(class as usize).map_or([0, 0, 0], |class| class.color)
}

fn blend(picture: &mut Picture, maps: &Maps, spec: &SegmentationSpec, kind: MaskKind, alpha: f32) {
    let ids = match kind {
        MaskKind::Semantic => &maps.semantic,
        MaskKind::Traversability => &maps.traversability,
    };
    let mut colors = [[0_u8; 3]; 256];
    match kind {
        MaskKind::Semantic => {
            for (color, class) in colors.iter_mut().zip(&spec.classes) {
                *color = class.color;
            }
        }
        MaskKind::Traversability => colors[..4].copy_from_slice(&MEANING_COLORS),
    }
    let weight = (alpha.clamp(0.0, 1.0) * 256.0) as u32;
    let (size, mask) = (picture.size, maps.size);
    for y in 0..size.height {
        // A mask of the network's size is enlarged to its nearest pixels.
        let mask_row = (u64::from(y) * u64::from(mask.height) / u64::from(size.height)) as usize;
        let ids = &ids[mask_row * mask.width as usize..][..mask.width as usize];
        let start = 3 * y as usize * size.width as usize;
        let row = &mut picture.rgb[start..start + 3 * size.width as usize];
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let id = ids[x * ids.len() / size.width as usize];
            if id == 255 {
                continue;
            }
            for (value, color) in pixel.iter_mut().zip(colors[id as usize]) {
                *value =
                    ((u32::from(*value) * (256 - weight) + u32::from(color) * weight) >> 8) as u8;
            }
        }
    }
}

struct Canvas<'a> {
    picture: &'a mut Picture,
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> GraphicsSize {
        GraphicsSize::new(self.picture.size.width, self.picture.size.height)
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = embedded_graphics::Pixel<Rgb888>>,
    {
        let size = self.picture.size;
        for embedded_graphics::Pixel(point, color) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y)) else { continue };
            if x < size.width && y < size.height {
                let start = 3 * (y as usize * size.width as usize + x as usize);
                self.picture.rgb[start..start + 3].copy_from_slice(&[
                    color.r(),
                    color.g(),
                    color.b(),
                ]);
            }
        }
        Ok(())
    }
}

impl Canvas<'_> {
    /// Text on a dark strip.
    fn write(&mut self, text: &str, at: Point, font: &MonoFont<'_>, color: [u8; 3]) {
        let width = text.chars().count() as u32 * font.character_size.width;
        let strip = GraphicsSize::new(width + 2, font.character_size.height);
        self.darken(Rectangle::new(at - Point::new(1, 0), strip));
        let light = color.map(|value| value.max(110));
        let style = MonoTextStyle::new(font, rgb888(light));
        let Ok(_) = Text::with_baseline(text, at, style, Baseline::Top).draw(self);
    }

    fn darken(&mut self, area: Rectangle) {
        let size = self.picture.size;
        let area = area.intersection(&Rectangle::new(
            Point::zero(),
            GraphicsSize::new(size.width, size.height),
        ));
        for y in area.rows() {
            for x in area.columns() {
                let start = 3 * (y as usize * size.width as usize + x as usize);
                for value in &mut self.picture.rgb[start..start + 3] {
                    *value /= 4;
                }
            }
        }
    }

    fn frame(&mut self, area: Rect, color: [u8; 3]) {
        let corner = Point::new(area.left as i32, area.top as i32);
        let size = GraphicsSize::new(area.width as u32, area.height as u32);
        let bright = color.map(|value| value.saturating_add(60));
        let style = PrimitiveStyle::with_stroke(rgb888(bright), 1 + self.picture.size.width / 640);
        let Ok(()) = Rectangle::new(corner, size).into_styled(style).draw(self);
    }

    /// Names and colours of what is in the mask, at the lower edge.
    fn legend(&mut self, maps: &Maps, spec: &SegmentationSpec, kind: MaskKind) {
        let ids = match kind {
            MaskKind::Semantic => &maps.semantic,
            MaskKind::Traversability => &maps.traversability,
        };
        let mut present = [false; 256];
        ids.iter().for_each(|&id| present[id as usize] = true);
        let entries: Vec<(&str, [u8; 3])> = match kind {
            MaskKind::Semantic => {
                spec.classes.iter().map(|class| (class.name.as_str(), class.color)).collect()
            }
            MaskKind::Traversability => Traversability::ALL
                .iter()
                .map(|t| (t.name(), MEANING_COLORS[t.id() as usize]))
                .collect(),
        };
        let font = &FONT_6X13;
        let mut x = 4;
        let y = self.picture.size.height as i32 - font.character_size.height as i32 - 2;
        for (id, (name, color)) in entries.into_iter().enumerate() {
            if !present[id] {
                continue;
            }
            let swatch = Rectangle::new(Point::new(x, y + 2), GraphicsSize::new(9, 9));
            let text_at = Point::new(x + 12, y);
            self.write(name, text_at, font, [255, 255, 255]);
            let Ok(()) = swatch.into_styled(PrimitiveStyle::with_fill(rgb888(color))).draw(self);
            x = text_at.x + (name.len() as u32 * font.character_size.width) as i32 + 8;
        }
    }
}

fn rgb888([r, g, b]: [u8; 3]) -> Rgb888 {
    Rgb888::new(r, g, b)
}

/// The picture as a JPEG file, quality 1 to 100.
///
/// # Errors
/// The encoder's, for a picture wider or higher than JPEG allows.
pub fn to_jpeg(picture: &Picture, quality: u8) -> Result<Vec<u8>, image::ImageError> {
    let mut file = Vec::with_capacity(picture.size.area() / 4);
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality);
    let color = image::ExtendedColorType::Rgb8;
    encoder.encode(&picture.rgb, picture.size.width, picture.size.height, color)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(size: Size) -> Picture {
        Picture { size, rgb: vec![100; 3 * size.area()] }
    }

    #[test]
    fn the_mask_is_blended_and_unknown_left_as_it_was() {
        let size = Size::new(400, 300);
        let mut traversability = vec![0; size.area()];
        traversability[..200 * 400].fill(255);
        let maps = Maps {
            size,
            semantic: vec![0; size.area()],
            traversability,
            confidence: vec![255; size.area()],
            cost: Vec::new(),
        };
        let spec =
            SegmentationSpec { output: String::new(), temperature: 1.0, classes: Vec::new() };
        let mut picture = gray(size);
        let overlay = Overlay {
            mask: Some((&maps, &spec, MaskKind::Traversability)),
            alpha: 0.5,
            ..Overlay::default()
        };
        draw(&mut picture, &overlay);
        let at = |x: usize, y: usize| &picture.rgb[3 * (y * 400 + x)..][..3];
        assert_eq!(at(200, 100), [100, 100, 100]);
        assert_eq!(at(390, 250), [70, 145, 95]);
    }

    #[test]
    fn drawing_beyond_the_picture_is_harmless_at_any_size() {
        for size in [Size::new(1, 1), Size::new(20, 10), Size::new(1000, 30)] {
            let mut picture = gray(size);
            let bounding_box = Rect { left: -5.0, top: -5.0, width: 900.0, height: 900.0 };
            let obstacle = Obstacle {
                class: "car".into(),
                class_id: 200,
                score: 0.5,
                bounding_box,
                area_px: 1.0,
            };
            let label = Label { name: "Egyptian cat".into(), index: 285, score: 0.9 };
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
