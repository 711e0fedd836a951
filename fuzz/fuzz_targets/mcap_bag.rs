//! Any bytes are indexed and read as an MCAP file, as far as they go.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use squeezenet_node::bag::Selection;
use squeezenet_node::bag::mcap_file::{McapMessages, learn_from_segments};
use squeezenet_node::bag::mcap_index::McapIndex;

fuzz_target!(|bytes: &[u8]| {
    let mut file = Cursor::new(bytes);
    let Ok(mut index) = McapIndex::scan(&mut file, bytes.len() as u64) else { return };
    if !index.is_complete {
        learn_from_segments(&mut file, &mut index);
    }
    // Nine bytes make a record; a packed chunk may hold many more. Enough is read to find harm.
    let messages = McapMessages::new(file, "fuzz.mcap".into(), &index, &Selection::ALL);
    let _ = messages.take(10_000).count();
});
