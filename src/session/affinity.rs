//! Which processors the inference threads may run on.
//!
//! A pool thread that sleeps between frames is woken by the calling thread, and Linux likes to put
//! it on the caller's own processor. The caller then spins for an answer from a thread that it
//! keeps from running, until the scheduler moves one of them, milliseconds later. So the
//! processors are shared out in as many groups as there are threads, the caller the first: no two
//! threads of the pool meet, and each can still leave a busy processor for another of its group.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process may use: as the first thread that asks finds it, before any is
/// kept on some of them.
fn allowed() -> Option<&'static CpuSet> {
    static ALLOWED: OnceLock<Option<CpuSet>> = OnceLock::new();
    ALLOWED.get_or_init(|| sched_getaffinity(None).ok()).as_ref()
}

/// Lets the calling thread run on all processors of this process again.
///
/// # Errors
/// The system's.
pub fn release_caller() -> std::io::Result<()> {
    match allowed() {
        Some(allowed) => Ok(sched_setaffinity(None, allowed)?),
        None => Ok(()),
    }
}

/// A group of processors for each inference thread, the calling one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadAffinity {
    groups: Vec<Vec<usize>>,
}

impl ThreadAffinity {
    /// Shares out the processors that this process may use; `None` where there is one thread, or
    /// fewer processors than threads, or the system does not tell.
    pub fn new(threads: usize) -> Option<Self> {
        let allowed = allowed()?;
        let processors: Vec<usize> =
            (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        Self::of(&processors, threads)
    }

    fn of(processors: &[usize], threads: usize) -> Option<Self> {
        if threads < 2 || processors.len() < threads {
            return None;
        }
        let bound = |thread: usize| thread * processors.len() / threads;
        let groups = (0..threads).map(|i| processors[bound(i)..bound(i + 1)].to_vec()).collect();
        Some(Self { groups })
    }

    /// ONNX Runtime's `session.intra_op_thread_affinities`: the groups of all threads but the
    /// caller, processors counted from 1.
    pub fn pool(&self) -> String {
        let group = |cpus: &Vec<usize>| {
            cpus.iter().map(|cpu| (cpu + 1).to_string()).collect::<Vec<_>>().join(",")
        };
        self.groups.iter().skip(1).map(group).collect::<Vec<_>>().join(";")
    }

    /// Keeps the calling thread on a group; on the first, if it is the one that runs the network.
    ///
    /// # Errors
    /// The system's.
    pub fn pin_caller(&self, group: usize) -> std::io::Result<()> {
        let mut set = CpuSet::new();
        self.groups[group % self.groups.len()].iter().for_each(|&cpu| set.set(cpu));
        Ok(sched_setaffinity(None, &set)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_shared_out_without_overlap() {
        let pool = |cpus: &[usize], threads| {
            ThreadAffinity::of(cpus, threads).map(|affinity| affinity.pool())
        };
        assert_eq!(pool(&[0, 1], 2).as_deref(), Some("2"));
        assert_eq!(pool(&[0, 1, 2, 3, 4, 5, 6, 7], 4).as_deref(), Some("3,4;5,6;7,8"));
        assert_eq!(pool(&[3, 5, 9], 2).as_deref(), Some("6,10"));
        assert_eq!(pool(&[0, 1, 2], 1), None);
        assert_eq!(pool(&[0], 2), None);
    }

    #[test]
    fn the_caller_moves_to_its_group() {
        let Some(affinity) = ThreadAffinity::new(2) else {
            eprintln!("skipped: one processor only");
            return;
        };
        affinity.pin_caller(0).unwrap();
        let allowed = sched_getaffinity(None).unwrap();
        let now: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        assert_eq!(now, affinity.groups[0]);
        release_caller().unwrap();
        let released = sched_getaffinity(None).unwrap();
        let all = affinity.groups.concat();
        assert!(all.iter().all(|&cpu| released.is_set(cpu)), "it may run anywhere again");
    }
}
