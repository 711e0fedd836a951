//! Which arithmetic, how many threads and which provider: measured on this machine, remembered in a
//! file, so that the next start need not ask again.
//!
//! Int8 is slower than fp32 on some processors, a second thread is worth little on others, and a
//! provider that a runtime offers may be worse than none. None of it can be told beforehand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Network, NetworkError, processors};
use crate::atomic_file;
use crate::manifest::{Manifest, Model, hexadecimal};
use crate::settings::{ModelSettings, Precision, Provider};

/// Runs of each contender in a comparison; they take turns, and medians are compared.
const RUNS: usize = 9;
/// A contender that takes more threads, memory or accuracy has to be so much faster.
const WORTHWHILE: f64 = 0.95;
/// More threads than this bring little for a net this small.
const MOST_THREADS: usize = 4;
const VERSION: u32 = 2;

/// How a network is run; never `Auto`, never 0 threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Where ONNX Runtime computes.
    pub provider: Provider,
    /// Arithmetic.
    pub precision: Precision,
    /// Threads, the calling one included.
    pub threads: usize,
}

impl std::fmt::Display for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { provider, precision, threads } = self;
        let plural = if *threads == 1 { "" } else { "s" };
        write!(f, "{} on {}, {threads} thread{plural}", precision.name(), provider.name())
    }
}

/// Threads where nobody asks for a number and nothing is measured.
pub fn default_threads() -> usize {
    processors().clamp(1, MOST_THREADS)
}

/// What the settings leave open, the cheapest first. `offered` are the providers of the runtime;
/// `threads` those to try where the settings say 0.
pub fn candidates(
    manifest: &Manifest,
    settings: &ModelSettings,
    offered: &[Provider],
    threads: &[usize],
) -> Vec<Execution> {
    let providers = match settings.provider {
        // TensorRT builds its engine for minutes: it has to be asked for.
        Provider::Auto => offered.iter().copied().filter(|p| *p != Provider::Tensorrt).collect(),
        provider => vec![provider],
    };
    let threads = match settings.threads {
        0 => threads.to_vec(),
        threads => vec![threads],
    };
    let precisions = match settings.precision {
        Precision::Auto => vec![Precision::Fp32, Precision::Int8],
        precision => vec![precision],
    };
    let mut all = Vec::new();
    for provider in providers {
        for &threads in &threads {
            for &precision in &precisions {
                let is_there = manifest.file(precision).is_some();
                let is_open = settings.precision == Precision::Auto;
                let is_fit = precision != Precision::Int8 || provider.runs_int8();
                if (is_there && is_fit) || !is_open {
                    all.push(Execution { provider, precision, threads });
                }
            }
        }
    }
    all
}

/// The candidate that is most like another execution: that itself, or with other arithmetic.
pub fn nearest(candidates: &[Execution], like: Execution) -> Option<Execution> {
    let is_near = |candidate: &&Execution| {
        candidate.provider == like.provider && candidate.threads == like.threads
    };
    let exact = candidates.iter().find(|candidate| **candidate == like);
    exact.or_else(|| candidates.iter().find(is_near)).copied()
}

/// Loads the candidates one after the other, each against the best so far, and keeps the faster.
/// Of those but the first that cannot run it is said why.
///
/// # Errors
/// Why none of them can run.
pub fn fastest(
    model: &Arc<Model>,
    candidates: &[Execution],
    pin_threads: bool,
) -> Result<Network, NetworkError> {
    let mut best: Option<Network> = None;
    let mut failure = None;
    for candidate in candidates {
        let challenger = match Network::with(model, *candidate, pin_threads) {
            Ok(network) => network,
            Err(error) => {
                if candidates.len() > 1 {
                    tracing::warn!("{candidate}: {error}");
                }
                failure.get_or_insert(error);
                continue;
            }
        };
        let is_choice = candidates.iter().any(|other| other.precision != candidate.precision);
        if let Some(warning) = challenger.warning.as_ref().filter(|_| is_choice) {
            tracing::warn!("{candidate} is passed over: {warning}");
            continue;
        }
        best = Some(match best {
            None => challenger,
            Some(champion) => faster(champion, challenger)?,
        });
    }
    match (best, failure) {
        (Some(best), _) => {
            best.log_warning();
            Ok(best)
        }
        (None, Some(error)) => Err(error),
        (None, None) => Err(NetworkError::Session {
            model: model.manifest.name.clone(),
            reason: "it has no file of the precision that is asked for".to_owned(),
        }),
    }
}

/// Runs the two in turn; the second wins if it is worth its while.
fn faster(mut champion: Network, mut challenger: Network) -> Result<Network, NetworkError> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        times.push((champion.measure()?, challenger.measure()?));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let old = median(times.iter().map(|pair| pair.0).collect());
    let new = median(times.iter().map(|pair| pair.1).collect());
    tracing::info!(
        "measured: {} {old:.1?}, {} {new:.1?}",
        champion.execution(),
        challenger.execution()
    );
    let is_better = new.as_secs_f64() < WORTHWHILE * old.as_secs_f64();
    Ok(if is_better { challenger } else { champion })
}

