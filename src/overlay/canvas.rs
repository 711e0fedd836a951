//! Lines, frames and text in a picture; whatever lies beyond the picture is cut off.

use crate::geometry::{Rect, Size};
use crate::overlay::text;
use crate::result::Picture;

/// Red, green, blue.
pub type Color = [u8; 3];

/// A point of the picture in pixels, x right and y down; pixel `i` covers `i..i + 1`.
pub type Point = [f32; 2];

/// A picture that is drawn into.
#[derive(Debug)]
pub struct Canvas<'a> {
    picture: &'a mut Picture,
}

impl<'a> Canvas<'a> {
    /// Draws into `picture`.
    pub fn new(picture: &'a mut Picture) -> Self {
        Self { picture }
    }

    /// The picture's size.
    pub fn size(&self) -> Size {
        self.picture.size
    }

    /// Width of a line in this picture: a pixel at 640x480, three at 1920x1080.
    pub fn line_width(&self) -> u32 {
        (self.short_width() / 640.0).round().max(1.0) as u32
    }

    /// Size of letters for lines of their own, in pixels.
    pub fn line_px(&self) -> u32 {
        (self.short_width() / 42.0).round().clamp(9.0, 96.0) as u32
    }

    /// Size of letters for names of things in the picture, in pixels.
    pub fn name_px(&self) -> u32 {
        (self.short_width() / 49.0).round().clamp(9.0, 80.0) as u32
    }

    /// The width of the largest 4:3 picture that fits in: of a wide or high one, a part.
    fn short_width(&self) -> f32 {
        let Size { width, height } = self.picture.size;
        (width as f32).min(height as f32 * 4.0 / 3.0)
    }

    /// How wide the text is, in pixels.
    pub fn text_width(&self, text: &str, px: u32) -> f32 {
        text::width(text, px)
    }

    /// Width and height that [`Self::write`] takes.
    pub fn strip_size(&self, text: &str, px: u32) -> (u32, u32) {
        let height = (text::LINE_HEIGHT * px as f32).ceil() as u32;
        (text::width(text, px).ceil() as u32 + px / 2, height)
    }

    /// Text on a dark strip, whose upper left corner is `at`.
    pub fn write(&mut self, text: &str, at: Point, px: u32, color: Color) {
        let (width, height) = self.strip_size(text, px);
        self.darken(Rect {
            left: f64::from(at[0]),
            top: f64::from(at[1]),
            width: width.into(),
            height: height.into(),
        });
        self.text(text, [at[0] + (px / 4) as f32, at[1]], px, color);
    }

    /// Text alone, the upper left corner of its line at `at`.
    pub fn text(&mut self, text: &str, at: Point, px: u32, color: Color) {
        // Also for what is not a number.
        let is_near = |at: f32, side: u32| at.abs() < 2.0 * side as f32 + 1000.0;
        let Size { width, height } = self.picture.size;
        if !is_near(at[0], width) || !is_near(at[1], height) {
            return;
        }
        let baseline = (at[1] + text::ASCENT * px as f32).round() as i32;
        text::place(text, at[0], px, |glyph, start| {
            let rows = glyph.coverage.chunks_exact(glyph.width.max(1));
            for (y, row) in (baseline + glyph.top..).zip(rows) {
                for (x, &coverage) in (start + glyph.left..).zip(row) {
                    self.mix(x, y, color, coverage.into());
                }
            }
        });
    }

