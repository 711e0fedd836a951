//! Every encoding, with and without row padding, against a picture of known colours.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

const SIZE: Size = Size::new(48, 32);

/// A smooth picture, so that chroma subsampling and Bayer interpolation change little.
fn colour(x: usize, y: usize) -> [u8; 3] {
    [(40 + 3 * x) as u8, (200 - 4 * y) as u8, (60 + x + 2 * y) as u8]
}

/// BT.601, limited range.
fn yuv_of([r, g, b]: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = [r, g, b].map(f32::from);
    let y = 16.0 + 0.257 * r + 0.504 * g + 0.098 * b;
    let u = 128.0 - 0.148 * r - 0.291 * g + 0.439 * b;
    let v = 128.0 + 0.439 * r - 0.368 * g - 0.071 * b;
    [y, u, v].map(|value| value.round().clamp(0.0, 255.0) as u8)
}

/// The known picture in an encoding, rows padded by `padding` bytes of noise.
fn encode(encoding: Encoding, padding: usize) -> (usize, Vec<u8>) {
    let (width, height) = (SIZE.width as usize, SIZE.height as usize);
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for y in 0..height {
        let mut row = Vec::new();
        for x in 0..width {
            let [r, g, b] = colour(x, y);
            let even = x & !1;
            let [luma, ..] = yuv_of([r, g, b]);
            let [_, u, v] = yuv_of(colour(even, y));
            match encoding {
                Encoding::Rgb8 => row.extend([r, g, b]),
                Encoding::Bgr8 => row.extend([b, g, r]),
                Encoding::Rgba8 => row.extend([r, g, b, 9]),
                Encoding::Bgra8 => row.extend([b, g, r, 9]),
                Encoding::Mono8 => row.push(g),
                Encoding::Mono16 => row.extend([77, g]),
                Encoding::Yuyv => row.extend([luma, if x == even { u } else { v }]),
                Encoding::Uyvy => row.extend([if x == even { u } else { v }, luma]),
                Encoding::Nv12 | Encoding::Nv21 | Encoding::Nv24 => row.push(luma),
                Encoding::Bayer8(pattern) | Encoding::Bayer16(pattern) => {
                    let channels = match pattern {
                        BayerPattern::Rggb => [[0, 1], [1, 2]],
                        BayerPattern::Bggr => [[2, 1], [1, 0]],
                        BayerPattern::Gbrg => [[1, 2], [0, 1]],
                        BayerPattern::Grbg => [[1, 0], [2, 1]],
                    };
                    if matches!(encoding, Encoding::Bayer16(_)) {
                        row.push(77);
                    }
                    row.push([r, g, b][channels[y % 2][x % 2]]);
                }
            }
        }
        rows.push(row);
    }
    let step = rows[0].len() + padding;
    let mut chroma_rows: Vec<Vec<u8>> = Vec::new();
    match encoding {
        Encoding::Nv12 | Encoding::Nv21 => {
            for y in (0..height).step_by(2) {
                let pairs = (0..width).step_by(2).flat_map(|x| {
                    let [_, u, v] = yuv_of(colour(x, y));
                    if encoding == Encoding::Nv12 { [u, v] } else { [v, u] }
                });
                chroma_rows.push(pairs.collect());
            }
        }
        Encoding::Nv24 => {
            for y in 0..height {
                let pairs = (0..width).flat_map(|x| {
                    let [_, u, v] = yuv_of(colour(x, y));
                    [u, v]
                });
                chroma_rows.push(pairs.collect());
            }
        }
        _ => {}
    }
    let mut bytes = Vec::new();
    for mut row in rows {
        row.resize(step, 0xa5);
        bytes.extend(row);
    }
    let chroma_step = if encoding == Encoding::Nv24 { 2 * step } else { step };
    for mut row in chroma_rows {
        row.resize(chroma_step, 0xa5);
        bytes.extend(row);
    }
    (step, bytes)
}

