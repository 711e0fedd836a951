//! `squeezenet_node completions SHELL` and `man`: what shells and `man` read, made from the arguments
//! that this program takes.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome};

const NAME: &str = "squeezenet_node";

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that reads them
    shell: Shell,
}

pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    write_out(&script)
}

/// The man page of the program, its commands' options behind it.
pub(super) fn man() -> anyhow::Result<Outcome> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
        writeln!(page, ".SH {}", one.get_name().to_uppercase())?;
        let man = clap_mangen::Man::new(one.clone());
        man.render_description_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        if one.get_arguments().next().is_some() {
            man.render_options_section(&mut page)?;
        }
    }
    write_out(&page)
}

fn write_out(bytes: &[u8]) -> anyhow::Result<Outcome> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // A reader that has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Outcome::Done),
        result => Ok(result.map(|()| Outcome::Done)?),
    }
}
