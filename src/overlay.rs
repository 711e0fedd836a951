//! The picture with mask, boxes, labels and legend drawn in, for people.

use std::borrow::Cow;

use embedded_graphics::Drawable;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size as GraphicsSize};
use embedded_graphics::mono_font::ascii::{FONT_5X8, FONT_6X13, FONT_7X14_BOLD, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::primitives::{Primitive, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};

use crate::geometry::{Rect, Size};
use crate::manifest::{Manifest, SegmentationSpec, Traversability};
use crate::result::{FrameResult, Label, Maps, Obstacle, Picture};
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

impl<'a> Overlay<'a> {
    /// What a frame gave, for a model of `manifest`; the rate is the caller's to add.
    pub fn of(result: &'a FrameResult, manifest: &'a Manifest, kind: MaskKind, alpha: f32) -> Self {
        let mask = result.maps.as_ref().zip(manifest.segmentation.as_ref());
        Self {
            mask: mask.map(|(maps, spec)| (maps, spec, kind)),
            alpha,
            obstacles: result.obstacles.as_deref().unwrap_or_default(),
            labels: result.labels.as_deref().unwrap_or_default(),
            place: result.places.as_deref().and_then(<[_]>::first).map(|place| place.name.as_str()),
            ..Self::default()
        }
    }
}

/// Draws into the picture.
pub fn draw(picture: &mut Picture, overlay: &Overlay<'_>) {
    if let Some((maps, spec, kind)) = overlay.mask {
        blend(picture, maps, spec, kind, overlay.alpha);
    }
    let size = picture.size;
    let text = TextSize::for_lines(size);
    let small = TextSize::for_names(size);
    let mut canvas = Canvas { picture };
    for obstacle in overlay.obstacles {
        let color = overlay
            .mask
            .map_or([255, 255, 255], |(_, spec, _)| class_color(spec, obstacle.class_id));
        canvas.frame(obstacle.bounding_box, color);
        let name = format!("{} {:.0}%", obstacle.class, 100.0 * obstacle.score);
        let left = obstacle.bounding_box.left as i32;
        // Above the box, or within where there is no room above it.
        let top = (obstacle.bounding_box.top as i32 - small.height()).max(0);
        // Names of small boxes would hide more than they tell.
        if obstacle.bounding_box.width * 2.0 > f64::from(small.width(&name)) {
            canvas.write(&name, Point::new(left, top), small, color);
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
    for (index, line) in lines.iter().enumerate() {
        let at = Point::new(2, 2 + index as i32 * (text.height() + 1));
        canvas.write(line, at, text, [255, 255, 255]);
    }
    if let Some((maps, spec, kind)) = overlay.mask {
        canvas.legend(maps, spec, kind, small);
    }
}

/// Writes a line of text into the picture, its upper left corner at `at`.
pub fn write_line(picture: &mut Picture, text: &str, at: (u32, u32)) {
    let text_size = TextSize { font: &FONT_7X14_BOLD, scale: 1 };
    let at = Point::new(at.0 as i32 + 2, at.1 as i32 + 3);
    Canvas { picture }.write(text, at, text_size, [255, 255, 255]);
}

/// The picture at most so large, its aspect kept; as it is where it fits.
pub fn shrink(picture: &Picture, most: Size) -> Cow<'_, Picture> {
    let Size { width, height } = picture.size;
    if width <= most.width && height <= most.height {
        return Cow::Borrowed(picture);
    }
    let share = |length: u32, of: u32, to: u32| {
        (u64::from(length) * u64::from(to) / u64::from(of)).max(1) as u32
    };
    let is_wide =
        u64::from(width) * u64::from(most.height) >= u64::from(height) * u64::from(most.width);
    let size = if is_wide {
        Size::new(most.width, share(height, width, most.width))
    } else {
        Size::new(share(width, height, most.height), most.height)
    };
    let whole = image::ImageBuffer::<image::Rgb<u8>, _>::from_raw(width, height, &picture.rgb[..]);
    match whole {
        Some(whole) => {
            let small = image::imageops::thumbnail(&whole, size.width, size.height);
            Cow::Owned(Picture { size, rgb: small.into_raw() })
        }
        None => Cow::Borrowed(picture),
    }
}

/// A small JPEG of the picture, at most 160x120.
///
/// # Errors
/// The encoder's.
pub fn thumbnail(picture: &Picture) -> image::ImageResult<Vec<u8>> {
    to_jpeg(&shrink(picture, Size::new(160, 120)), 80)
}

/// A font, and how many times it is enlarged: the fonts end where large pictures begin.
#[derive(Debug, Clone, Copy)]
struct TextSize {
    font: &'static MonoFont<'static>,
    scale: u32,
}

impl TextSize {
    /// For labels, place and rate.
    fn for_lines(size: Size) -> Self {
        let font = match size.width {
            0..240 => &FONT_5X8,
            240..400 => &FONT_6X13,
            400..900 => &FONT_7X14_BOLD,
            _ => &FONT_10X20,
        };
        Self { font, scale: (size.width / 1280).max(1) }
    }

    /// For the names of boxes and of the legend.
    fn for_names(size: Size) -> Self {
        let font = match size.width {
            0..240 => &FONT_5X8,
            240..900 => &FONT_6X13,
            900..1280 => &FONT_7X14_BOLD,
            _ => &FONT_10X20,
        };
        Self { font, scale: (size.width / 1920).max(1) }
    }

    fn height(self) -> i32 {
        (self.font.character_size.height * self.scale) as i32
    }

    fn width(self, text: &str) -> i32 {
        let characters = text.chars().count() as u32;
        (characters * self.font.character_size.width * self.scale) as i32
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
    let weight = (alpha.clamp(0.0, 1.0) * 256.0) as u16;
    // By id: how much of the picture stays, in 256ths, and what is added to it.
    let mut mixtures = [(256_u16, [0_u16; 3]); 256];
    let mut set = |id: usize, color: [u8; 3]| {
        // 255 is unknown and left as it is, whatever the classes.
        if id < 255 {
            mixtures[id] = (256 - weight, color.map(|value| u16::from(value) * weight));
        }
    };
    match kind {
        MaskKind::Semantic => {
            spec.classes.iter().enumerate().for_each(|(id, class)| set(id, class.color));
        }
        MaskKind::Traversability => {
            MEANING_COLORS.into_iter().enumerate().for_each(|(id, color)| set(id, color));
        }
    }
    let mix = |pixel: &mut [u8], id: u8| {
        let (stays, added) = mixtures[id as usize];
        for (value, added) in pixel.iter_mut().zip(added) {
            // At most 255 * 256, since the weights add up to 256.
            *value = ((u16::from(*value) * stays + added) >> 8) as u8;
        }
    };
    let (size, mask) = (picture.size, maps.size);
    let (width, mask_width) = (size.width as usize, mask.width as usize);
    if mask == size {
        let pixels = picture.rgb.chunks_exact_mut(3).zip(ids);
        pixels.for_each(|(pixel, id)| mix(pixel, *id));
        return;
    }
    // A mask of the network's size is enlarged to its nearest pixels.
    for y in 0..size.height as usize {
        let mask_row = y * mask.height as usize / size.height as usize;
        let ids = &ids[mask_row * mask_width..][..mask_width];
        let row = &mut picture.rgb[3 * y * width..3 * (y + 1) * width];
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            mix(pixel, ids[x * mask_width / width]);
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
    fn write(&mut self, text: &str, at: Point, text_size: TextSize, color: [u8; 3]) {
        let margin = text_size.scale as i32;
        let strip = GraphicsSize::new(
            (text_size.width(text) + 2 * margin) as u32,
            text_size.height() as u32,
        );
        self.darken(Rectangle::new(at - Point::new(margin, 0), strip));
        let light = color.map(|value| value.max(180));
        let style = MonoTextStyle::new(text_size.font, rgb888(light));
        let mut enlarged = Enlarged { canvas: self, origin: at, scale: text_size.scale };
        let Ok(_) =
            Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut enlarged);
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
    fn legend(
        &mut self,
        maps: &Maps,
        spec: &SegmentationSpec,
        kind: MaskKind,
        text_size: TextSize,
    ) {
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
        let (height, gap) = (text_size.height(), text_size.width(" "));
        let swatch = height - 4 * text_size.scale as i32;
        // Where each entry stands, in lines from the first one down.
        let (mut x, mut line) = (gap, 0);
        let mut placed = Vec::new();
        for (id, (name, color)) in entries.into_iter().enumerate() {
            if !present.get(id).is_some_and(|present| *present) {
                continue;
            }
            let width = swatch + gap + text_size.width(name);
            if x + width > self.picture.size.width as i32 && x > gap {
                (x, line) = (gap, line + 1);
            }
            placed.push((x, line, name, color));
            x += width + gap;
        }
        let bottom = self.picture.size.height as i32 - 2;
        for (x, entry_line, name, color) in placed {
            let y = bottom - (line - entry_line + 1) * (height + 1);
            self.write(name, Point::new(x + swatch + gap / 2, y), text_size, [255, 255, 255]);
            let corner = Point::new(x, y + (height - swatch) / 2);
            let square = Rectangle::new(corner, GraphicsSize::new(swatch as u32, swatch as u32));
            let Ok(()) = square.into_styled(PrimitiveStyle::with_fill(rgb888(color))).draw(self);
        }
    }
}

/// Draws into a canvas with every pixel `scale` times as wide and high.
struct Enlarged<'a, 'b> {
    canvas: &'a mut Canvas<'b>,
    origin: Point,
    scale: u32,
}

impl OriginDimensions for Enlarged<'_, '_> {
    fn size(&self) -> GraphicsSize {
        self.canvas.size()
    }
}

impl DrawTarget for Enlarged<'_, '_> {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = embedded_graphics::Pixel<Rgb888>>,
    {
        let square = GraphicsSize::new(self.scale, self.scale);
        for embedded_graphics::Pixel(point, color) in pixels {
            let corner = self.origin + point * self.scale as i32;
            self.canvas.fill_solid(&Rectangle::new(corner, square), color)?;
        }
        Ok(())
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

    #[test]
    fn a_mask_of_the_networks_size_is_enlarged() {
        let (size, mask) = (Size::new(300, 200), Size::new(3, 2));
        let maps = Maps {
            size: mask,
            semantic: vec![0; 6],
            traversability: vec![255, 2, 255, 255, 255, 255],
            confidence: vec![255; 6],
            cost: Vec::new(),
        };
        let spec =
            SegmentationSpec { output: String::new(), temperature: 1.0, classes: Vec::new() };
        let mut picture = gray(size);
        blend(&mut picture, &maps, &spec, MaskKind::Traversability, 1.0);
        let at = |x: usize, y: usize| &picture.rgb[3 * (y * 300 + x)..][..3];
        assert_eq!((at(100, 0), at(199, 99)), (&MEANING_COLORS[2][..], &MEANING_COLORS[2][..]));
        assert_eq!(
            (at(99, 0), at(200, 0), at(100, 100)),
            (&[100; 3][..], &[100; 3][..], &[100; 3][..])
        );
    }

    #[test]
    fn a_long_legend_is_wrapped_and_text_grows_with_the_picture() {
        let class = |index: usize| crate::manifest::SegmentationClass {
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
            for class in &spec.classes {
                let swatch = picture.rgb.chunks_exact(3).filter(|pixel| **pixel == class.color);
                assert!(swatch.count() >= 16, "{} has no swatch at {size}", class.name);
            }
        }
    }
}