    /// A line with smooth edges, `width` pixels wide.
    pub fn line(&mut self, from: Point, to: Point, width: f32, color: Color) {
        let Some([from, to]) = self.cut(from, to, width) else { return };
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = dx.hypot(dy).max(1e-6);
        let reach = width / 2.0 + 1.0;
        // Step along the longer axis; across it, the pixels that the line may touch.
        let is_steep = dy.abs() > dx.abs();
        let (along, across) = if is_steep { (1, 0) } else { (0, 1) };
        let slope = if is_steep { dx / dy } else { dy / if dx == 0.0 { 1.0 } else { dx } };
        let (start, end) = (from[along].min(to[along]), from[along].max(to[along]));
        // Of a line that leans, more pixels across lie within its width.
        let spread = reach * slope.hypot(1.0);
        for step in (start - reach).floor() as i32..=(end + reach).floor() as i32 {
            let middle = from[across] + slope * (step as f32 + 0.5 - from[along]);
            for other in (middle - spread).floor() as i32..=(middle + spread).floor() as i32 {
                let (x, y) = if is_steep { (other, step) } else { (step, other) };
                let (px, py) = (x as f32 + 0.5 - from[0], y as f32 + 0.5 - from[1]);
                let at = ((px * dx + py * dy) / (length * length)).clamp(0.0, 1.0);
                let distance = (px - at * dx).hypot(py - at * dy);
                let covered = (width / 2.0 + 0.5 - distance).clamp(0.0, 1.0);
                self.mix(x, y, color, (255.0 * covered) as u32);
            }
        }
    }

    /// Lines from each point to the next; a point that is not a number parts them.
    pub fn path(&mut self, points: &[Point], width: f32, color: Color) {
        for pair in points.windows(2) {
            self.line(pair[0], pair[1], width, color);
        }
    }

    /// The four sides of a rectangle, within it, with a dark line around that parts it from what is
    /// behind.
    pub fn frame(&mut self, area: Rect, color: Color) {
        let width = f64::from(self.line_width());
        self.sides(area, width + 1.0, |value| value.map(|value| value / 3));
        self.sides(area, width, |_| color);
    }

    fn sides(&mut self, area: Rect, width: f64, change: impl Fn(Color) -> Color + Copy) {
        let Rect { left, top, width: across, height: down } = area;
        let (right, bottom) = (left + across - width, top + down - width);
        self.change(Rect { height: width, ..area }, change);
        self.change(Rect { top: bottom, height: width, ..area }, change);
        let (top, down) = (top + width, down - 2.0 * width);
        self.change(Rect { left, top, width, height: down }, change);
        self.change(Rect { left: right, top, width, height: down }, change);
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, area: Rect, color: Color) {
        self.change(area, |_| color);
    }

    /// Darkens a rectangle so that light text can be read on it.
    pub fn darken(&mut self, area: Rect) {
        self.change(area, |pixel| pixel.map(|value| value / 4));
    }

    fn change(&mut self, area: Rect, change: impl Fn(Color) -> Color) {
        let Size { width, height } = self.picture.size;
        // `as` takes what is not a number for 0 and keeps to the type's range.
        let span = |from: f64, length: f64, side: u32| {
            let (start, end) = (from.round() as i64, (from + length).round() as i64);
            start.clamp(0, side.into()) as usize..end.clamp(0, side.into()) as usize
        };
        if !(area.left.is_finite() && area.top.is_finite()) {
            return;
        }
        let columns = span(area.left, area.width, width);
        if columns.is_empty() {
            return;
        }
        for y in span(area.top, area.height, height) {
            let row = y * width as usize;
            let bytes = 3 * (row + columns.start)..3 * (row + columns.end);
            for pixel in self.picture.rgb[bytes].chunks_exact_mut(3) {
                pixel.copy_from_slice(&change([pixel[0], pixel[1], pixel[2]]));
            }
        }
    }

    /// `coverage` is 0 to 255.
    fn mix(&mut self, x: i32, y: i32, color: Color, coverage: u32) {
        let size = self.picture.size;
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if x >= size.width || y >= size.height || coverage == 0 {
            return;
        }
        let start = 3 * (y as usize * size.width as usize + x as usize);
        for (value, color) in self.picture.rgb[start..start + 3].iter_mut().zip(color) {
            let mixed = u32::from(*value) * (255 - coverage) + u32::from(color) * coverage;
            *value = ((mixed + 127) / 255) as u8;
        }
    }

