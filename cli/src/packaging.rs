//! `ddim packaging`: what packages of the command carry beside it.
use crate::{
    cli::{Cli, Packaging},
    console::say,
    failure::Failure,
    files,
};
use clap::ValueEnum;
use clap_complete::{Shell, generate_to};

/// Writes a man page of each command, and the completions of each shell.
pub fn run(arguments: &Packaging) -> Result<(), Failure> {
    let folder = &arguments.folder;
    files::prepare_folder(folder)?;
    let failed = |error| Failure::file(folder, error);
    for shell in Shell::value_variants() {
        generate_to(*shell, &mut Cli::parser(), "ddim", folder).map_err(failed)?;
    }
    clap_mangen::generate_to(Cli::parser(), folder).map_err(failed)?;
    say!(
        "{}: man pages, and completions of {} shells",
        folder.display(),
        Shell::value_variants().len()
    );
    Ok(())
}
