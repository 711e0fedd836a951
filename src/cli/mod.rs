//! The command line: one file a command, thin over the core.

mod bench;
pub mod doctor;
mod image;
mod labelled;
mod learning;
mod masks;
mod model;
mod output_names;
mod overwrite;
mod parameters;
mod picture_file;
pub(crate) mod places;
mod print;
mod replay;
mod report;
mod shell;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use self::print::print_line;
use crate::install;
use crate::manifest::Model;
use crate::pipeline::Pipeline;
use crate::session::Network;
use crate::settings::{ModelSettings, Precision, Provider};

/// Labels and traversability masks from one SqueezeNet pass, on the CPU.
#[derive(Debug, Parser)]
#[command(
    name = "squeezenet_node",
    version,
    after_help = "Without a command the ROS 2 node starts; it takes --ros-args like every node."
)]
pub struct Cli {
    /// What to do; the node without.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Labels, mask and overlay of picture files, no ROS graph needed
    Image(image::ImageArgs),
    /// Latency of each stage and throughput of this machine and model
    Bench(bench::BenchArgs),
    /// What models there are, or one model's facts, licence and where its card is
    Model(model::ModelArgs),
    /// How well masks agree with pictures labelled by hand
    Masks(masks::MasksArgs),
    /// The node's parameters, as a parameter file or as a table
    Parameters(parameters::ParametersArgs),
    /// A rosbag2 through the same pipeline, every frame once, as fast as it goes
    Replay(Box<replay::ReplayArgs>),
    /// Places from picture files: teach, ask, list, evaluate
    Places(places::PlacesArgs),
    /// What was learnt by driving
    Learning(learning::LearningArgs),
    /// The reports of many replays as one
    Report(report::ReportArgs),
    /// Whether this machine has what the node needs, and what to do where it has not
    Doctor(doctor::DoctorArgs),
    /// Completions for a shell: bash, zsh, fish
    Completions(shell::CompletionsArgs),
    /// The man page, as `man -l -` reads it
    Man,
}

fn model_help() -> String {
    let default = crate::settings::ModelSettings::default().model;
    format!("Model name, or path of a manifest [default: {default}]")
}

/// Which model, and how it is run. Of an option that is given twice the last one holds, so that a
/// script can set them and its caller still has a word.
#[derive(Debug, Clone, Args)]
pub struct ModelOptions {
    /// Model name, or path of a manifest.
    #[arg(long, overrides_with = "model", help = model_help())]
    pub model: Option<String>,
    /// Arithmetic [default: fp32]
    #[arg(long, value_parser = precisions(), overrides_with = "precision")]
    pub precision: Option<Precision>,
    /// Execution provider of ONNX Runtime [default: cpu]
    #[arg(long, value_parser = providers(), overrides_with = "provider")]
    pub provider: Option<Provider>,
    /// Inference threads; 0 takes as many as the machine has, up to four [default: 0]
    #[arg(long, overrides_with = "threads", value_parser = threads)]
    pub threads: Option<usize>,
}

/// A topic as a node resolves it that runs in no namespace.
fn absolute(topic: &str) -> String {
    if topic.starts_with('/') { topic.to_owned() } else { format!("/{topic}") }
}

/// As many as the parameter takes.
fn threads(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (0..=64).contains(count));
    count.ok_or_else(|| "a number from 0 to 64 is wanted".to_owned())
}

/// Names of [`Precision`].
fn precisions() -> impl TypedValueParser<Value = Precision> {
    let names = PossibleValuesParser::new(Precision::ALL.map(Precision::name));
    names.map(|name| Precision::named(&name).unwrap_or(Precision::Fp32))
}

/// Names of [`Provider`].
fn providers() -> impl TypedValueParser<Value = Provider> {
    let names = PossibleValuesParser::new(Provider::ALL.map(Provider::name));
    names.map(|name| Provider::named(&name).unwrap_or(Provider::Cpu))
}

impl ModelOptions {
    /// The settings that these options make.
    pub fn settings(&self) -> ModelSettings {
        ModelSettings {
            model: self.model.clone().unwrap_or(ModelSettings::default().model),
            precision: self.precision.unwrap_or(Precision::Fp32),
            provider: self.provider.unwrap_or(Provider::Cpu),
            threads: self.threads.unwrap_or(0),
            // Run after run the threads stay awake, and other commands may run beside this one.
            pin_threads: false,
        }
    }

    /// Takes from settings of the node what was not asked for; what these leave to be measured stays
    /// as it is without them.
    pub fn or(self, node: &ModelSettings) -> Self {
        let precision = Some(node.precision).filter(|precision| *precision != Precision::Auto);
        let provider = Some(node.provider).filter(|provider| *provider != Provider::Auto);
        Self {
            model: self.model.or_else(|| Some(node.model.clone())),
            precision: self.precision.or(precision),
            provider: self.provider.or(provider),
            threads: self.threads.or(Some(node.threads)),
        }
    }

    /// A pipeline with the model loaded.
    ///
    /// # Errors
    /// The model's, or ONNX Runtime's.
    pub fn pipeline(&self) -> anyhow::Result<Pipeline> {
        let settings = self.settings();
        let model = Arc::new(Model::load(&settings.model, &models_dir())?);
        Ok(Pipeline::new(Network::load(&model, &settings)?))
    }
}

fn models_dir() -> PathBuf {
    install::models_dir()
}

/// How a command ended, as the exit status says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done.
    Done,
    /// Some inputs failed; each was named.
    SomeFailed,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::SomeFailed => Self::from(1),
        }
    }
}

/// Runs a command; `survey` is what `doctor` asks about ROS, where there is one.
///
/// # Errors
/// Usage and set-up: the exit status is 2.
pub fn run(command: Command, survey: Option<doctor::Survey>) -> anyhow::Result<Outcome> {
    match command {
        Command::Image(args) => image::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Model(args) => model::run(&args),
        Command::Masks(args) => masks::run(&args),
        Command::Parameters(args) => parameters::run(&args),
        Command::Places(args) => places::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Learning(args) => learning::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Doctor(args) => doctor::run(&args, survey),
        Command::Completions(args) => shell::completions(&args),
        Command::Man => shell::man(),
    }
}
