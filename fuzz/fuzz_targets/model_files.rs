//! What stands beside a model: descriptors, networks. Any bytes are refused, or read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squeezenet_node::descriptor::Descriptors;
use squeezenet_node::session::graph;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(descriptors) = Descriptors::read(bytes) {
        assert!(descriptors.place.dimensions() < bytes.len());
        assert!(descriptors.place.maps().count() < bytes.len());
    }
    let _ = graph::shuffled(bytes, "segmentation");
    let _ = graph::has_8_bit_weights(bytes);
    let _ = graph::prune(bytes, &["segmentation"], None);
});
