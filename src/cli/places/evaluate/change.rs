//! The same view on another day: light, sharpness, noise, viewpoint.

use image::RgbImage;
use image::imageops::{self, FilterType};

use crate::geometry::Size;
use crate::result::Picture;

type Change = fn(&Picture) -> Picture;

/// All changes by name; the first is none.
pub const ALL: [(&str, Change); 8] = [
    ("none", Picture::clone),
    ("dark", |picture| tone(picture, |value| 0.5 * value)),
    ("bright", |picture| tone(picture, |value| 1.5 * value)),
    ("gamma 1.8", |picture| tone(picture, |value| value.powf(1.8))),
    ("blur", |picture| {
        with_image(picture, |image| imageops::blur(image, image.width() as f32 / 240.0))
    }),
    ("noise", noise),
    ("crop 8 %", |picture| part(picture, [0.08, 0.08, 0.92, 0.92])),
    ("shift 10 %", |picture| part(picture, [0.1, 0.0, 1.0, 1.0])),
];

fn with_image(picture: &Picture, change: impl Fn(&RgbImage) -> RgbImage) -> Picture {
    let (width, height) = (picture.size.width, picture.size.height);
    match RgbImage::from_raw(width, height, picture.rgb.clone()) {
        Some(image) => {
            let changed = change(&image);
            let size = Size::new(changed.width(), changed.height());
            Picture { size, rgb: changed.into_raw() }
        }
        None => picture.clone(),
    }
}

/// Values are 0 to 1.
fn tone(picture: &Picture, change: impl Fn(f32) -> f32) -> Picture {
    let value = |value: &u8| (255.0 * change(f32::from(*value) / 255.0)).clamp(0.0, 255.0) as u8;
    Picture { size: picture.size, rgb: picture.rgb.iter().map(value).collect() }
}

/// About normal noise of 12 grey levels, the same for every picture.
fn noise(picture: &Picture) -> Picture {
    let mut state = 0x2545_f491_u32;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / 16_777_216.0 - 0.5
    };
    // The sum of four has variance 4 / 12.
    let mut value = |value: &u8| {
        let sum = uniform() + uniform() + uniform() + uniform();
        (f32::from(*value) + 12.0 * sum * 3.0_f32.sqrt()).clamp(0.0, 255.0) as u8
    };
    Picture { size: picture.size, rgb: picture.rgb.iter().map(&mut value).collect() }
}

/// A part of the picture, given by its edges as shares, enlarged to the whole.
fn part(picture: &Picture, [left, top, right, bottom]: [f32; 4]) -> Picture {
    with_image(picture, |image: &RgbImage| {
        let (width, height) = (image.width(), image.height());
        let x = |share: f32| (share * width as f32) as u32;
        let y = |share: f32| (share * height as f32) as u32;
        let (from_x, from_y) = (x(left), y(top));
        let view = imageops::crop_imm(image, from_x, from_y, x(right) - from_x, y(bottom) - from_y);
        imageops::resize(&view.to_image(), width, height, FilterType::Triangle)
    })
}
