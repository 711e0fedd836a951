//! Whatever a file of what was learnt or a guard set holds: it is refused, or the correction is made of numbers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squeezenet_node::learning::{Footprint, GuardSet, Learner, State};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(guard) = GuardSet::read(bytes) {
        assert_eq!(guard.prior().size(), guard.channels() + 2);
    }
    let Ok((state, ..)) = State::from_bytes(bytes) else { return };
    let Some(channels) = state.statistics.size().checked_sub(2).filter(|count| *count <= 64) else { return };
    let mut learner = Learner::new(channels, Footprint::default(), None);
    if learner.restore(state)
        && let Some(correction) = learner.correction()
    {
        let added = correction.of(&vec![1.0; channels], 1.0);
        assert!(added.abs() <= 6.0);
    }
});
