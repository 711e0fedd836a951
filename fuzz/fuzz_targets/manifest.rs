//! Manifests: any text is taken or refused with words; what is taken has sizes to work with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squeezenet_node::manifest::Manifest;

fuzz_target!(|text: &str| {
    match Manifest::parse(text) {
        Ok(manifest) => {
            let size = manifest.input_size();
            assert!(size.width > 0 && size.height > 0);
            assert!(!manifest.weights_sha256().is_empty());
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
});
