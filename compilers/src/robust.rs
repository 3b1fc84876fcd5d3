//! What robust buffer access costs: the kernels that hold a plan's work, compiled with it, as wgpu opens every device, and
//! without.
use crate::{
    chip::Chip,
    driver::Driver,
    error::Error,
    figures::Figures,
    kernels::{self, Kernels},
    results::MATTERS,
    spirv,
};
use std::fmt::Write as _;

/// A table of the chip's kernels, and the means of the ratios, by work.
///
/// # Errors
/// If a driver or the library refuses something.
pub fn table(chip: &Chip) -> Result<String, Error> {
    let drivers = [Driver::open(true)?, Driver::open(false)?];
    let mut offered = Kernels::default();
    for (name, plan) in &kernels::plans(&drivers[0].target)? {
        offered.add_plan(name, plan);
    }
    let mut text = format!("{} ({})\n\n", chip.name, drivers[0].version);
    text += "| kernel | of | share | registers | spilled | instructions | cycles |\n|---|---|---:|---:|---:|---:|---:|\n";
    let (mut shares, mut sums) = (0.0, [0.0; 2]);
    for (kernel, of) in offered.0.iter().filter(|(_, of)| of.share >= MATTERS) {
        let code = spirv::spirv(&of.launch.kernel)?;
        let [with, without] = [0, 1].map(|n| drivers[n].compile(&of.launch, &code));
        let [with, without] =
            [with?, without?].map(|pipeline| Figures::of(chip.compiler, &pipeline));
        let pair = |of: fn(&Figures) -> u64| format!("{} / {}", of(&with), of(&without));
        let cycles = |of: &Figures| of.cycles.unwrap_or(0);
        writeln!(
            text,
            "| `{kernel}` | {} | {:.1}% | {} | {} | {} | {} |",
            of.of,
            100.0 * of.share,
            pair(|of| of.registers),
            pair(|of| of.spilled),
            pair(|of| of.instructions),
            pair(|of| of.cycles.unwrap_or(0)),
        )?;
        shares += of.share;
        sums[0] += of.share * with.instructions as f64 / without.instructions as f64;
        sums[1] += of.share * cycles(&with) as f64 / cycles(&without).max(1) as f64;
    }
    let [instructions, cycles] = sums.map(|sum| sum / shares);
    // Adreno's compiler counts no cycles.
    let cycles = if cycles > 0.0 { format!(", {cycles:.3} static cycles") } else { String::new() };
    writeln!(text, "\nwith / without, by work: {instructions:.3} instructions{cycles}")?;
    Ok(text)
}
