//! Transforms in any order, with any numbers: a lookup gives numbers or says what is missing, and ends.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use squeezenet_node::ground::tf_buffer::{At, TfBuffer};
use squeezenet_node::ground::transform::from_parts;

#[derive(Debug, Arbitrary)]
enum Step {
    Insert { parent: u8, child: u8, stamp: i64, translation: [f64; 3], rotation: [f64; 4], is_static: bool },
    Lookup { to: u8, from: u8, stamp: i64, is_newest: bool },
    Forget,
}

fn name(index: u8) -> String {
    format!("/frame{}", index % 12)
}

fuzz_target!(|steps: Vec<Step>| {
    let mut buffer = TfBuffer::default();
    for step in steps {
        match step {
            Step::Insert { parent, child, stamp, translation, rotation, is_static } => {
                let Some(transform) = from_parts(translation, rotation) else { continue };
                buffer.insert(&name(parent), &name(child), stamp, transform, is_static);
            }
            Step::Lookup { to, from, stamp, is_newest } => {
                let at = if is_newest { At::Newest } else { At::Stamp(stamp) };
                if let Ok(found) = buffer.lookup(&name(to), &name(from), at) {
                    let length = found.rotation.as_ref().norm();
                    assert!((length - 1.0).abs() < 1e-3, "a rotation of length {length}");
                }
            }
            Step::Forget => buffer.forget_motion(),
        }
    }
});
