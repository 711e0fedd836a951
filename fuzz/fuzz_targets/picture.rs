//! Raw pictures of every encoding, size and step: refused, or decoded to just as many pixels as they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squeezenet_node::decode::Decoder;
use squeezenet_node::frame::{Encoding, Frame, RawImage};

fuzz_target!(|input: (u8, u32, u32, u32, bool, &[u8])| {
    let (encoding, width, height, step, is_bigendian, bytes) = input;
    let encoding = Encoding::NAMES[usize::from(encoding) % Encoding::NAMES.len()];
    // Small ones meet their bytes more often.
    for (width, height, step) in [(width, height, step), (width % 40, height % 40, step % 200)] {
        let Ok(image) = RawImage::new(encoding, width, height, step as usize, is_bigendian, bytes) else { continue };
        let mut decoder = Decoder::default();
        let Ok(pixels) = decoder.decode(Frame::Raw(image)) else { panic!("{encoding} is refused late") };
        let picture = pixels.to_picture();
        assert_eq!((picture.size.width, picture.size.height), (width, height));
        assert_eq!(picture.rgb.len(), 3 * width as usize * height as usize);
        // No more than the message brought: 4:2:0 has 1.5 bytes for 3.
        assert!(picture.rgb.len() <= 4 * bytes.len() + 16, "{} of {}", picture.rgb.len(), bytes.len());
    }
});
