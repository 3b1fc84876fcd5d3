//! Checkpoints that are kept beside the last, and when the held-out loss says that a run is over.
use crate::failure::Failure;
use ddim::{pipeline::RunFolder, training::Losses};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where earlier checkpoints are kept, and the best, below the run's folder.
pub const CHECKPOINTS: &str = "checkpoints";
pub const BEST: &str = "best";

/// Undoes what a break left.
pub fn repair(out: &Path) -> Result<(), Failure> {
    RunFolder::repair_kept(&out.join(BEST))?;
    for (_, folder) in kept(&out.join(CHECKPOINTS))? {
        RunFolder::repair_kept(&folder)?;
    }
    Ok(())
}

/// Keeps the checkpoint of a run, which is that of `step`, before another takes its place; of all that are kept, the
/// last `count` stay.
pub fn keep(out: &Path, step: u64, count: u32) -> Result<(), Failure> {
    if count == 0 {
        return Ok(());
    }
    let folder = out.join(CHECKPOINTS);
    RunFolder::open(out)?.keep(&folder.join(format!("step-{step:07}")))?;
    let kept = kept(&folder)?;
    // A run that went back to an earlier step does the later ones again.
    let (later, earlier): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(of, _)| *of > step);
    let old = earlier.iter().rev().skip(count as usize);
    for (_, folder) in later.iter().chain(old) {
        // Under another name first: half a folder is none.
        let gone = folder.with_extension("old");
        fs::rename(folder, &gone).map_err(|error| Failure::file(folder, error))?;
        fs::remove_dir_all(&gone).map_err(|error| Failure::file(&gone, error))?;
    }
    Ok(())
}

/// The checkpoints that are kept, by their steps; also such as a break left the halves of.
fn kept(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Failure> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let failed = |error| Failure::file(folder, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        let name = name.split('.').next().unwrap_or_default();
        let step = name.strip_prefix("step-").and_then(|step| step.parse().ok());
        found.extend(step.map(|step| (step, folder.join(name))));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Keeps the checkpoint of a run as its best, if the loss that was measured last is the lowest.
pub fn keep_best(out: &Path, losses: &Losses) -> Result<(), Failure> {
    match since_best(losses) {
        Some(0) => Ok(RunFolder::open(out)?.keep(&out.join(BEST))?),
        _ => Ok(()),
    }
}

/// How many held-out losses were measured since the lowest: the first of those that are equal.
pub fn since_best(losses: &Losses) -> Option<usize> {
    let held_out = &losses.held_out;
    let lowest = held_out.iter().map(|(_, loss)| *loss).fold(f32::INFINITY, f32::min);
    let best = held_out.iter().position(|(_, loss)| *loss <= lowest)?;
    Some(held_out.len() - 1 - best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_counts_from_the_first_of_the_lowest() {
        let since = |numbers: &[f32]| {
            let held_out = (1..).zip(numbers).map(|(step, loss)| (step, *loss)).collect();
            since_best(&Losses { held_out, ..Losses::default() })
        };
        assert_eq!(since(&[]), None);
        assert_eq!(since(&[3.0]), Some(0));
        assert_eq!(since(&[3.0, 2.0, 2.0, 4.0]), Some(2));
        assert_eq!(since(&[1.0, 2.0, 0.5]), Some(0));
    }
}
