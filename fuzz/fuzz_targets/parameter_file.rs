//! Any text is taken as a parameter file, whole, or refused with a line of it, and nothing taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squeezenet_node::parameter::{Store, parse};

fuzz_target!(|text: &str| {
    // YAML's line ends with a lone carriage return too.
    let lines = text.chars().filter(|c| matches!(c, '\n' | '\r')).count() as u64 + 1;
    let entries = match parse(text, "/squeezenet") {
        Ok(entries) => entries,
        Err(refusal) => {
            assert!((1..=lines).contains(&refusal.line), "{refusal} in a file of {lines} lines");
            return;
        }
    };
    let Ok(mut store) = Store::new(&[]) else { panic!("the defaults are not allowed") };
    let (before, names) = (store.settings(), store.names());
    match store.apply_file(&entries, |_| Ok(())) {
        Err(refusal) => {
            assert!((1..=lines).contains(&refusal.line), "{refusal} in a file of {lines} lines");
            assert_eq!(
                store.settings(),
                before,
                "something of a refused file was taken: {refusal}"
            );
            assert_eq!(store.names(), names);
        }
        Ok(_) => {
            for name in store.names() {
                assert!(store.get(&name).is_some(), "{name} is declared and has no value");
            }
            let taken = store.settings();
            assert_eq!(
                store.apply_file(&entries, |_| Ok(())),
                Ok(vec![]),
                "the same file is no change"
            );
            assert_eq!(store.settings(), taken);
            assert!(store.apply_file(&[], |_| Ok(())).is_ok());
            assert_eq!(store.settings(), before, "keys that are gone return to their defaults");
            assert_eq!(store.names(), names);
        }
    }
});
