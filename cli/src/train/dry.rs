//! `ddim train --dry-run`: what a run would be, before it is one.
use super::run::Run;
use crate::{
    console::say,
    failure::Failure,
    progress::{clock, counted},
};
use ddim::data::Loader;
use std::{ops::ControlFlow, time::Instant};

/// Says how long a step takes: after one, in which kernels are compiled.
pub fn run(run: &mut Run) -> Result<(), Failure> {
    let (images, held_out) = run.parts()?;
    if let Some(held_out) = held_out {
        say!("valid  {}", counted(held_out.len() as u64, "image"));
    }
    let (first, options) = (run.trainer.steps(), run.trainer.options().clone());
    let loading = run.loading();
    let mut loader = Loader::new(&images, options.images(), options.seed, loading, first);
    let mut seconds = [0.0; 2];
    for (step, seconds) in (first + 1..).zip(&mut seconds) {
        let since = Instant::now();
        run.trainer.train_on(&mut loader, step, |_| ControlFlow::Continue(()))?;
        *seconds = since.elapsed().as_secs_f64();
    }
    let [compiling, step] = seconds;
    let left = u64::from(run.notes.steps).saturating_sub(first);
    say!("first  {compiling:.2} s, with the compilation of kernels");
    say!("step   {:.1} ms, {:.1} images a second", 1e3 * step, options.images() as f64 / step);
    let all = clock(compiling + step * left as f64);
    say!("in all {all} for {}, without samples and held-out images", counted(left, "step"));
    say!("nothing was written: --dry-run");
    Ok(())
}
