//! `squeezenet_node model [NAME]`: what models there are; one model's model.

use clap::Args;

use super::print::tell;
use super::{Outcome, models_dir, print_line};
use crate::manifest::{self, Model};

/// Arguments of `model`.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Model name, or path of a manifest; all models without
    name: Option<String>,
    /// One JSON object a model
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ModelArgs) -> anyhow::Result<Outcome> {
    let folder = models_dir();
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => manifest::list(&folder),
    };
    anyhow::ensure!(!names.is_empty(), "no models in {}", folder.display());
    let mut outcome = Outcome::Done;
    for name in &names {
        let model = match Model::load(name, &folder) {
            Ok(model) => model,
            Err(error) if args.name.is_none() => {
                tell(&error.to_string());
                outcome = Outcome::SomeFailed;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if args.json {
            print_line(&serde_json::to_string(&model.manifest)?)?;
        } else if args.name.is_none() {
            print_line(&format!("{:<28} {}", model.manifest.name, model.manifest.description))?;
        } else {
            print_model(&model)?;
        }
    }
    Ok(outcome)
}

fn print_model(model: &Model) -> anyhow::Result<()> {
    let manifest = &model.manifest;
    print_line(&format!("{}: {}", manifest.name, manifest.description))?;
    print_line(&format!("  licence    {}", manifest.licence))?;
    print_line(&format!("  manifest   {}", model.path.display()))?;
    for file in &manifest.files {
        let precision = serde_json::to_value(file.precision)?;
        let precision = precision.as_str().unwrap_or_default();
        print_line(&format!("  {precision:<10} {} sha256 {}", file.path.display(), file.sha256))?;
    }
    let fit = serde_json::to_value(manifest.input.fit)?;
    print_line(&format!(
        "  input      {}, fit {}, {:?} planes, mean {:?}, scale {:?}",
        manifest.input_size(),
        fit.as_str().unwrap_or_default(),
        manifest.input.channels,
        manifest.input.mean,
        manifest.input.scale
    ))?;
    if manifest.classification.is_some() {
        print_line(&format!("  labels     {} classes", model.class_names.len()))?;
    }
    if let Some(spec) = &manifest.segmentation {
        print_line("  mask       class        traversability  cost")?;
        for (index, class) in spec.classes.iter().enumerate() {
            let traversability = class.traversability.name();
            print_line(&format!(
                "       {index:>3}   {:<12} {traversability:<15} {:>4}",
                class.name, class.cost
            ))?;
        }
    }
    for feature in &manifest.features {
        print_line(&format!(
            "  features   {}: {} channels, stride {}",
            feature.output, feature.channels, feature.stride
        ))?;
    }
    if let Some(scores) = manifest.scores.as_object() {
        for (name, value) in scores {
            print_line(&format!("  score      {name}: {value}"))?;
        }
    }
    let text = model.path.with_extension("md");
    if text.is_file() {
        print_line(&format!("  card       {}", text.display()))?;
    }
    Ok(())
}
