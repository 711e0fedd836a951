//! Message bytes of any kind are read or refused; what is read and written again reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squeezenet_node::message::{
    Classification, CompressedImage, Image, RosMessage, Text, TfMessage, read_camera_info,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = Image::read(bytes) {
        let _ = image.raw_image();
        let again = image.to_cdr();
        // A string ends at its first NUL when it is written.
        if !image.encoding.contains('\0') && !image.header.frame_id.contains('\0') {
            assert_eq!(Image::read(&again), Ok(image));
        }
    }
    let _ = CompressedImage::read(bytes);
    let _ = Classification::read(bytes);
    let _ = Text::read(bytes);
    let _ = TfMessage::read(bytes);
    let _ = read_camera_info(bytes);
});