fn check(name: &str, tolerance: u8) {
    let encoding: Encoding = name.parse().unwrap();
    for padding in [0, 1, 16] {
        // Planes of chroma share the step: an odd one is no layout that any driver makes.
        if padding == 1 && matches!(encoding, Encoding::Uyvy | Encoding::Yuyv) {
            continue;
        }
        let (step, bytes) = encode(encoding, padding);
        let image = RawImage::new(name, SIZE.width, SIZE.height, step, false, &bytes).unwrap();
        let mut decoder = Decoder::default();
        let picture = decoder.decode(Frame::Raw(image)).unwrap().to_picture();
        let is_gray = matches!(encoding, Encoding::Mono8 | Encoding::Mono16);
        for (index, pixel) in picture.rgb.chunks_exact(3).enumerate() {
            let (x, y) = (index % SIZE.width as usize, index / SIZE.width as usize);
            // At the edges subsampled chroma has no neighbour to lean on.
            let expected = match colour(x, y) {
                [_, g, _] if is_gray => [g, g, g],
                colour => colour,
            };
            for (actual, expected) in pixel.iter().zip(expected) {
                assert!(
                    actual.abs_diff(expected) <= tolerance,
                    "{name}, padding {padding}: {pixel:?} at {x},{y} where {expected:?} belongs"
                );
            }
        }
    }
}

#[test]
fn interleaved_encodings_are_exact() {
    for name in ["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "8UC1", "8UC3", "8UC4"] {
        check(name, 0);
    }
}

#[test]
fn mono16_is_read_in_either_endianness() {
    check("mono16", 0);
    let image = RawImage::new("mono16", 2, 1, 4, true, &[0xc7, 1, 0xc9, 1]).unwrap();
    let mut decoder = Decoder::default();
    let pixels = decoder.decode(Frame::Raw(image)).unwrap();
    assert_eq!(pixels.bytes, [0xc7, 0xc9]);
}

#[test]
fn yuv_comes_back_within_rounding_and_subsampling() {
    for name in ["yuyv", "uyvy", "yuv422", "yuv422_yuy2", "nv12", "nv21", "nv24"] {
        check(name, 8);
    }
}

#[test]
fn bayer_comes_back_within_interpolation() {
    for name in ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"] {
        check(name, 6);
    }
    for name in ["bayer_rggb16", "bayer_bggr16", "bayer_gbrg16", "bayer_grbg16"] {
        check(name, 6);
    }
}

#[test]
fn a_compressed_picture_of_a_colour_filter_has_colours() {
    let name = "bayer_gbrg8";
    let (_, bytes) = encode(name.parse().unwrap(), 0);
    let raw = RawImage::new(name, SIZE.width, SIZE.height, 0, false, &bytes).unwrap();
    let expected = Decoder::default().decode(Frame::Raw(raw)).unwrap().to_picture();
    let filtered = image::GrayImage::from_raw(SIZE.width, SIZE.height, bytes).unwrap();
    let mut file = Cursor::new(Vec::new());
    filtered.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let file = file.into_inner();
    let mut decoder = Decoder::default();
    let mut decode = |format: &str, file: &[u8]| {
        let frame = Frame::compressed(format, file).unwrap();
        decoder.decode(frame).unwrap().to_picture()
    };
    for _ in 0..2 {
        assert_eq!(decode("bayer_gbrg8; png compressed ", &file), expected);
    }
    let grey = decode("mono8; png compressed ", &file);
    assert!(grey.rgb.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
    // Of the driver's own colours nothing is left to interpolate.
    let coloured = jpeg_of(48, 32);
    let format = "bayer_gbrg8; jpeg compressed bgr8";
    assert_eq!(decode(format, &coloured), decode("jpeg", &coloured));
    let row = image::GrayImage::from_raw(3, 1, vec![10, 20, 30]).unwrap();
    let mut file = Cursor::new(Vec::new());
    row.write_to(&mut file, image::ImageFormat::Png).unwrap();
    assert_eq!(decode("bayer_gbrg8; png compressed ", &file.into_inner()).rgb.len(), 9);
}

fn jpeg_of(width: u32, height: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb(colour(x as usize % 48, y as usize % 32))
    });
    let mut file = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 95);
    encoder.encode_image(&picture).unwrap();
    file
}

/// A JPEG's marker segments without the start: marker, whole segment; the last is what follows SOS.
fn segments_of(file: &[u8]) -> Vec<(u8, &[u8])> {
    let mut at = 2;
    let mut segments = Vec::new();
    loop {
        let length = 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        let marker = file[at + 1];
        if marker == 0xda {
            segments.push((marker, &file[at..]));
            return segments;
        }
        segments.push((marker, &file[at..at + length]));
        at += length;
    }
}

#[test]
fn huffman_tables_that_a_usb_camera_leaves_out_are_put_in() {
    // The encoder's own tables are those of the standard.
    let whole = jpeg_of(48, 32);
    let without: Vec<u8> = segments_of(&whole)
        .into_iter()
        .filter(|(marker, _)| *marker != 0xc4)
        .fold(whole[..2].to_vec(), |file, (_, segment)| [&file, segment].concat());
    assert!(without.len() + 400 < whole.len());
    let decode = |file: &[u8]| {
        let mut decoder = Decoder::default();
        decoder.decode(Frame::file(file)).map(|pixels| pixels.to_picture())
    };
    assert_eq!(decode(&without).unwrap(), decode(&whole).unwrap());
    assert!(decode(&without[..without.len() / 2]).is_err());
}

