//! The contact sheet of taught views.

use std::path::Path;

use anyhow::{Context, bail};
use image::{RgbImage, imageops};

use crate::cli::picture_file::write_png;
use crate::geometry::Size;
use crate::overlay;
use crate::place::Memory;
use crate::result::Picture;

/// Thumbnails a row, at most.
const COLUMNS: usize = 8;
const CELL: (u32, u32) = (160, 140);

/// Writes a row of thumbnails a name, its name above them; gives how many.
///
/// # Errors
/// There are none, or the file cannot be written.
pub fn write(memory: &Memory, path: &Path) -> anyhow::Result<usize> {
    let mut cells = Vec::new();
    let mut row = 0;
    for gallery in [&memory.places, &memory.labels] {
        for (index, name) in gallery.names().iter().enumerate() {
            let own = gallery.views().iter().filter(|view| view.name as usize == index);
            let own: Vec<_> = own.filter(|view| !view.thumbnail.is_empty()).collect();
            for (place, view) in own.iter().enumerate() {
                let at = (place % COLUMNS, row + place / COLUMNS);
                cells.push((at, name, &view.thumbnail));
            }
            row += own.len().div_ceil(COLUMNS);
        }
    }
    let Some(columns) = cells.iter().map(|((column, _), ..)| column + 1).max() else {
        bail!("no thumbnails were kept: set places.thumbnails before teaching");
    };
    let mut sheet = RgbImage::new(columns as u32 * CELL.0, row as u32 * CELL.1);
    for ((column, row), _, jpeg) in &cells {
        let thumbnail = image::load_from_memory(jpeg).context("a thumbnail")?.to_rgb8();
        let (x, y) = (*column as i64 * i64::from(CELL.0), *row as i64 * i64::from(CELL.1));
        imageops::replace(&mut sheet, &thumbnail, x, y + 20);
    }
    let size = Size::new(sheet.width(), sheet.height());
    let mut picture = Picture { size, rgb: sheet.into_raw() };
    for ((column, row), name, _) in cells.iter().filter(|((column, _), ..)| *column == 0) {
        overlay::write_line(&mut picture, name, (*column as u32 * CELL.0, *row as u32 * CELL.1));
    }
    write_png(path, &picture)?;
    Ok(cells.len())
}
