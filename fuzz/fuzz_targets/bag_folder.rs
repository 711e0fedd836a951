//! metadata.yaml and sqlite3 files: a folder with any bytes as both is opened and read as far as it goes. The first
//! byte says which of the two they are.
#![no_main]

use std::cell::OnceCell;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use squeezenet_node::bag::{Bag, Selection};

thread_local! {
    // In memory where the system has a file system for that.
    static FOLDER: OnceCell<PathBuf> = const { OnceCell::new() };
}

fn folder() -> PathBuf {
    let make = || {
        let shm = PathBuf::from("/dev/shm");
        let base = if shm.is_dir() { shm } else { std::env::temp_dir() };
        let folder = base.join(format!("squeezenet_fuzz_{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    FOLDER.with(|cell| cell.get_or_init(make).clone())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let folder = folder();
    let (metadata, database) = (folder.join("metadata.yaml"), folder.join("bag_0.db3"));
    let _ = std::fs::remove_file(&metadata);
    if kind % 2 == 0 {
        std::fs::write(&metadata, bytes).unwrap();
    } else {
        std::fs::write(&database, bytes).unwrap();
    }
    let Ok(bag) = Bag::open(&folder) else { return };
    if let Ok(messages) = bag.messages(&Selection::ALL) {
        let _ = messages.take(1000).count();
    }
});