#[test]
fn a_cut_picture_is_refused_though_its_thumbnail_has_an_end() {
    let (whole, thumbnail) = (jpeg_of(48, 32), jpeg_of(16, 16));
    let exif = [b"Exif\0\0II*\0", thumbnail.as_slice()].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let with = [&whole[..2], &[0xff, 0xe1], &length, &exif, &whole[2..]].concat();
    let decode = |file: &[u8]| {
        let mut decoder = Decoder::default();
        decoder.decode(Frame::file(file)).map(|pixels| pixels.size)
    };
    assert_eq!(decode(&with).unwrap(), SIZE);
    assert_eq!(decode(&[&with, [0; 20].as_slice()].concat()).unwrap(), SIZE, "padded");
    for length in with.len() - whole.len() + 2..with.len() {
        let error = decode(&with[..length]).unwrap_err().to_string();
        assert!(error.contains("cut off"), "{length}: {error}");
    }
}

#[test]
fn pictures_of_16_bits_are_scaled_by_the_bits_they_use() {
    let mut decoder = Decoder::default();
    for (bits, expected) in [(10, 200), (12, 200), (14, 200), (16, 200)] {
        let grey = |x: u32, _| image::Luma([((150 + 10 * x as u16) << (bits - 8)) | 1]);
        let picture = image::ImageBuffer::<image::Luma<u16>, Vec<u16>>::from_fn(6, 3, grey);
        let file = png_of(&image::DynamicImage::ImageLuma16(picture.clone()));
        let pixels = decoder.decode(Frame::file(&file)).unwrap();
        assert_eq!((pixels.layout, pixels.row(2)[5]), (PixelLayout::Gray, expected), "{bits} bits");
        let bytes: Vec<u8> = picture.iter().flat_map(|value| value.to_be_bytes()).collect();
        let image = RawImage::new("mono16", 6, 3, 12, true, &bytes).unwrap();
        assert_eq!(decoder.decode(Frame::Raw(image)).unwrap().row(2)[5], expected, "{bits} bits");
    }
    let rgba = image::ImageBuffer::<image::Rgba<u16>, Vec<u16>>::from_fn(2, 2, |x, _| {
        image::Rgba([100 + 1000 * x as u16, 7, 1000, 65535])
    });
    let file = png_of(&image::DynamicImage::ImageRgba16(rgba));
    let picture = decoder.decode(Frame::file(&file)).unwrap().to_picture();
    assert_eq!(picture.rgb[3..6], [68, 0, 62], "12 bits, whatever alpha holds");
}

#[test]
fn a_small_file_that_claims_a_huge_picture_takes_no_memory() {
    let mut decoder = Decoder::default();
    let mut check = |file: &[u8]| {
        let error = decoder.decode(Frame::file(file)).unwrap_err().to_string();
        assert!(error.contains("8192x4096, which"), "{error}");
    };
    let mut jpeg = jpeg_of(16, 16);
    let frame_header = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame_header + 5..frame_header + 9].copy_from_slice(&[0x10, 0, 0x20, 0]);
    check(&jpeg);
    let mut png = png_of(&image::DynamicImage::new_rgb8(8, 8));
    png[16..24].copy_from_slice(&[0, 0, 0x20, 0, 0, 0, 0x10, 0]);
    let checksum = crc32fast::hash(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&checksum);
    check(&png);
    assert!(decoder.buffer.capacity() < 1 << 20);
}

#[test]
fn a_step_that_claims_gigabytes_takes_what_is_there() {
    let data = [0x80; 8];
    let image = RawImage::new("yuyv", 4, 1, u32::MAX as usize, false, &data).unwrap();
    let mut decoder = Decoder::default();
    assert_eq!(decoder.decode(Frame::Raw(image)).unwrap().bytes.len(), 12);
}

fn png_of(picture: &image::DynamicImage) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

/// A chunk of a PNG file, with its checksum.
fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let checked = [&name[..], content].concat();
    let crc = checked.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    });
    [&(content.len() as u32).to_be_bytes()[..], &checked, &(!crc).to_be_bytes()].concat()
}

