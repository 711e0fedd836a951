//! `squeezenet_node doctor`: looks at what the node needs, and says of each thing that is wrong what
//! to do about it.

use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::{Outcome, absolute, models_dir, print_line};
use crate::finding::{Finding, Level};
use crate::install;
use crate::manifest::{self, Model};
use crate::parameter::check_topic;
use crate::session::{self, Network};
use crate::settings::{CameraSettings, ModelSettings, Precision, Provider};

/// A topic as it is named on the graph.
fn topic(text: &str) -> Result<String, String> {
    let whole = absolute(text);
    check_topic(&whole).map(|()| whole)
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Topic of the pictures
    #[arg(long, default_value_t = CameraSettings::default().image_topic, value_parser = topic)]
    image_topic: String,
    /// How long to listen to the ROS graph, in seconds
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Leave the ROS graph alone
    #[arg(long)]
    no_ros: bool,
    /// One JSON object a finding
    #[arg(long)]
    json: bool,
}

/// What is to be looked for on the ROS graph.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Topic of the pictures.
    pub image_topic: String,
    /// How long to listen, in seconds.
    pub seconds: f64,
}

/// The ROS shell's part of the examination.
pub type Survey = fn(&Asked) -> Vec<Finding>;

pub(super) fn run(args: &DoctorArgs, survey: Option<Survey>) -> anyhow::Result<Outcome> {
    anyhow::ensure!(
        (0.5..=600.0).contains(&args.seconds),
        "--seconds {}: 0.5 to 600 are possible",
        args.seconds
    );
    let mut worst = Level::Good;
    let mut tell = |finding: &Finding| -> anyhow::Result<()> {
        if finding.level == Level::Bad || worst == Level::Good {
            worst = finding.level;
        }
        if args.json {
            print_line(&serde_json::to_string(finding)?)
        } else {
            print_finding(finding)
        }
    };
    for check in [program, runtime, models, processor, files] {
        for finding in check() {
            tell(&finding)?;
        }
    }
    match survey {
        Some(survey) if !args.no_ros => {
            let asked = Asked { image_topic: args.image_topic.clone(), seconds: args.seconds };
            for finding in survey(&asked) {
                tell(&finding)?;
            }
        }
        Some(_) => {}
        None => tell(&Finding::note(
            "ros",
            "this build has no ROS part",
            "build it with ROS 2 sourced to run the node; image, replay and bench work as it is",
        ))?,
    }
    Ok(if worst == Level::Bad { Outcome::SomeFailed } else { Outcome::Done })
}

fn print_finding(finding: &Finding) -> anyhow::Result<()> {
    let sign = match finding.level {
        Level::Good => "ok  ",
        Level::Note => "note",
        Level::Bad => "BAD ",
    };
    print_line(&format!("{sign}  {:<11} {}", finding.subject, finding.found))?;
    match &finding.mend {
        Some(mend) => print_line(&format!("{:18}-> {mend}", "")),
        None => Ok(()),
    }
}

fn program() -> Vec<Finding> {
    let version = env!("CARGO_PKG_VERSION");
    let share = install::share_dir().map_or_else(
        || "no share folder found".to_owned(),
        |folder| format!("its files are in {}", folder.display()),
    );
    vec![Finding::good("program", format!("squeezenet_node {version}, {share}"))]
}

fn runtime() -> Vec<Finding> {
    let path = install::runtime_library();
    match session::runtime_info().and_then(|info| Ok((info, session::providers()?))) {
        Ok((info, providers)) => {
            let names: Vec<&str> = providers.into_iter().map(Provider::name).collect();
            vec![Finding::good(
                "runtime",
                format!("{} ({info}), providers {}", path.display(), names.join(", ")),
            )]
        }
        Err(error) => vec![Finding::bad(
            "runtime",
            error.to_string(),
            "`make install` or colcon build puts ONNX Runtime beside the program; unset an ORT_DYLIB_PATH that names nothing",
        )],
    }
}

/// Hashes of all models; the default one also has to give its known answer.
fn models() -> Vec<Finding> {
    let folder = models_dir();
    let names = manifest::list(&folder);
    if names.is_empty() {
        return vec![Finding::bad(
            "models",
            format!("there are none in {}", folder.display()),
            "install the package again, or set SQUEEZENET_MODELS to a folder that has some",
        )];
    }
    let standard = ModelSettings::default().model;
    if !names.contains(&standard) {
        return vec![Finding::bad(
            "models",
            format!("{standard}, the default, is not in {}", folder.display()),
            format!("set the parameter model to one that is: {}", names.join(", ")),
        )];
    }
    names.iter().map(|name| model(name, &folder, *name == standard)).collect()
}

