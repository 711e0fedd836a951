//! Mutexes over values that are whole at any time, so that a thread that panicked over one spoils nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, be it that a thread panicked over it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