#[test]
fn a_palette_that_is_cut_off_is_refused() {
    let mut palette = vec![9; 30];
    // 24x16 pixels of two bits, each row with a byte for its filter: stored without compression.
    let rows = vec![0_u8; 16 * 7];
    let length = (rows.len() as u16).to_le_bytes();
    let sum = rows.len() as u32 % 65521;
    let stored =
        [&[0x78, 1, 1][..], &length, &length.map(|b| !b), &rows, &(sum << 16 | 1).to_be_bytes()];
    let of = |palette: &[u8]| {
        let header = [0, 0, 0, 24, 0, 0, 0, 16, 2, 3, 0, 0, 0];
        let chunks = [
            (b"IHDR", &header[..]),
            (b"PLTE", palette),
            (b"IDAT", &stored.concat()),
            (b"IEND", &[]),
        ];
        let chunks = chunks.map(|(name, content)| chunk(name, content)).concat();
        let file = [&b"\x89PNG\r\n\x1a\n"[..], &chunks].concat();
        Decoder::default().decode(Frame::file(&file)).map(|p| p.to_picture().rgb)
    };
    assert_eq!(of(&palette).unwrap(), vec![9; 3 * 24 * 16]);
    palette.extend([1, 2]);
    let said = of(&palette).unwrap_err().to_string();
    assert!(said.contains("palette"), "{said}");
}

#[test]
fn compressed_pictures_come_back() {
    let mut decoder = Decoder::default();
    let file = jpeg_of(48, 32);
    let picture = decoder.decode(Frame::file(&file)).unwrap().to_picture();
    assert_eq!(picture.size, SIZE);
    let expected = colour(20, 10);
    let start = 3 * (10 * 48 + 20);
    for (actual, expected) in picture.rgb[start..start + 3].iter().zip(expected) {
        assert!(actual.abs_diff(expected) < 12, "{actual} where {expected} belongs");
    }
    let gray = image::GrayImage::from_fn(5, 3, |x, y| image::Luma([(10 * x + y) as u8]));
    for picture in [
        image::DynamicImage::from(gray.clone()),
        image::DynamicImage::from(gray.clone()).to_luma_alpha8().into(),
        image::DynamicImage::from(gray.clone()).to_rgb8().into(),
        image::DynamicImage::from(gray.clone()).to_rgba8().into(),
        image::DynamicImage::from(gray).to_luma16().into(),
    ] {
        let file = png_of(&picture);
        let rgb = decoder.decode(Frame::file(&file)).unwrap().to_picture().rgb;
        assert_eq!(&rgb[3 * (2 * 5 + 4)..], [42, 42, 42]);
    }
}

#[test]
fn broken_and_huge_pictures_are_refused_with_a_reason() {
    let mut decoder = Decoder::default();
    let mut check = |file: &[u8], expected: &str| {
        let error = decoder.decode(Frame::file(file)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    };
    let jpeg = jpeg_of(48, 32);
    check(&jpeg[..jpeg.len() / 2], "cut off");
    check(b"", "neither JPEG nor PNG");
    check(b"GIF89a....", "neither JPEG nor PNG");
    let png = png_of(&image::DynamicImage::new_rgb8(8, 8));
    check(&png[..png.len() / 2], "PNG picture");
    // The size fields of the headers, made absurd.
    let mut huge = jpeg.clone();
    let frame_header = huge.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    huge[frame_header + 5..frame_header + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    check(&huge, "65535x65535");
    let mut huge = png.clone();
    huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    check(&huge, "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a message says, decoding gives all its pixels or the message is refused.
    #[test]
    fn no_message_panics(
        name in proptest::sample::select(Encoding::NAMES),
        width in 0_u32..20,
        height in 0_u32..20,
        step in 0_usize..100,
        length in 0_usize..2000,
        is_bigendian: bool,
    ) {
        let bytes = vec![0x80; length];
        if let Ok(image) = RawImage::new(name, width, height, step, is_bigendian, &bytes) {
            let mut decoder = Decoder::default();
            let picture = decoder.decode(Frame::Raw(image)).unwrap().to_picture();
            prop_assert_eq!(picture.rgb.len(), 3 * (width * height) as usize);
        }
    }

    #[test]
    fn no_file_panics(start in 0_usize..2, noise: Vec<u8>, cut in 0_usize..600) {
        let mut file = if start == 0 { jpeg_of(16, 16) } else { png_of(&image::DynamicImage::new_rgb8(9, 7)) };
        let at = cut.min(file.len());
        let end = (at + noise.len()).min(file.len());
        file[at..end].copy_from_slice(&noise[..end - at]);
        let _ = Decoder::default().decode(Frame::file(&file));
    }
}
