//! Pictures labelled by hand: a folder of pictures, one of labels, and what the labels mean.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::geometry::Size;
use crate::manifest::Traversability;

/// Label files of more pixels than this are refused.
const MAX_PIXELS: u64 = 1 << 26;

/// What a label's id means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMeaning {
    /// Its name; one that is a class of the model too is compared by name.
    pub name: String,
    /// What it means for a robot.
    pub traversability: Traversability,
}

/// A picture's label: an id a pixel, row-major.
#[derive(Debug, Clone)]
pub struct Truth {
    /// Width and height.
    pub size: Size,
    /// One byte a pixel.
    pub ids: Vec<u8>,
}

/// A file like `classes.json` of a set of labelled pictures; what else it holds is for people.
#[derive(Debug, Deserialize)]
struct ClassesFile {
    classes: BTreeMap<String, (String, String)>,
}

/// What each id means, by id.
pub(super) fn read_classes(path: &Path) -> anyhow::Result<Vec<Option<LabelMeaning>>> {
    let context = || path.display().to_string();
    let file = BufReader::new(File::open(path).with_context(context)?);
    let content: ClassesFile = serde_json::from_reader(file).with_context(context)?;
    parse_classes(&content).with_context(context)
}

fn parse_classes(content: &ClassesFile) -> anyhow::Result<Vec<Option<LabelMeaning>>> {
    let mut meanings = vec![None; 256];
    for (id, (name, kind)) in &content.classes {
        let slot = id.parse().ok().and_then(|id: usize| meanings.get_mut(id));
        let slot = slot.with_context(|| format!("class {id:?}: an id from 0 to 255 is wanted"))?;
        let traversability = match kind.as_str() {
            "ignore" => continue,
            kind => Traversability::ALL.into_iter().find(|t| t.name() == kind).with_context(|| {
                format!("class {id} ({name}): {kind:?} is none of traversable, caution, obstacle, background, ignore")
            })?,
        };
        *slot = Some(LabelMeaning { name: name.clone(), traversability });
    }
    ensure!(
        meanings.iter().any(Option::is_some),
        "all classes are ignored, so nothing is labelled"
    );
    Ok(meanings)
}

/// Whether a file is a picture by its name: a JPEG or PNG that is not hidden, as those that macOS leaves beside them.
pub(super) fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !is_hidden && matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png"))
}

/// Pictures with the label of the same stem, in the order of their names.
pub(super) fn pairs(images: &Path, labels: &Path) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(images).with_context(|| images.display().to_string())? {
        let path = entry?.path();
        if is_picture(&path) {
            let label = path.with_extension("png");
            let label = labels.join(label.file_name().unwrap_or_default());
            found.push((path, label));
        }
    }
    ensure!(!found.is_empty(), "{}: no JPEG or PNG pictures", images.display());
    found.sort();
    Ok(found)
}

/// A label's ids as they stand in the file, for a picture of that size: the indices of one with a palette, not its
/// colours.
pub(super) fn read_label(path: &Path, picture: Size) -> anyhow::Result<Truth> {
    let context = || path.display().to_string();
    let file = BufReader::new(File::open(path).with_context(context)?);
    let mut reader = png::Decoder::new(file).read_info().with_context(context)?;
    let info = reader.info();
    let (size, color, depth) =
        (Size::new(info.width, info.height), info.color_type, info.bit_depth);
    let is_single = matches!(color, png::ColorType::Grayscale | png::ColorType::Indexed);
    ensure!(
        is_single && depth != png::BitDepth::Sixteen,
        "{}: {color:?} of {} bits a channel, where a label has one channel of at most 8 bits",
        path.display(),
        depth as u8
    );
    ensure!(
        size == picture,
        "the label {} is {}x{}, the picture {}x{}",
        path.display(),
        size.width,
        size.height,
        picture.width,
        picture.height
    );
    let pixels = u64::from(size.width) * u64::from(size.height);
    ensure!(pixels <= MAX_PIXELS, "{}: {pixels} pixels are too many", path.display());
    let line = reader
        .output_line_size(size.width)
        .with_context(|| format!("{}: too wide", path.display()))?;
    let mut packed = vec![0; line * size.height as usize];
    reader.next_frame(&mut packed).with_context(context)?;
    let ids = packed.chunks_exact(line).flat_map(|line| unpacked(line, depth as u8, size.width));
    Ok(Truth { size, ids: ids.collect() })
}

/// The values of a row of so many bits each, the first in the highest bits.
fn unpacked(line: &[u8], bits: u8, width: u32) -> impl Iterator<Item = u8> {
    let mask = u8::MAX >> (8 - bits);
    let places = (0..8 / bits).rev().map(move |place| place * bits);
    let values = line.iter().flat_map(move |byte| places.clone().map(move |at| byte >> at & mask));
    values.take(width as usize)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]

    use super::*;

    fn parse(text: &str) -> anyhow::Result<Vec<Option<LabelMeaning>>> {
        parse_classes(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn classes_say_what_ids_mean_and_what_is_passed_over() {
        let text = r#"{"licence": "CC0", "classes": {"3": ["road", "traversable"], "9": ["seam", "ignore"]}}"#;
        let meanings = parse(text).unwrap();
        assert_eq!(meanings[3].as_ref().unwrap().traversability, Traversability::Traversable);
        assert!(meanings[9].is_none() && meanings[0].is_none());
    }

    #[test]
    fn classes_that_make_no_sense_are_named() {
        let message = |text| format!("{:#}", parse(text).unwrap_err());
        assert!(message(r#"{"classes": {"300": ["road", "traversable"]}}"#).contains("300"));
        assert!(message(r#"{"classes": {"1": ["road", "drivable"]}}"#).contains("drivable"));
        assert!(message(r#"{"classes": {"1": ["seam", "ignore"]}}"#).contains("ignored"));
    }

    #[test]
    fn a_name_with_dots_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("drive.0001.jpg"), "").unwrap();
        let found = pairs(folder.path(), Path::new("labels")).unwrap();
        assert_eq!(found[0].1, Path::new("labels/drive.0001.png"));
    }

    #[test]
    fn a_label_gives_its_indices_and_one_of_three_channels_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, size) = (folder.path().join("a.png"), Size::new(2, 1));
        let write = |color: png::ColorType, data: &[u8]| {
            let mut encoder = png::Encoder::new(File::create(&path).unwrap(), 2, 1);
            encoder.set_color(color);
            if color == png::ColorType::Indexed {
                encoder.set_palette(vec![9; 3 * 8]);
            }
            encoder.write_header().unwrap().write_image_data(data).unwrap();
        };
        write(png::ColorType::Indexed, &[7, 2]);
        assert_eq!(read_label(&path, size).unwrap().ids, [7, 2]);
        write(png::ColorType::Grayscale, &[255, 0]);
        assert_eq!(read_label(&path, size).unwrap().ids, [255, 0]);
        write(png::ColorType::Rgb, &[0; 6]);
        assert!(
            read_label(&path, size)
                .unwrap_err()
                .to_string()
                .contains("one channel of at most 8 bits")
        );
        let mut encoder = png::Encoder::new(File::create(&path).unwrap(), 5, 2);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Two);
        encoder.set_palette(vec![9; 3 * 4]);
        let rows = [0b00_01_10_11, 0b10_000000, 0b11_10_01_00, 0b01_000000];
        encoder.write_header().unwrap().write_image_data(&rows).unwrap();
        let ids = read_label(&path, Size::new(5, 2)).unwrap().ids;
        assert_eq!(ids, [0, 1, 2, 3, 2, 3, 2, 1, 0, 1], "as small tools write them");
    }
}
