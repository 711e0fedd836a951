//! How a picture file says that it wants to be turned: the EXIF orientation of a phone's picture,
//! 1 to 8 (CIPA DC-008, tag 0x0112), in the EXIF segment of JPEG and the eXIf chunk of PNG.

use super::jpeg::Segments;
use super::{JPEG_START, PNG_START};
use crate::geometry::Size;
use crate::result::Picture;

/// How the stored rows become the upright picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Whether stored rows are upright columns.
    is_transposed: bool,
    /// Whether the upright picture is read from the right end, after transposing.
    from_right: bool,
    /// Whether it is read from the bottom, after transposing.
    from_bottom: bool,
}

impl Orientation {
    /// Of a JPEG or PNG file; upright where it does not say.
    pub fn of(file: &[u8]) -> Self {
        let exif = if file.starts_with(JPEG_START) {
            Segments::of(file).exif
        } else if file.starts_with(PNG_START) {
            png_exif(file)
        } else {
            None
        };
        Self::numbered(exif.and_then(number).unwrap_or(1))
    }

    /// By EXIF's number; upright for what is none.
    fn numbered(number: u16) -> Self {
        let (is_transposed, from_right, from_bottom) = match number {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => (false, false, false),
        };
        Self { is_transposed, from_right, from_bottom }
    }

    /// Whether there is nothing to turn.
    pub fn is_upright(self) -> bool {
        self == Self::default()
    }

    /// The picture as people see it.
    pub fn apply(self, picture: &Picture) -> Picture {
        let Size { width, height } = picture.size;
        let size = if self.is_transposed { Size::new(height, width) } else { picture.size };
        let mut rgb = Vec::with_capacity(picture.rgb.len());
        for y in 0..size.height {
            for x in 0..size.width {
                let x = if self.from_right { size.width - 1 - x } else { x };
                let y = if self.from_bottom { size.height - 1 - y } else { y };
                let (column, row) = if self.is_transposed { (y, x) } else { (x, y) };
                let start = 3 * (row as usize * width as usize + column as usize);
                rgb.extend_from_slice(&picture.rgb[start..start + 3]);
            }
        }
        Picture { size, rgb }
    }
}

/// The eXIf chunk of a PNG file.
fn png_exif(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.strip_prefix(PNG_START)?;
    loop {
        let length = usize::try_from(u32::from_be_bytes(rest.get(..4)?.try_into().ok()?)).ok()?;
        let body = rest.get(8..8_usize.checked_add(length)?)?;
        match &rest[4..8] {
            b"eXIf" => return Some(body),
            b"IEND" => return None,
            // Length, name and checksum.
            _ => rest = rest.get(12 + length..)?,
        }
    }
}

/// The orientation's number in a TIFF structure's first directory.
fn number(tiff: &[u8]) -> Option<u16> {
    let is_little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| -> Option<u16> {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| -> Option<usize> {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        let number = if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        usize::try_from(number).ok()
    };
    let directory = long(4)?;
    let count = usize::from(short(directory)?);
    let mut entries = (0..count).map(|index| directory + 2 + 12 * index);
    let entry = entries.find(|entry| short(*entry) == Some(0x0112))?;
    short(entry + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG's first segments with that orientation in either byte order.
    fn jpeg(number: u16, is_little: bool) -> Vec<u8> {
        let short = |n: u16| if is_little { n.to_le_bytes() } else { n.to_be_bytes() };
        let long = |n: u32| if is_little { n.to_le_bytes() } else { n.to_be_bytes() };
        let mut tiff = if is_little { b"II*\0" } else { b"MM\0*" }.to_vec();
        tiff.extend(long(8));
        tiff.extend(short(2));
        for (tag, value) in [(0x0100, 7), (0x0112, number)] {
            tiff.extend([short(tag), short(3)].concat());
            tiff.extend(long(1));
            tiff.extend([short(value), short(0)].concat());
        }
        tiff.extend(long(0));
        let body = [b"Exif\0\0".as_slice(), &tiff].concat();
        let length = (body.len() as u16 + 2).to_be_bytes();
        [&[0xff, 0xd8, 0xff, 0xe1], length.as_slice(), &body].concat()
    }

    #[test]
    fn pictures_are_turned_as_exif_says() {
        // A B C
        // D E F
        let rgb = b"ABCDEF".iter().flat_map(|letter| [*letter; 3]).collect();
        let stored = Picture { size: Size::new(3, 2), rgb };
        for (number, expected) in [
            (1, "ABC DEF"),
            (2, "CBA FED"),
            (3, "FED CBA"),
            (4, "DEF ABC"),
            (5, "AD BE CF"),
            (6, "DA EB FC"),
            (7, "FC EB DA"),
            (8, "CF BE AD"),
            (9, "ABC DEF"),
        ] {
            for is_little in [true, false] {
                let orientation = Orientation::of(&jpeg(number, is_little));
                let upright = orientation.apply(&stored);
                let letters: Vec<u8> = upright.rgb.chunks_exact(3).map(|p| p[0]).collect();
                let rows = letters.chunks_exact(upright.size.width as usize);
                let rows: Vec<_> =
                    rows.map(|row| String::from_utf8(row.to_vec()).unwrap()).collect();
                assert_eq!(rows.join(" "), expected, "orientation {number}");
            }
        }
    }

    #[test]
    fn cut_and_foreign_files_are_upright() {
        let whole = jpeg(6, true);
        assert!(!Orientation::of(&whole).is_upright());
        for length in 0..whole.len() {
            assert!(Orientation::of(&whole[..length]).is_upright(), "{length}");
        }
        let far = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&[0xff; 4]);
            bytes
        };
        assert!(Orientation::of(&far(16)).is_upright(), "the directory lies far outside");
    }
}