    /// The part of a line that may touch the picture (Liang and Barsky's clipping).
    fn cut(&self, from: Point, to: Point, width: f32) -> Option<[Point; 2]> {
        if [from, to].iter().flatten().any(|value| !value.is_finite()) {
            return None;
        }
        // In f64: ends may be so far off that f32 has no pixels there.
        let (from, to) = (from.map(f64::from), to.map(f64::from));
        let margin = f64::from(width) + 1.0;
        let Size { width, height } = self.picture.size;
        let (mut first, mut last) = (0.0_f64, 1.0_f64);
        for (axis, side) in [(0, width), (1, height)] {
            let (start, change) = (from[axis], to[axis] - from[axis]);
            let (low, high) = (-margin - start, f64::from(side) + margin - start);
            if change == 0.0 {
                if low > 0.0 || high < 0.0 {
                    return None;
                }
                continue;
            }
            let (a, b) = (low / change, high / change);
            (first, last) = (first.max(a.min(b)), last.min(a.max(b)));
        }
        let at =
            |share: f64| [0, 1].map(|axis| (from[axis] + share * (to[axis] - from[axis])) as f32);
        (first <= last).then(|| [at(first), at(last)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(picture: &mut Picture, draw: impl Fn(&mut Canvas<'_>)) -> Vec<u8> {
        draw(&mut Canvas::new(picture));
        picture.rgb.iter().step_by(3).copied().collect()
    }

    fn black(width: u32, height: u32) -> Picture {
        let size = Size::new(width, height);
        Picture { size, rgb: vec![0; 3 * size.area()] }
    }

    #[test]
    fn a_line_along_the_pixels_is_sharp_and_one_across_them_smooth() {
        let mut picture = black(8, 5);
        let level = canvas(&mut picture, |c| c.line([1.5, 2.5], [6.5, 2.5], 1.0, [255; 3]));
        assert_eq!(level[2 * 8..3 * 8], [0, 255, 255, 255, 255, 255, 255, 0]);
        assert_eq!(level.iter().map(|v| u32::from(*v)).sum::<u32>(), 6 * 255, "nothing beside it");
        let mut picture = black(8, 8);
        let steep = canvas(&mut picture, |c| c.line([2.0, 0.0], [5.0, 8.0], 2.0, [255; 3]));
        assert!(steep.iter().any(|value| (1..255).contains(value)));
        for row in steep.chunks_exact(8) {
            let covered: u32 = row.iter().map(|value| u32::from(*value)).sum();
            // As wide as the line is, divided by the sine of its lean.
            let expected = 255.0 * 2.0 * (73.0_f32.sqrt() / 8.0);
            assert!((covered as f32 - expected).abs() < 60.0, "{covered} of {expected}");
        }
    }

    #[test]
    fn a_line_from_afar_is_cut_where_the_picture_ends() {
        let mut picture = black(6, 6);
        let drawn = canvas(&mut picture, |c| {
            c.line([-1e9, 2.5], [1e9, 2.5], 1.0, [255; 3]);
            c.line([-1e9, -1e9], [-2e9, 1e9], 1.0, [255; 3]);
            c.line([f32::NAN, 1.0], [3.0, f32::INFINITY], 1.0, [255; 3]);
        });
        assert!(drawn[2 * 6..3 * 6].iter().all(|value| *value > 200), "{drawn:?}");
        assert!(drawn[..6].iter().all(|value| *value == 0));
    }

    #[test]
    fn a_frame_lies_within_its_rectangle() {
        let mut picture = black(10, 8);
        let area = Rect { left: 2.0, top: 1.0, width: 6.0, height: 5.0 };
        let drawn = canvas(&mut picture, |c| c.frame(area, [200; 3]));
        let lit: Vec<usize> =
            drawn.iter().enumerate().filter(|(_, v)| **v == 200).map(|(at, _)| at).collect();
        assert_eq!(lit.len(), 2 * 6 + 2 * 3);
        assert_eq!((lit[0], lit[lit.len() - 1]), (12, 57));
    }
}
