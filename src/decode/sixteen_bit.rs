//! Grey and colour of 16 bits to 8 bits. Machine vision cameras put 10, 12 or 14 bits into the low
//! end of 16: of these the high byte alone is black.

use std::sync::Once;

use crate::frame::RawImage;

/// Bits that cameras use of 16.
const DEPTHS: [u32; 5] = [8, 10, 12, 14, 16];

/// The bits that hold the brightest of these values, as a camera would have them: 8, 10, 12, 14 or
/// 16. Values of 8 bits that were spread over 16 (times 256 or 257) use all of these, however dark
/// they are; black pictures count as 16 bits too.
pub(super) fn used_bits(values: impl Iterator<Item = u16>) -> u32 {
    let (mut any, mut is_doubled) = (0, true);
    for value in values {
        any |= value;
        is_doubled &= value >> 8 == value & 0xff;
    }
    if is_doubled || any & 0xff == 0 {
        return 16;
    }
    let bits = u16::BITS - any.leading_zeros();
    DEPTHS.into_iter().find(|depth| (1..=*depth).contains(&bits)).unwrap_or(16)
}

/// Appends the high eight of the used bits of each value, and says once that there are fewer
/// than 16.
pub(super) fn scale(values: impl Iterator<Item = u16> + Clone, bytes: &mut Vec<u8>) {
    static TOLD: Once = Once::new();
    let bits = used_bits(values.clone());
    if bits < 16 {
        TOLD.call_once(|| {
            tracing::warn!(
                "pictures of 16 bits use {bits}: each is scaled by the bits that its brightest pixel needs (8, 10, 12, 14 or 16)"
            );
        });
    }
    let shift = bits - 8;
    bytes.extend(values.map(|value| (value >> shift) as u8));
}

/// Fills `bytes` with the pixels of a picture of 16 bits a pixel, scaled.
pub(super) fn scale_image(image: &RawImage<'_>, bytes: &mut Vec<u8>) {
    let value = if image.is_bigendian() { u16::from_be_bytes } else { u16::from_le_bytes };
    let pixels = (0..image.height()).flat_map(|y| image.row(y).chunks_exact(2));
    bytes.clear();
    scale(pixels.map(|p| value([p[0], p[1]])), bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_scaled_by_the_bits_that_are_used() {
        let check = |values: &[u16], bits: u32, expected: &[u8]| {
            let mut bytes = Vec::new();
            assert_eq!(used_bits(values.iter().copied()), bits, "{values:?}");
            scale(values.iter().copied(), &mut bytes);
            assert_eq!(bytes, expected);
        };
        check(&[0, 200, 255], 8, &[0, 200, 255]);
        check(&[0, 512, 1023], 10, &[0, 128, 255]);
        check(&[0, 2048, 4095], 12, &[0, 128, 255]);
        check(&[8191, 16383], 14, &[127, 255]);
        check(&[0x1234, 0xffff], 16, &[0x12, 0xff]);
        check(&[0, 0x0300, 0x0200], 16, &[0, 3, 2]);
        check(&[0, 0x0303, 0x0202], 16, &[0, 3, 2]);
        check(&[0, 0], 16, &[0, 0]);
        check(&[], 16, &[]);
    }
}
