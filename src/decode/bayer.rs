//! Bilinear interpolation of a colour filter array.

use super::Pixels;
use crate::frame::BayerPattern;

/// Where red stands in the 2x2 cell: column, row. Blue stands diagonally opposite.
fn red_site(pattern: BayerPattern) -> (usize, usize) {
    match pattern {
        BayerPattern::Rggb => (0, 0),
        BayerPattern::Grbg => (1, 0),
        BayerPattern::Gbrg => (0, 1),
        BayerPattern::Bggr => (1, 1),
    }
}

/// Fills `rgb` with the packed picture of what a colour filter let through, a byte a pixel. At the border the
/// neighbour that is missing is replaced by the one on the other side, which has the same colour; of a single
/// row or column by the pixel itself.
pub(super) fn interpolate(filtered: Pixels<'_>, pattern: BayerPattern, rgb: &mut Vec<u8>) {
    let (width, height) = (filtered.size.width as usize, filtered.size.height as usize);
    let (red_x, red_y) = red_site(pattern);
    rgb.resize(3 * width * height, 0);
    let reflect = |i: usize, last: usize| {
        let before = if i == 0 { last.min(1) } else { i - 1 };
        let after = if i == last { last.saturating_sub(1) } else { i + 1 };
        (before, after)
    };
    for (y, out_row) in rgb.chunks_exact_mut(3 * width).enumerate() {
        let (above, below) = reflect(y, height - 1);
        let [above, here, below] = [above, y, below].map(|row| filtered.row(row as u32));
        let is_red_row = y % 2 == red_y;
        for (x, pixel) in out_row.chunks_exact_mut(3).enumerate() {
            let (left, right) = reflect(x, width - 1);
            let own = here[x];
            let horizontal = mean2(here[left], here[right]);
            let vertical = mean2(above[x], below[x]);
            // In a red row red and green alternate, in a blue row green and blue.
            let on_red_column = x % 2 == red_x;
            let (own_colour, other_colour) = if is_red_row { (0, 2) } else { (2, 0) };
            if on_red_column == is_red_row {
                // A red site in a red row, a blue site in a blue row.
                pixel[own_colour] = own;
                pixel[1] = mean4(here[left], here[right], above[x], below[x]);
                pixel[other_colour] = mean4(above[left], above[right], below[left], below[right]);
            } else {
                pixel[1] = own;
                pixel[own_colour] = horizontal;
                pixel[other_colour] = vertical;
            }
        }
    }
}

fn mean2(a: u8, b: u8) -> u8 {
    (u16::from(a) + u16::from(b)).div_ceil(2) as u8
}

fn mean4(a: u8, b: u8, c: u8, d: u8) -> u8 {
    ((u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d) + 2) / 4) as u8
}
