//! Places files: any bytes, also with the right length and checksum, are refused, or read the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use squeezenet_node::place::{Kind, Memory};

fuzz_target!(|bytes: &[u8]| {
    let _ = Memory::from_bytes(bytes);
    let mut whole = b"SQNPLACE\x01\0\0\0".to_vec();
    whole.extend((bytes.len() as u64).to_le_bytes());
    whole.extend(bytes);
    let digest = Sha256::digest(&whole);
    whole.extend(digest);
    let Ok(memory) = Memory::from_bytes(&whole) else { return };
    let Ok(again) = memory.to_bytes() else { panic!("what was read is not written") };
    assert_eq!(Memory::from_bytes(&again).map(|memory| memory.summary()), Ok(memory.summary()));
    let _ = memory.gallery(Kind::Place);
});