fn model(name: &str, folder: &Path, is_standard: bool) -> Finding {
    let checked = Model::load(name, folder).map_err(anyhow::Error::from).and_then(|model| {
        for file in &model.manifest.files {
            model.read_network(file.precision)?;
        }
        if let Some(guard) = &model.manifest.guard {
            model.read_beside(guard)?;
        }
        if is_standard && session::runtime_info().is_ok() {
            let settings = ModelSettings {
                model: name.to_owned(),
                precision: Precision::Fp32,
                provider: Provider::Cpu,
                pin_threads: false,
                ..ModelSettings::default()
            };
            let model = Arc::new(model);
            Network::load(&model, &settings)?;
            return Ok((model.manifest.files.len(), true));
        }
        Ok((model.manifest.files.len(), false))
    });
    match checked {
        Ok((files, has_run)) => {
            let also = if has_run { ", runs" } else { "" };
            Finding::good("model", format!("{name}: {files} files as its manifest says{also}"))
        }
        Err(error) => Finding::bad(
            "model",
            format!("{error:#}"),
            "install the package again (a clone may lack large files), or take the manifest away",
        ),
    }
}

fn processor() -> Vec<Finding> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let (features, is_fast, what) = int8_features();
    let text = format!("{count} processors, {}, {features}", std::env::consts::ARCH);
    let mut findings = vec![if is_fast {
        Finding::good("processor", text)
    } else {
        Finding::note(
            "processor",
            text,
            format!(
                "without {what} int8 gains little; `squeezenet_node bench --precision fp32,int8` measures it, and precision: auto takes the faster"
            ),
        )
    }];
    let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    let governor = std::fs::read_to_string(governor).unwrap_or_default();
    if governor.trim() == "powersave" {
        findings.push(Finding::note(
            "processor",
            "the frequency governor is powersave",
            "for an even latency: sudo cpupower frequency-set -g performance",
        ));
    }
    findings
}

/// What the processor has for products of bytes, whether that is what int8 needs to be fast, and
/// what that would be.
fn int8_features() -> (String, bool, &'static str) {
    #[cfg(target_arch = "x86_64")]
    let (all, fast, what) = (
        [
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
            ("avxvnni", std::arch::is_x86_feature_detected!("avxvnni")),
        ],
        ["avx512vnni", "avxvnni"],
        "VNNI",
    );
    #[cfg(target_arch = "aarch64")]
    let (all, fast, what) = (
        [
            ("neon", std::arch::is_aarch64_feature_detected!("neon")),
            ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
            ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ],
        ["dotprod", "i8mm"],
        "dot products (Cortex-A55, A76 and newer have them)",
    );
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let (all, fast, what) = ([("", false); 0], [""; 0], "known instructions for it");
    let has: Vec<&str> = all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
    let is_fast = has.iter().any(|name| fast.contains(name));
    let text =
        if has.is_empty() { "no vector instructions known".to_owned() } else { has.join(" ") };
    (text, is_fast, what)
}

/// The folder that the node writes to.
fn files() -> Vec<Finding> {
    let path = install::places_file();
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let shown = folder.display();
    let tried = std::fs::create_dir_all(&folder)
        .and_then(|()| tempfile::Builder::new().prefix(".squeezenet_doctor").tempfile_in(&folder));
    vec![match tried {
        Ok(_) => Finding::good("files", format!("places and timings can be kept in {shown}")),
        Err(error) => Finding::bad(
            "files",
            format!("{shown} cannot be written to: {error}"),
            "set ROS_HOME to a folder that can, or places.file",
        ),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_damaged_is_named_with_a_mend() {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        for entry in std::fs::read_dir(&source).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_file() && name.contains("imagenet") {
                std::fs::copy(&path, folder.path().join(name)).unwrap();
            }
        }
        let name = "squeezenet1_1_imagenet";
        assert_eq!(model(name, folder.path(), false).level, Level::Good);
        std::fs::write(folder.path().join(format!("{name}.onnx")), "damaged").unwrap();
        let finding = model(name, folder.path(), false);
        assert_eq!(finding.level, Level::Bad);
        assert!(finding.found.contains(".onnx: its SHA-256 is"), "{}", finding.found);
        assert!(finding.mend.is_some());
    }
}
