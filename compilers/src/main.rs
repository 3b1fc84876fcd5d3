//! What the compilers of real GPUs make of this crate's kernels: registers, spills, occupancy, the
//! hottest block; and how plans fill those GPUs. Nothing is computed. See README.md.
//!
//! compilers check CHIP
//! compilers write CHIP FOLDER
//! compilers robust CHIP
//! compilers hlsl FOLDER
use chip::Chip;
use driver::Driver;
use error::Error;
use figures::Figures;
use kernels::{Kernels, Offered};
use plans::PlanFigures;
use results::{KernelFigures, Results};
use std::{env, fs, path::Path, process::ExitCode, time::Instant};

mod chip;
mod driver;
mod error;
mod figures;
mod hlsl;
mod kernels;
mod latent;
mod mixed;
mod plans;
mod results;
mod robust;
mod spirv;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no kernel spills or uses local memory.
fn run(arguments: &[String]) -> Result<bool, Error> {
    let usage = || {
        let chips = Chip::ALL.map(|chip| chip.name).join(", ");
        Error::Usage { chips, found: arguments.to_vec() }
    };
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["robust", chip] = words[..] {
        println!("{}", robust::table(&Chip::find(chip).ok_or_else(usage)?)?);
        return Ok(true);
    }
    let (chip, folder) = match words[..] {
        ["hlsl", folder] => return write_hlsl(Path::new(folder)).map(|()| true),
        ["check", chip] => (chip, None),
        ["write", chip, folder] => (chip, Some(Path::new(folder))),
        _ => return Err(usage()),
    };
    let chip = Chip::find(chip).ok_or_else(usage)?;
    let start = Instant::now();
    let results = results(&chip)?;
    if let Some(folder) = folder {
        fs::write(folder.join(format!("{}.json", chip.name)), results.json()?)?;
        fs::write(folder.join(format!("{}.md", chip.name)), results.markdown(&chip)?)?;
    }
    let faulty = results.faulty();
    for KernelFigures { kernel, of, figures, .. } in &faulty {
        let (spilled, local) = (figures.spilled, figures.local.unwrap_or(0));
        println!("{}: {kernel} ({of}): {spilled} spilled, {local} bytes of memory", chip.name);
    }
    println!(
        "{} ({}): {} kernels, {} spill or use local memory; {:.0} s",
        chip.name,
        results.driver,
        results.kernels.len(),
        faulty.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(faulty.is_empty())
}

/// Writes each text as `NAME.hlsl`.
fn write_hlsl(folder: &Path) -> Result<(), Error> {
    for (name, text) in hlsl::texts()? {
        fs::write(folder.join(format!("{name}.hlsl")), text)?;
    }
    Ok(())
}

/// Compiles every kernel for the chip.
fn results(chip: &Chip) -> Result<Results, Error> {
    let driver = Driver::open(true)?;
    let mut offered = Kernels::offered(&driver.target)?;
    let plans = kernels::plans(&driver.target)?;
    for (name, plan) in &plans {
        offered.add_plan(name, plan);
    }
    let plans = plans.iter().map(|(name, plan)| PlanFigures::of(name, plan, chip)).collect();
    let mut kernels = Vec::new();
    for (kernel, Offered { launch, share, of }) in offered.0 {
        let pipeline = driver.compile(&launch, &spirv::spirv(&launch.kernel)?)?;
        let figures = Figures::of(chip.compiler, &pipeline);
        kernels.push(KernelFigures { kernel, share, of, figures });
    }
    let driver = format!("{}, {}", driver.adapter, driver.version);
    Ok(Results { chip: chip.name, driver, kernels, plans })
}
