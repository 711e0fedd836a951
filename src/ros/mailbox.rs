//! The newest frame of each camera, and whose turn it is.
//!
//! Senders are the cameras' drain tasks, the receiver is the inference thread; a slot holds one
//! frame, and a newer one replaces it. Closed by [`Mailboxes::close`], after which
//! [`Mailboxes::take`] gives [`Turn::End`].

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::lock::lock;

/// What the receiver has to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<T> {
    /// Answer this frame of that camera.
    Frame(usize, T),
    /// Look at the settings: they may be others.
    Wake,
    /// Stop.
    End,
}

/// A slot for each camera.
#[derive(Debug)]
pub struct Mailboxes<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    slots: BTreeMap<usize, Slot<T>>,
    /// What the camera served last had used when its frame was taken (the virtual time of
    /// start-time fair queueing, Goyal et al. 1996).
    now: f64,
    /// Whether frames are taken.
    is_listening: bool,
    is_closed: bool,
    is_woken: bool,
}

#[derive(Debug)]
struct Slot<T> {
    frame: Option<T>,
    /// Processing time used so far over the camera's weight: the least of them is served next.
    used: f64,
}

impl<T> Default for Mailboxes<T> {
    /// No cameras yet, and no frames are taken.
    fn default() -> Self {
        let state = State {
            slots: BTreeMap::new(),
            now: 0.0,
            is_listening: false,
            is_closed: false,
            is_woken: false,
        };
        Self { state: Mutex::new(state), filled: Condvar::new() }
    }
}

impl<T> Mailboxes<T> {
    /// Begins anew, after [`close`](Self::close): no cameras yet, and no frames are taken.
    pub fn open(&self) {
        let mut state = self.lock();
        state.slots.clear();
        (state.is_listening, state.is_closed, state.is_woken) = (false, false, false);
    }

    /// Whether frames are taken from now on; without, those that wait are dropped, and those that
    /// come.
    pub fn listen(&self, is_listening: bool) {
        let mut state = self.lock();
        state.is_listening = is_listening;
        state.slots.values_mut().for_each(|slot| slot.frame = None);
        state.is_woken = true;
        self.filled.notify_all();
    }

    /// Makes an empty slot for a camera.
    pub fn add(&self, camera: usize) {
        self.lock().slots.insert(camera, Slot { frame: None, used: 0.0 });
    }

    /// Takes a camera's slot away; frames that still come for it are dropped.
    pub fn remove(&self, camera: usize) {
        self.lock().slots.remove(&camera);
    }

    /// Puts a camera's newest frame; gives the older one that it replaces.
    pub fn put(&self, camera: usize, frame: T) -> Option<T> {
        let mut state = self.lock();
        if !state.is_listening {
            return None;
        }
        let now = state.now;
        let slot = state.slots.get_mut(&camera)?;
        if slot.frame.is_none() {
            // One that was idle has no claim on the past.
            slot.used = slot.used.max(now);
        }
        let replaced = slot.frame.replace(frame);
        self.filled.notify_one();
        replaced
    }

    /// Waits for a frame and takes that of the camera which has used least.
    pub fn take(&self) -> Turn<T> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return Turn::End;
            }
            if std::mem::take(&mut state.is_woken) {
                return Turn::Wake;
            }
            let slots = state.slots.iter_mut();
            let next = slots
                .filter(|(_, slot)| slot.frame.is_some())
                .min_by(|(_, a), (_, b)| a.used.total_cmp(&b.used));
            if let Some((&camera, slot)) = next
                && let Some(frame) = slot.frame.take()
            {
                state.now = slot.used;
                return Turn::Frame(camera, frame);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Books the processing time of a camera's frame, in seconds over its weight.
    pub fn charge(&self, camera: usize, seconds: f64, weight: f64) {
        if let Some(slot) = self.lock().slots.get_mut(&camera) {
            slot.used += seconds / weight.max(f64::MIN_POSITIVE);
        }
    }

    /// Makes the receiver look at the settings.
    pub fn wake(&self) {
        self.lock().is_woken = true;
        self.filled.notify_all();
    }

    /// Ends the receiver.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailboxes<T: std::fmt::Debug + PartialEq>(cameras: usize) -> Mailboxes<T> {
        let mailboxes = Mailboxes::default();
        (0..cameras).for_each(|camera| mailboxes.add(camera));
        mailboxes.listen(true);
        assert_eq!(mailboxes.take(), Turn::Wake);
        mailboxes
    }

    #[test]
    fn frames_are_taken_while_it_listens() {
        let mailboxes = mailboxes(1);
        mailboxes.put(0, "waits");
        mailboxes.listen(false);
        assert_eq!(mailboxes.put(0, "late"), None);
        assert_eq!(mailboxes.take(), Turn::Wake, "the frame that waited is dropped");
        mailboxes.close();
        assert_eq!(mailboxes.take(), Turn::End);
        mailboxes.open();
        mailboxes.add(0);
        mailboxes.put(0, "early");
        mailboxes.listen(true);
        mailboxes.put(0, "in time");
        assert_eq!(mailboxes.take(), Turn::Wake);
        assert_eq!(mailboxes.take(), Turn::Frame(0, "in time"));
    }

    #[test]
    fn a_camera_that_has_gone_is_not_served() {
        let mailboxes = mailboxes(2);
        mailboxes.put(0, "front");
        mailboxes.put(1, "rear");
        mailboxes.remove(0);
        assert_eq!(mailboxes.put(0, "late"), None);
        assert_eq!(mailboxes.take(), Turn::Frame(1, "rear"));
        mailboxes.close();
        assert_eq!(mailboxes.take(), Turn::End);
    }

    #[test]
    fn a_newer_frame_replaces_the_one_that_waits() {
        let mailboxes = mailboxes(1);
        assert_eq!(mailboxes.put(0, 1), None);
        assert_eq!(mailboxes.put(0, 2), Some(1));
        assert_eq!(mailboxes.take(), Turn::Frame(0, 2));
        mailboxes.wake();
        assert_eq!(mailboxes.take(), Turn::Wake);
        mailboxes.close();
        assert_eq!(mailboxes.take(), Turn::End);
    }

    fn served(weights: &[f64], rounds: usize) -> Vec<usize> {
        let mailboxes = mailboxes(weights.len());
        let mut counts = vec![0; weights.len()];
        for _ in 0..rounds {
            for camera in 0..weights.len() {
                mailboxes.put(camera, ());
            }
            let Turn::Frame(camera, ()) = mailboxes.take() else { panic!("no frame") };
            mailboxes.charge(camera, 0.01, weights[camera]);
            counts[camera] += 1;
        }
        counts
    }

    #[test]
    fn busy_cameras_share_by_weight() {
        assert_eq!(served(&[1.0, 1.0, 1.0, 1.0], 400), [100, 100, 100, 100]);
        assert_eq!(served(&[3.0, 1.0], 400), [300, 100]);
    }

    #[test]
    fn a_camera_that_was_idle_does_not_starve_the_others() {
        let mailboxes = mailboxes(2);
        for _ in 0..1000 {
            mailboxes.put(0, ());
            assert_eq!(mailboxes.take(), Turn::Frame(0, ()));
            mailboxes.charge(0, 0.01, 1.0);
        }
        let mut counts = [0, 0];
        for _ in 0..100 {
            mailboxes.put(0, ());
            mailboxes.put(1, ());
            let Turn::Frame(camera, ()) = mailboxes.take() else { panic!("no frame") };
            mailboxes.charge(camera, 0.01, 1.0);
            counts[camera] += 1;
        }
        assert!(counts[0] >= 49, "{counts:?}");
    }
}
