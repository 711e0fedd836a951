//! The process's arguments and the ROS 2 context that is made of them. rcl reads them by itself,
//! and r2r panics where rcl cannot: parameters are therefore taken out beforehand and read by
//! [`crate::parameter`], in the same way at start and when a file changes; of the rest rcl's own
//! words are passed on.

use std::ffi::{c_char, c_int};
use std::panic::{catch_unwind, set_hook, take_hook};
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::parameter::{Arguments, Given};

/// The array of the arguments, as the C library hands it to every program.
static ARGV: AtomicPtr<*mut c_char> = AtomicPtr::new(null_mut());

extern "C" fn remember(_: c_int, argv: *mut *mut c_char, _: *mut *mut c_char) {
    ARGV.store(argv, Ordering::Relaxed);
}

/// glibc calls these with the arguments before `main`; Rust's library learns of them likewise.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static REMEMBER: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = remember;

/// Takes the parameters out of the arguments, so that rcl does not see them.
///
/// # Errors
/// An argument that is no UTF-8, or a parameter that is not of the form `NAME:=VALUE`.
pub fn take_parameters() -> anyhow::Result<Vec<Given>> {
    let texts = std::env::args_os().map(|argument| {
        argument.into_string().map_err(|bad| anyhow::anyhow!("argument {bad:?} is not UTF-8"))
    });
    let arguments = texts.collect::<anyhow::Result<Vec<String>>>()?;
    let found = Arguments::of(&arguments).map_err(|reason| anyhow::anyhow!(reason))?;
    keep(&found.others);
    Ok(found.given)
}

/// Leaves these arguments alone in the process's array, as GLib and Qt do with what they have
/// handled.
fn keep(others: &[usize]) {
    let argv = ARGV.load(Ordering::Relaxed);
    if argv.is_null() {
        return;
    }
    // SAFETY: the array holds a pointer for each argument and a closing null, indices are of
    // arguments and in rising order, and no thread but this one runs yet that reads them.
    unsafe {
        for (to, from) in others.iter().enumerate() {
            *argv.add(to) = *argv.add(*from);
        }
        *argv.add(others.len()) = null_mut();
    }
}

/// The ROS 2 context.
///
/// # Errors
/// What rcl says of the arguments or of its log folder.
pub fn context() -> anyhow::Result<r2r::Context> {
    // r2r panics with rcl's words; they are passed on in a line and not as a panic.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let made = catch_unwind(r2r::Context::create);
    set_hook(hook);
    match made {
        Ok(Ok(context)) => Ok(context),
        Ok(Err(error)) => {
            let folder = log_folder();
            match std::fs::create_dir_all(&folder) {
                Err(reason) => anyhow::bail!(
                    "ROS 2 cannot be initialised: its log folder {} cannot be made ({reason}): set ROS_LOG_DIR or ROS_HOME",
                    folder.display()
                ),
                Ok(()) => anyhow::bail!(
                    "ROS 2 cannot be initialised: {error}; does {} take files?",
                    folder.display()
                ),
            }
        }
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or(panic.downcast_ref::<&str>().copied()).unwrap_or("rcl failed");
            anyhow::bail!("ROS 2 cannot be initialised: {}", without_places(words))
        }
    }
}

/// rcl's words in one line, without the lines of its source.
fn without_places(words: &str) -> String {
    let line: Vec<&str> = words.split_whitespace().collect();
    let line = line.join(" ");
    let mut kept = String::new();
    for part in line.split(", at ") {
        // What stands before the next `, at FILE:LINE` begins with the rest of this one.
        let rest = match part.split_once(".c:") {
            Some((file, rest)) if !kept.is_empty() && !file.contains(' ') => {
                rest.trim_start_matches(|letter: char| letter.is_ascii_digit())
            }
            _ => part,
        };
        kept.push_str(rest);
    }
    kept.trim_end().to_owned()
}

/// Where rcl writes its log, by the same rules.
fn log_folder() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = || folder("HOME").map(|home| PathBuf::from(home).join(".ros"));
    let own = folder("ROS_LOG_DIR").map(PathBuf::from);
    let in_home = || folder("ROS_HOME").map(PathBuf::from).or_else(home);
    own.or_else(|| in_home().map(|home| home.join("log"))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rcls_words_are_told_without_its_source() {
        let words = "Couldn't parse remap rule: '-r x'. Error: no rule, at ./src/rcl/arguments.c:1\n, at ./src/rcl/init.c:99";
        assert_eq!(without_places(words), "Couldn't parse remap rule: '-r x'. Error: no rule");
        assert_eq!(without_places("looked at a.c:1"), "looked at a.c:1");
    }
}
