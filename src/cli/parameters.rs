//! `squeezenet_node parameters`: what can be tuned.

use clap::Args;

use super::{Outcome, print_line};
use crate::parameter;

/// Arguments of `parameters`.
#[derive(Debug, Args)]
pub struct ParametersArgs {
    /// As a commented parameter file, `config/squeezenet.yaml`
    #[arg(long)]
    yaml: bool,
    /// As a JSON schema of that file, `config/squeezenet.schema.json`
    #[arg(long, conflicts_with = "yaml")]
    schema: bool,
}

pub(super) fn run(args: &ParametersArgs) -> anyhow::Result<Outcome> {
    let text = if args.yaml {
        parameter::parameter_file()
    } else if args.schema {
        parameter::schema()
    } else {
        parameter::markdown()
    };
    print_line(text.trim_end())?;
    Ok(Outcome::Done)
}
