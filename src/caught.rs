//! Panics that are expected of somebody else's code, and answered where they happen.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Result;

thread_local! {
    static CATCHING: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work`; of a panic in it the result tells, and a panic hook can see by [`is_catching`] that
/// nothing has failed. What `work` has half changed is not to be used after that.
///
/// # Errors
/// The panic's payload.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T> {
    CATCHING.set(CATCHING.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(CATCHING.get() - 1);
    result
}

/// Whether a panic of this thread is one that [`catch`] answers.
pub fn is_catching() -> bool {
    CATCHING.get() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_the_thread_is_as_before() {
        assert!(!is_catching());
        assert_eq!(catch(|| catch(|| 1).unwrap() + i32::from(is_catching())).unwrap(), 2);
        assert!(catch(|| -> i32 { panic!("on purpose") }).is_err());
        assert!(!is_catching());
    }
}
