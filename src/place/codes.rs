//! The vectors of a gallery, in memory that is quick to read through.

use std::ops::Deref;

use rustix::mm::Advice;
use serde::{Deserialize, Deserializer, Serialize};

/// From so many bytes on huge pages are asked for.
const MANY: usize = 4 << 20;
/// What `madvise` wants addresses to be a multiple of.
const PAGE: usize = 4096;

/// Bytes one behind the other. A search reads all of them: where there are many they lie in huge
/// pages, if the system has some, which saves a fifth to a quarter of the time.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Codes(Vec<i8>);

impl Codes {
    fn with_capacity(capacity: usize) -> Self {
        let mut values = Vec::<i8>::with_capacity(capacity);
        if values.capacity() >= MANY {
            let start = values.as_mut_ptr();
            let before = start.align_offset(PAGE);
            let pages = start.wrapping_add(before).cast();
            let len = values.capacity().saturating_sub(before) / PAGE * PAGE;
            // SAFETY: the pages lie within an allocation of ours, and the advice changes nothing of
            // what they hold. A system without huge pages refuses it, which is as well.
            let _ = unsafe { rustix::mm::madvise(pages, len, Advice::LinuxHugepage) };
        }
        Self(values)
    }

    /// The product of each code with one of that length.
    pub fn dots(&self, code: &[i8]) -> Vec<f32> {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just said that it has AVX2.
            return unsafe { self.dots_avx2(code) };
        }
        self.dots_with(code)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn dots_avx2(&self, code: &[i8]) -> Vec<f32> {
        self.dots_with(code)
    }

    #[inline(always)]
    fn dots_with(&self, code: &[i8]) -> Vec<f32> {
        // As wide as products of pairs want them, once for all.
        let code: Vec<i16> = code.iter().map(|value| i16::from(*value)).collect();
        let mut dots = vec![0.0; self.0.len() / code.len().max(1)];
        // A loop: what `collect` makes of it does not know of AVX2.
        for (dot, other) in dots.iter_mut().zip(self.0.chunks_exact(code.len().max(1))) {
            *dot = product(&code, other);
        }
        dots
    }

    /// Puts a code behind the others.
    pub fn push(&mut self, code: &[i8]) {
        let len = self.0.len() + code.len();
        if len > self.0.capacity() {
            let mut grown = Self::with_capacity(len.next_power_of_two());
            grown.0.extend_from_slice(&self.0);
            *self = grown;
        }
        self.0.extend_from_slice(code);
    }
}

/// The product of two codes.
#[inline(always)]
pub fn product<T: Copy + Into<i32>>(a: &[T], b: &[i8]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (*a).into() * i32::from(*b)).sum::<i32>() as f32
}

impl Deref for Codes {
    type Target = [i8];

    fn deref(&self) -> &[i8] {
        &self.0
    }
}

impl Clone for Codes {
    fn clone(&self) -> Self {
        let mut clone = Self::with_capacity(self.0.len());
        clone.push(&self.0);
        clone
    }
}

impl<'de> Deserialize<'de> for Codes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|values| Self(values).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_those_of_each_code() {
        for len in [1, 15, 16, 33, 512] {
            let codes: Vec<i8> = (0..7 * len).map(|i| (i * 89 % 255 - 127) as i8).collect();
            let code: Vec<i8> = (0..len).map(|i| (127 - i * 37 % 255) as i8).collect();
            let expected: Vec<f32> =
                codes.chunks(len as usize).map(|other| product(&code, other)).collect();
            let codes = Codes(codes);
            assert_eq!(codes.dots(&code), expected);
            assert_eq!(codes.dots_with(&code), expected);
        }
        assert_eq!(product(&[-127_i8; 512], &[127; 512]), -127.0 * 127.0 * 512.0);
        assert!(Codes::default().dots(&[1, 2]).is_empty());
    }

    #[test]
    fn many_codes_stay_what_they_are() {
        let code: Vec<i8> = (0..1 << 10).map(|i| i as i8).collect();
        let mut codes = Codes::default();
        let count = 2 * MANY / code.len() + 1;
        (0..count).for_each(|_| codes.push(&code));
        assert_eq!(codes.len(), count * code.len());
        assert!(codes.chunks(code.len()).all(|stored| stored == code));
        assert_eq!(codes.clone(), codes);
        let bytes = postcard::to_stdvec(&codes).unwrap();
        assert_eq!(bytes, postcard::to_stdvec(&codes.to_vec()).unwrap());
        assert_eq!(postcard::from_bytes::<Codes>(&bytes).unwrap(), codes);
    }
}