/// What was measured, by what it depends on.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    version: u32,
    fastest: BTreeMap<String, Execution>,
}

/// What a measurement holds for: the processor, the runtime, the model's files, and what was
/// left open.
pub fn key(manifest: &Manifest, candidates: &[Execution], runtime: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(processor_flags());
    digest.update(runtime);
    for file in &manifest.files {
        digest.update(&file.sha256);
    }
    for candidate in candidates {
        digest.update(candidate.to_string());
    }
    let short = hexadecimal(&digest.finalize()[..8]);
    format!("{} x{}, {}, {short}", processor_name(), processors(), manifest.name)
}

fn processor_line(starts: &str) -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(starts))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn processor_name() -> String {
    processor_line("model name")
        .or_else(|| processor_line("Hardware"))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn processor_flags() -> String {
    processor_line("flags").or_else(|| processor_line("Features")).unwrap_or_default()
}

/// What is remembered under a key; nothing where the file is missing or cannot be read.
pub fn recall(path: &Path, key: &str) -> Option<Execution> {
    read(path).fastest.get(key).copied()
}

fn read(path: &Path) -> Memory {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let memory: Memory = serde_json::from_str(&text).unwrap_or_default();
    if memory.version == VERSION { memory } else { Memory::default() }
}

/// Remembers the fastest under a key, beside what is remembered already.
///
/// # Errors
/// The file's.
pub fn remember(path: &Path, key: &str, fastest: Execution) -> std::io::Result<()> {
    let mut memory = read(path);
    memory.version = VERSION;
    memory.fastest.insert(key.to_owned(), fastest);
    let mut text = serde_json::to_string_pretty(&memory)?;
    text.push('\n');
    atomic_file::write(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/squeezenet1_1_street.yaml");
        serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn shown(settings: &ModelSettings, offered: &[Provider]) -> Vec<String> {
        let all = candidates(&manifest(), settings, offered, &[1, 2]);
        all.iter().map(Execution::to_string).collect()
    }

    #[test]
    fn what_the_settings_leave_open_is_tried() {
        let open = ModelSettings::default();
        let cpu = [Provider::Cpu];
        assert_eq!(
            shown(&open, &cpu),
            [
                "fp32 on cpu, 1 thread",
                "int8 on cpu, 1 thread",
                "fp32 on cpu, 2 threads",
                "int8 on cpu, 2 threads"
            ]
        );
        let fixed = ModelSettings { precision: Precision::Int8, threads: 3, ..open.clone() };
        assert_eq!(shown(&fixed, &cpu), ["int8 on cpu, 3 threads"]);
        let one = ModelSettings { threads: 1, ..open.clone() };
        assert_eq!(
            shown(&one, &[Provider::Cpu, Provider::Cuda, Provider::Tensorrt]),
            ["fp32 on cpu, 1 thread", "int8 on cpu, 1 thread", "fp32 on cuda, 1 thread"]
        );
        let asked = ModelSettings { provider: Provider::Openvino, ..one };
        assert_eq!(
            shown(&asked, &cpu),
            ["fp32 on openvino, 1 thread", "int8 on openvino, 1 thread"]
        );
    }

    #[test]
    fn a_model_that_follows_another_runs_like_it() {
        let open = ModelSettings { precision: Precision::Fp32, ..ModelSettings::default() };
        let all = candidates(&manifest(), &open, &[Provider::Cpu], &[1, 2]);
        let like = Execution { provider: Provider::Cpu, precision: Precision::Int8, threads: 2 };
        assert_eq!(nearest(&all, like), Some(Execution { precision: Precision::Fp32, ..like }));
        assert_eq!(nearest(&all, Execution { threads: 4, ..like }), None);
    }

    #[test]
    fn what_was_measured_is_remembered_and_a_broken_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("tuning.json");
        let execution =
            |threads| Execution { provider: Provider::Cpu, precision: Precision::Int8, threads };
        assert_eq!(recall(&path, "a"), None);
        remember(&path, "a", execution(1)).unwrap();
        remember(&path, "b", execution(2)).unwrap();
        assert_eq!(recall(&path, "a"), Some(execution(1)));
        assert_eq!(recall(&path, "b"), Some(execution(2)));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(recall(&path, "a"), None);
        remember(&path, "a", execution(2)).unwrap();
        assert_eq!(recall(&path, "a"), Some(execution(2)));
    }

    #[test]
    fn a_key_tells_what_was_left_open() {
        let manifest = manifest();
        let key_of = |settings: &ModelSettings| {
            key(&manifest, &candidates(&manifest, settings, &[Provider::Cpu], &[1, 2]), "1.32")
        };
        let open = ModelSettings::default();
        let fixed = ModelSettings { precision: Precision::Int8, ..open.clone() };
        assert_eq!(key_of(&open), key_of(&open));
        assert_ne!(key_of(&open), key_of(&fixed));
    }
}
