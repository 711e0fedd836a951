//! Sizes and the mapping between the camera's picture and the network's input.

use serde::{Deserialize, Serialize};

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// `width` x `height` pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Pixels in all.
    pub const fn area(self) -> usize {
        self.width as usize * self.height as usize
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// How a picture of any shape becomes the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// The whole picture without bars, its aspect kept, about as many pixels as the input size
    /// has, or as the picture has if that is fewer: the network's input takes the picture's shape.
    #[default]
    Aspect,
    /// The whole picture, stretched to the input size.
    Stretch,
    /// The whole picture, its aspect kept, bars of the mean colour beside it.
    Letterbox,
    /// The short side to `resize_short_side`, then the centre: the usual ImageNet protocol.
    Crop,
}

/// Of what size the mask is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaskSize {
    /// The camera picture's.
    Source,
    /// The network input's.
    Network,
    /// The network's own output's, which has the fewest pixels.
    Grid,
}

/// An axis-parallel rectangle in pixels of some picture; edges, not pixel centres.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Width, over 0.
    pub width: f64,
    /// Height, over 0.
    pub height: f64,
}

/// Where the network's input comes from: `source` of the picture is resampled to `target` of the
/// tensor, the rest of the tensor is filled with the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputTransform {
    /// The picture's size.
    pub image_size: Size,
    /// The tensor's size.
    pub input_size: Size,
    /// The part of the picture that the network sees, in picture pixels.
    pub source: Rect,
    /// Where it stands in the tensor, in whole tensor pixels: left, top.
    pub target_origin: (u32, u32),
    /// Its size there.
    pub target_size: Size,
}

impl InputTransform {
    /// `image_from_tensor`: picture = scale * tensor + offset, for x and y, in edge coordinates
    /// (pixel `i` covers `i..i+1`).
    pub fn image_from_tensor(&self) -> [(f64, f64); 2] {
        let axis = |start: f64, length: f64, origin: u32, size: u32| {
            let scale = length / f64::from(size);
            (scale, start - scale * f64::from(origin))
        };
        [
            axis(self.source.left, self.source.width, self.target_origin.0, self.target_size.width),
            axis(
                self.source.top,
                self.source.height,
                self.target_origin.1,
                self.target_size.height,
            ),
        ]
    }

    /// The same of a mask of that kind and size: picture = scale * mask + offset.
    pub fn image_from_mask(&self, kind: MaskSize, mask: Size) -> [(f64, f64); 2] {
        if kind == MaskSize::Source {
            return [(1.0, 0.0); 2];
        }
        let [(sx, ox), (sy, oy)] = self.image_from_tensor();
        let input = self.input_size;
        let cells = |input: u32, mask: u32| f64::from(input) / f64::from(mask.max(1));
        [(sx * cells(input.width, mask.width), ox), (sy * cells(input.height, mask.height), oy)]
    }
}

/// What the sides of an input of [`Fit::Aspect`] are multiples of, at least.
pub const ASPECT_MULTIPLE: u32 = 8;

/// The size of an input in the proportions of `image`: sides of whole multiples of `multiple`, at
/// least 64, with at most about the area of `input`. Enlarging a picture adds no detail, and
/// objects that fill it then are larger than any that the networks were trained on.
pub fn aspect_size(image: Size, input: Size, multiple: u32) -> Size {
    let (w, h) = (f64::from(image.width), f64::from(image.height));
    let multiple = multiple.max(1);
    let scale = (input.area() as f64 / (w * h)).sqrt().min(1.0);
    let least = 64_u32.next_multiple_of(multiple);
    let most = (4096 / multiple * multiple).max(least);
    let side = |length: f64| {
        let units = (length * scale / f64::from(multiple)).round() as u32;
        (units * multiple).clamp(least, most)
    };
    Size::new(side(w), side(h))
}

/// Places a picture of `image` pixels in an input of nominally `input` pixels.
///
/// `resize_short_side` is the short side before the centre crop and used by [`Fit::Crop`] alone.
/// [`Fit::Aspect`] gives the sides of [`aspect_size`].
pub fn input_transform(
    image: Size,
    input: Size,
    fit: Fit,
    resize_short_side: u32,
) -> InputTransform {
    let (w, h) = (f64::from(image.width), f64::from(image.height));
    let whole = Rect { left: 0.0, top: 0.0, width: w, height: h };
    let filled = |input_size: Size, source: Rect| InputTransform {
        image_size: image,
        input_size,
        source,
        target_origin: (0, 0),
        target_size: input_size,
    };
    match fit {
        Fit::Stretch => filled(input, whole),
        Fit::Aspect => filled(aspect_size(image, input, ASPECT_MULTIPLE), whole),
        Fit::Letterbox => {
            let scale = (f64::from(input.width) / w).min(f64::from(input.height) / h);
            let side = |length: f64, most: u32| ((length * scale).round() as u32).clamp(1, most);
            let target_size = Size::new(side(w, input.width), side(h, input.height));
            InputTransform {
                image_size: image,
                input_size: input,
                source: whole,
                target_origin: (
                    (input.width - target_size.width) / 2,
                    (input.height - target_size.height) / 2,
                ),
                target_size,
            }
        }
        Fit::Crop => {
            // The protocol resizes the whole picture, the long side rounded down, and cuts the
            // centre out of that, at whole pixels; the same pixels come from cutting first.
            let short = w.min(h);
            let scale = f64::from(resize_short_side) / short;
            let resized = |length: f64| (length * scale + 1e-9).floor().max(1.0);
            let cut = |length: f64, size: u32| {
                let all = resized(length);
                let size = f64::from(size);
                let start = ((all - size) / 2.0).round_ties_even();
                (start * length / all, size * length / all)
            };
            let (left, width) = cut(w, input.width);
            let (top, height) = cut(h, input.height);
            filled(input, Rect { left, top, width, height })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_in_the_pictures_proportions_are_multiples_that_the_network_takes() {
        let check = |image: (u32, u32), multiple: u32, expected: (u32, u32)| {
            let size = aspect_size(Size::new(image.0, image.1), Size::new(480, 360), multiple);
            assert_eq!(size, Size::new(expected.0, expected.1), "{image:?} by {multiple}");
        };
        check((640, 480), 8, (480, 360));
        check((640, 480), 32, (480, 352));
        check((1920, 1080), 32, (544, 320));
        check((1, 4000), 32, (64, 4000));
        check((1, 4000), 24, (72, 4008));
        check((1, 9000), 24, (72, 4080));
        check((64, 64), 32, (64, 64));
    }
}
