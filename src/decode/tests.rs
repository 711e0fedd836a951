//! Every encoding, with and without row padding, against a picture of known colours.

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
                Encoding::Bayer8(pattern) => {
                    let channels = match pattern {
                        BayerPattern::Rggb => [[0, 1], [1, 2]],
                        BayerPattern::Bggr => [[2, 1], [1, 0]],
                        BayerPattern::Gbrg => [[1, 2], [0, 1]],
                        BayerPattern::Grbg => [[1, 0], [2, 1]],
                    };
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
fn mono16_takes_the_high_byte_in_either_endianness() {
    check("mono16", 0);
    let image = RawImage::new("mono16", 2, 1, 4, true, &[7, 1, 9, 1]).unwrap();
    let mut decoder = Decoder::default();
    let pixels = decoder.decode(Frame::Raw(image)).unwrap();
    assert_eq!(pixels.bytes, [7, 9]);
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

fn png_of(picture: &image::DynamicImage) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn compressed_pictures_come_back() {
    let mut decoder = Decoder::default();
    let file = jpeg_of(48, 32);
    let picture = decoder.decode(Frame::Compressed(&file)).unwrap().to_picture();
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
        let rgb = decoder.decode(Frame::Compressed(&file)).unwrap().to_picture().rgb;
        assert_eq!(&rgb[3 * (2 * 5 + 4)..], [42, 42, 42]);
    }
}

#[test]
fn broken_and_huge_pictures_are_refused_with_a_reason() {
    let mut decoder = Decoder::default();
    let mut check = |file: &[u8], expected: &str| {
        let error = decoder.decode(Frame::Compressed(file)).unwrap_err().to_string();
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
        let _ = Decoder::default().decode(Frame::Compressed(&file));
    }
}
