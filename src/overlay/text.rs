//! Anti-aliased letters, each drawn once a size and kept.
//!
//! The typeface is a part of `DejaVu` Sans (Latin, Greek, Cyrillic, arrows; hinting and layout tables
//! left out), which is free to use and to pass on: its licence stands beside it in `font/`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};

use crate::lock::lock;

static FONT: LazyLock<Option<FontRef<'static>>> =
    LazyLock::new(|| FontRef::try_from_slice(include_bytes!("font/DejaVuSans.ttf")).ok());

/// Letters kept; names that users give may hold any, so there has to be an end.
const MOST_GLYPHS: usize = 4096;

static GLYPHS: LazyLock<Mutex<HashMap<Key, Arc<Glyph>>>> = LazyLock::new(Mutex::default);

/// A letter, its size in pixels and where it starts between two pixels, in quarters.
type Key = (GlyphId, u32, u8);

/// How much of each pixel a letter covers.
#[derive(Debug, Default)]
pub struct Glyph {
    /// From where the letter starts to the first column of pixels.
    pub left: i32,
    /// From the baseline to the first row of pixels, down.
    pub top: i32,
    /// Columns.
    pub width: usize,
    /// Row-major, 0 to 255.
    pub coverage: Vec<u8>,
}

/// From the upper edge of a line to its baseline, in letter sizes.
pub const ASCENT: f32 = 0.93;
/// From the upper to the lower edge of a line, in letter sizes.
pub const LINE_HEIGHT: f32 = 1.2;

/// `DejaVu`'s size is that of its whole line, ascent and descent; `px` is that of the em square,
/// as everywhere where people choose sizes of letters.
fn scale(font: &FontRef<'_>, px: u32) -> PxScale {
    let em = font.units_per_em().unwrap_or(2048.0);
    PxScale::from(px as f32 * font.height_unscaled() / em)
}

/// How wide the text is, in pixels.
pub fn width(text: &str, px: u32) -> f32 {
    let Some(font) = &*FONT else { return 0.0 };
    let scaled = font.as_scaled(scale(font, px));
    text.chars().map(|letter| scaled.h_advance(font.glyph_id(letter))).sum()
}

/// Calls `put` with each letter and the pixel at which it starts, `x` pixels into the line.
pub fn place(text: &str, x: f32, px: u32, mut put: impl FnMut(&Glyph, i32)) {
    let Some(font) = &*FONT else { return };
    let scale = scale(font, px);
    let scaled = font.as_scaled(scale);
    let mut pen = x;
    for letter in text.chars() {
        let id = font.glyph_id(letter);
        // To the nearest quarter of a pixel, which the eye takes for even spacing.
        let quarters = (pen * 4.0).round();
        let start = (quarters / 4.0).floor();
        let phase = (quarters - 4.0 * start) as u8;
        put(&glyph(font, scale, (id, px, phase)), start as i32);
        pen += scaled.h_advance(id);
    }
}

fn glyph(font: &FontRef<'_>, scale: PxScale, key: Key) -> Arc<Glyph> {
    let mut glyphs = lock(&GLYPHS);
    if let Some(glyph) = glyphs.get(&key) {
        return Arc::clone(glyph);
    }
    if glyphs.len() >= MOST_GLYPHS {
        glyphs.clear();
    }
    let (id, _, phase) = key;
    let at = point(f32::from(phase) / 4.0, 0.0);
    let outlined = font.outline_glyph(id.with_scale_and_position(scale, at));
    let glyph = Arc::new(outlined.map_or_else(Glyph::default, |outlined| {
        let bounds = outlined.px_bounds();
        let (width, height) = (bounds.width() as usize, bounds.height() as usize);
        let mut coverage = vec![0; width * height];
        outlined.draw(|x, y, covered| {
            if let Some(value) = coverage.get_mut(y as usize * width + x as usize) {
                *value = (covered.clamp(0.0, 1.0) * 255.0).round() as u8;
            }
        });
        Glyph { left: bounds.min.x as i32, top: bounds.min.y as i32, width, coverage }
    }));
    glyphs.insert(key, Arc::clone(&glyph));
    glyph
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_typeface_has_what_names_are_made_of() {
        let font = FONT.as_ref().unwrap();
        for letter in "azAZ09 %ÄéñßøŁžΩжЯ°±·…→€".chars() {
            assert_ne!(font.glyph_id(letter).0, 0, "no {letter}");
        }
    }

    #[test]
    fn letters_have_smooth_edges_and_stand_within_their_line() {
        for px in [10, 13, 39] {
            let (mut smooth, mut last) = (0, 0);
            place("Äg|", 2.0, px, |glyph, start| {
                smooth += glyph.coverage.iter().filter(|value| (1..255).contains(*value)).count();
                let rows = glyph.coverage.len() / glyph.width.max(1);
                let (above, below) = (-glyph.top as f32, (rows as i32 + glyph.top) as f32);
                assert!(above <= ASCENT * px as f32 + 1.0, "{above} above at {px}");
                assert!(below <= (LINE_HEIGHT - ASCENT) * px as f32 + 1.0, "{below} below at {px}");
                last = start;
            });
            assert!(smooth > 10);
            assert!((last as f32) < 2.0 + width("Äg|", px));
        }
    }
}
