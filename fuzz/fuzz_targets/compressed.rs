//! Compressed pictures: any bytes are decoded to a picture of the size that they say, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squeezenet_node::decode::Decoder;
use squeezenet_node::frame::Frame;

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::default();
    if let Ok(pixels) = decoder.decode(Frame::Compressed(bytes)) {
        let picture = pixels.to_picture();
        assert_eq!(picture.rgb.len(), 3 * picture.size.width as usize * picture.size.height as usize);
        assert!(!picture.rgb.is_empty());
    }
});
