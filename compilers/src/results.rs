//! The results of a chip, as JSON and as tables for readers.
use crate::{
    chip::Chip,
    figures::Figures,
    plans::{PER_CORE, PlanFigures},
};
use serde::Serialize;
use std::fmt::Write as _;

/// The part of a plan's work from which on a kernel stands in the table for readers.
pub const MATTERS: f64 = 0.002;

/// A kernel's figures.
#[derive(Clone, Debug, Serialize)]
pub struct KernelFigures {
    /// The kernel's printed form.
    pub kernel: String,
    /// Its largest part of the work of a plan.
    pub share: f64,
    /// That plan, or what else offers it.
    pub of: String,
    /// What the compiler made of it.
    #[serde(flatten)]
    pub figures: Figures,
}

/// All that is known of a chip.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// The chip.
    pub chip: &'static str,
    /// The driver.
    pub driver: String,
    /// Every kernel that lowering offers it.
    pub kernels: Vec<KernelFigures>,
    /// The plans.
    pub plans: Vec<PlanFigures>,
}

impl Results {
    /// The kernels that spill or use local memory.
    pub fn faulty(&self) -> Vec<&KernelFigures> {
        self.kernels.iter().filter(|kernel| kernel.figures.uses_memory()).collect()
    }

    /// A kernel to a line.
    ///
    /// # Errors
    /// None of plain data.
    pub fn json(&self) -> serde_json::Result<String> {
        let lines = |rows: serde_json::Result<Vec<String>>| rows.map(|rows| rows.join(",\n    "));
        let kernels = lines(self.kernels.iter().map(serde_json::to_string).collect())?;
        let plans = lines(self.plans.iter().map(serde_json::to_string).collect())?;
        let (chip, driver) = (self.chip, serde_json::to_string(&self.driver)?);
        Ok(format!(
            "{{\n  \"chip\": \"{chip}\",\n  \"driver\": {driver},\n  \"kernels\": [\n    {kernels}\n  ],\n  \
             \"plans\": [\n    {plans}\n  ]\n}}\n"
        ))
    }

    /// Tables: what spills, what matters, the plans.
    ///
    /// # Errors
    /// None: a string takes all.
    pub fn markdown(&self, chip: &Chip) -> Result<String, std::fmt::Error> {
        let faulty = self.faulty();
        let mut text = format!(
            "# {} ({})\n\n{}. {} kernels, of which {} spill or use local memory.\n",
            self.chip,
            chip.card,
            self.driver,
            self.kernels.len(),
            faulty.len()
        );
        if !faulty.is_empty() {
            write!(text, "\n## Spilled registers and local memory\n\n")?;
            table(&mut text, &faulty)?;
        }
        let mut heavy: Vec<_> = self.kernels.iter().filter(|k| k.share >= MATTERS).collect();
        heavy.sort_by(|a, b| b.share.total_cmp(&a.share));
        write!(text, "\n## Kernels with work\n\n")?;
        table(&mut text, &heavy)?;
        write!(text, "\n## Plans, for {} cores\n\n", chip.cores)?;
        let below = PER_CORE.map(|most| format!("< {most}")).join(" | ");
        writeln!(text, "| plan | launches | GFLOP | heavy | {below} | idle | most | where |")?;
        writeln!(text, "|---|{}---|", "---:|".repeat(PER_CORE.len() + 5))?;
        for plan in &self.plans {
            let below = plan.below.map(percent).join(" | ");
            writeln!(
                text,
                "| {} | {} | {:.2} | {} | {below} | {} | {} | `{}` |",
                plan.name,
                plan.launches,
                plan.gflop,
                plan.heavy,
                percent(plan.idle),
                percent(plan.most_idle),
                plan.most_idle_launch
            )?;
        }
        Ok(text)
    }
}

fn percent(part: f64) -> String {
    format!("{:.1}%", 100.0 * part)
}

fn table(text: &mut String, kernels: &[&KernelFigures]) -> std::fmt::Result {
    writeln!(
        text,
        "| kernel | of | share | registers | spilled | local, bytes | resident | instructions | cycles | hottest block |"
    )?;
    writeln!(text, "|---|---|{}", "---:|".repeat(8))?;
    for KernelFigures { kernel, share, of, figures } in kernels {
        let Figures { registers, spilled, resident, instructions, .. } = figures;
        let [local, cycles] = [figures.local, figures.cycles]
            .map(|count| count.map_or("-".to_owned(), |count| count.to_string()));
        let hottest = figures.hottest.map_or("-".to_owned(), |block| {
            let part = f64::from(block.multiply_adds) / f64::from(block.instructions);
            format!("{} of {}, {:.0}%", block.multiply_adds, block.instructions, 100.0 * part)
        });
        writeln!(
            text,
            "| `{kernel}` | {of} | {} | {registers} | {spilled} | {local} | {resident} | {instructions} | {cycles} | {hottest} |",
            percent(*share)
        )?;
    }
    Ok(())
}
