//! Pixels to the input tensor: crop, resize and normalise.
//!
//! Resizing is bilinear with support for the scale (anti-aliased), in 8 bits, as Pillow's
//! `BILINEAR` does it; the networks were trained and scored behind that.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeError, ResizeOptions, Resizer};

use crate::decode::{PixelLayout, Pixels};
use crate::geometry::{InputTransform, Rect, Size};
use crate::manifest::{ChannelOrder, InputSpec};
use crate::threads::{self, Threads};

/// Makes input tensors; keeps its buffers from frame to frame.
#[derive(Debug, Default)]
pub struct Preprocessor {
    threads: Threads,
    resizer: Resizer,
    unpadded: Vec<u8>,
    resized: Vec<u8>,
    tensor: Vec<f32>,
}

impl Preprocessor {
    /// One that resizes on those threads; [`Preprocessor::default`] does on the calling one.
    pub fn new(threads: Threads) -> Self {
        Self { threads, ..Self::default() }
    }

    /// The input tensor `[1, 3, H, W]`, row-major, H and W being `transform.input_size`.
    pub fn run(
        &mut self,
        pixels: &Pixels<'_>,
        transform: &InputTransform,
        input: &InputSpec,
    ) -> &[f32] {
        let Self { threads, resizer, unpadded, resized, tensor } = self;
        let size = transform.input_size;
        // Bars hold the mean, which is 0 once normalised.
        if transform.target_size != size {
            tensor.clear();
        }
        tensor.resize(3 * size.area(), 0.0);
        threads.run(|| {
            let resized = resize(pixels, transform, resizer, unpadded, resized);
            normalise(&resized, transform, input, tensor);
        });
        &self.tensor
    }
}

/// The part of the picture that the network sees, at the size in which it sees it.
fn resize<'a>(
    pixels: &Pixels<'a>,
    transform: &InputTransform,
    resizer: &mut Resizer,
    unpadded: &'a mut Vec<u8>,
    resized: &'a mut Vec<u8>,
) -> Pixels<'a> {
    let target = transform.target_size;
    let whole = Rect {
        left: 0.0,
        top: 0.0,
        width: f64::from(pixels.size.width),
        height: f64::from(pixels.size.height),
    };
    if transform.source == whole && target == pixels.size {
        return *pixels;
    }
    let bytes_per_pixel = pixels.layout.bytes_per_pixel();
    let rows = pixels.size.height as usize;
    let whole_rows = pixels.bytes.len() >= pixels.stride_bytes * rows;
    // A padded row is a wider picture's, cut off, if its bytes are a whole number of pixels.
    let source = if whole_rows && pixels.stride_bytes.is_multiple_of(bytes_per_pixel) {
        *pixels
    } else {
        unpadded.clear();
        for y in 0..pixels.size.height {
            unpadded.extend_from_slice(pixels.row(y));
        }
        let stride_bytes = pixels.size.width as usize * bytes_per_pixel;
        Pixels { stride_bytes, bytes: unpadded, ..*pixels }
    };
    resized.resize(target.area() * bytes_per_pixel, 0);
    let done = match bytes_per_pixel {
        1 => resize_typed::<U8>(&source, transform.source, target, resizer, resized),
        3 => resize_typed::<U8x3>(&source, transform.source, target, resizer, resized),
        _ => resize_typed::<U8x4>(&source, transform.source, target, resizer, resized),
    };
    // Sizes are over 0 and the source lies within the picture: nothing is left to go wrong. Should
    // it, a line on the log is better than a wrong answer without a word.
    if let Err(error) = done {
        tracing::error!("{} to {target}: {error}", pixels.size);
    }
    Pixels {
        layout: pixels.layout,
        size: target,
        stride_bytes: target.width as usize * bytes_per_pixel,
        bytes: resized,
    }
}

fn resize_typed<P: PixelTrait>(
    source: &Pixels<'_>,
    crop: Rect,
    target: Size,
    resizer: &mut Resizer,
    resized: &mut [u8],
) -> Result<(), ResizeError> {
    let stride_pixels = (source.stride_bytes / source.layout.bytes_per_pixel()) as u32;
    let rows = source.stride_bytes * source.size.height as usize;
    let wide =
        TypedImageRef::<P>::from_buffer(stride_pixels, source.size.height, &source.bytes[..rows])
            .map_err(|_| ResizeError::PixelTypesAreDifferent)?;
    let picture = TypedCroppedImage::new(wide, 0, 0, source.size.width, source.size.height)
        .map_err(|_| ResizeError::PixelTypesAreDifferent)?;
    let mut destination = TypedImage::<P>::from_buffer(target.width, target.height, resized)
        .map_err(|_| ResizeError::PixelTypesAreDifferent)?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(crop.left, crop.top, crop.width, crop.height)
        .use_alpha(false);
    resizer.resize_typed(&picture, &mut destination, &options)
}

/// Interleaved bytes to planes of `(pixel - mean) * scale`.
fn normalise(
    pixels: &Pixels<'_>,
    transform: &InputTransform,
    input: &InputSpec,
    tensor: &mut [f32],
) {
    let size = transform.input_size;
    let (left, top) = (transform.target_origin.0 as usize, transform.target_origin.1 as usize);
    let (width, plane_width) = (pixels.size.width as usize, size.width as usize);
    let offsets = {
        let [r, g, b] = pixels.layout.rgb_offsets();
        match input.channels {
            ChannelOrder::Rgb => [r, g, b],
            ChannelOrder::Bgr => [b, g, r],
        }
    };
    // A row of a plane, counted through all planes.
    let convert = |index: usize, out: &mut [f32]| {
        let (channel, y) = (index / size.height as usize, index % size.height as usize);
        if !(top..top + pixels.size.height as usize).contains(&y) {
            return;
        }
        let (offset, scale) = (offsets[channel], input.scale[channel]);
        let bias = -input.mean[channel] * scale;
        let row = pixels.row((y - top) as u32);
        let out = &mut out[left..left + width];
        match pixels.layout {
            PixelLayout::Gray => convert_row::<1>(row, offset, scale, bias, out),
            PixelLayout::Rgb | PixelLayout::Bgr => convert_row::<3>(row, offset, scale, bias, out),
            PixelLayout::Rgba | PixelLayout::Bgra => {
                convert_row::<4>(row, offset, scale, bias, out);
            }
        }
    };
    let share = (3 * size.height as usize).div_ceil(rayon::current_num_threads());
    let parts = tensor.chunks_mut(share * plane_width).enumerate().collect();
    threads::for_each(parts, |(part, rows): (usize, &mut [f32])| {
        for (index, out) in rows.chunks_exact_mut(plane_width).enumerate() {
            convert(part * share + index, out);
        }
    });
}

#[inline]
fn convert_row<const BYTES: usize>(
    row: &[u8],
    offset: usize,
    scale: f32,
    bias: f32,
    out: &mut [f32],
) {
    let (pixels, _) = row.as_chunks::<BYTES>();
    let offset = offset.min(BYTES - 1);
    for (value, pixel) in out.iter_mut().zip(pixels) {
        *value = f32::from(pixel[offset]) * scale + bias;
    }
}
