//! YUV to RGB by the `yuv` crate's SIMD code: BT.601, limited range.

use yuv::{YuvBiPlanarImage, YuvConversionMode, YuvPackedImage, YuvRange, YuvStandardMatrix};

use crate::frame::{Encoding, RawImage};

const RANGE: YuvRange = YuvRange::Limited;
const MATRIX: YuvStandardMatrix = YuvStandardMatrix::Bt601;
const MODE: YuvConversionMode = YuvConversionMode::Balanced;

/// Fills `rgb` with the packed picture.
pub(super) fn convert(image: &RawImage<'_>, rgb: &mut Vec<u8>) {
    let (width, height, step) = (image.width(), image.height(), image.step());
    let rgb_stride = 3 * width;
    rgb.resize(rgb_stride as usize * height as usize, 0);
    let is_packed = matches!(image.encoding(), Encoding::Uyvy | Encoding::Yuyv);
    let rows = height as usize;
    let buffer_rows = match image.encoding() {
        Encoding::Nv24 => 3 * rows,
        Encoding::Nv12 | Encoding::Nv21 => rows + rows / 2,
        _ => rows,
    };
    // The crate wants whole rows; a buffer may end before the last row's padding does.
    let mut completed = Vec::new();
    let pixels = if image.pixels().len() < step * buffer_rows {
        completed.extend_from_slice(image.pixels());
        completed.resize(step * buffer_rows, 0);
        &completed
    } else {
        image.pixels()
    };
    let step = step as u32;
    let converted = if is_packed {
        let packed = YuvPackedImage {
            yuy: &pixels[..step as usize * rows],
            yuy_stride: step,
            width,
            height,
        };
        match image.encoding() {
            Encoding::Uyvy => yuv::uyvy422_to_rgb(&packed, rgb, rgb_stride, RANGE, MATRIX),
            _ => yuv::yuyv422_to_rgb(&packed, rgb, rgb_stride, RANGE, MATRIX),
        }
    } else {
        let (y_plane, uv_plane) = pixels.split_at(step as usize * rows);
        let uv_stride = if image.encoding() == Encoding::Nv24 { 2 * step } else { step };
        let planes =
            YuvBiPlanarImage { y_plane, y_stride: step, uv_plane, uv_stride, width, height };
        match image.encoding() {
            Encoding::Nv12 => yuv::yuv_nv12_to_rgb(&planes, rgb, rgb_stride, RANGE, MATRIX, MODE),
            Encoding::Nv21 => yuv::yuv_nv21_to_rgb(&planes, rgb, rgb_stride, RANGE, MATRIX, MODE),
            _ => yuv::yuv_nv24_to_rgb(&planes, rgb, rgb_stride, RANGE, MATRIX, MODE),
        }
    };
    // `RawImage` has checked every size that the conversion checks; should one be missing, a black
    // frame without a word would be worse than a line in the log.
    if let Err(error) = converted {
        tracing::error!("{} of {width}x{height}: {error}", image.encoding().name());
    }
}
