//! `ddim evaluate`: the variational bound of a model on images, or how far its samples are from them.
use crate::{
    cli::{self, Device},
    console::{self, say},
    devices::describe,
    failure::Failure,
    fid, files, plot,
    progress::{Progress, clock, thousands},
};
use ddim::{
    data::Dataset,
    diffusion::{Vlb, VlbEvaluator, VlbOptions, schedule::vlb_levels},
    nn::Model,
};
use std::{ops::ControlFlow, path::Path, time::Instant};

/// The first line of `bound.csv`.
const HEADER: &str = "timestep,stands_for,bits_per_dim,bits_per_dim_exact_cdf,x0_mse,epsilon_mse";

/// Evaluates the bound, prints its terms and writes them where they are wanted; or measures samples.
pub fn run(device: &Device, arguments: &cli::Evaluate) -> Result<(), Failure> {
    let start = Instant::now();
    let gpu = device.open()?;
    let pipeline = arguments.model.read()?;
    let data = match arguments.split {
        Some(split) => Dataset::open_part(&arguments.data, split.into(), None)?,
        None => Dataset::open(&arguments.data, None)?,
    };
    let data = data.with_classes(&pipeline.class_names)?.with_channels(pipeline.unet.channels());
    pipeline.check_data(&arguments.model.path, &data)?;
    check(&data, arguments)?;
    if let Some(weights) = &arguments.fid {
        return fid::run(&gpu, arguments, &pipeline, &data, weights);
    }
    let schedule = pipeline.scheduler.schedule()?;
    let levels = arguments.timestep_count.unwrap_or(schedule.timesteps());
    vlb_levels(schedule.timesteps(), levels)?;
    let images = arguments.images.unwrap_or(data.len());
    let count = images * levels;
    let options = VlbOptions {
        output: pipeline.scheduler.prediction(),
        variance: pipeline.scheduler.variance_type,
        half_bin: data.half_bin(),
    };
    let size = [arguments.batch.min(count), data.height(), data.width()];
    let seed = arguments.seed;
    let (model, weights) = (&pipeline.unet, &*pipeline.weights);
    let mut evaluator = VlbEvaluator::new(&gpu, model, weights, size, &schedule, &options, seed)?;
    if let Some(folder) = &arguments.out {
        let names = ["bound.csv", "bound.svg"];
        files::claim(folder, &names, HEADER, arguments.existing.overwrite)?;
    }
    say!("{}", describe(&gpu));
    let [shown, all] = [images, data.len()].map(|number| thousands(number as u64));
    say!("data   {}: {shown} of {all} images", data.name());

    let mut progress = Progress::new("evaluating", 0, count as u64, "terms");
    let bound = evaluator.evaluate(&data, images, levels, |done| {
        progress.update(done as u64, "");
        // Nobody would hear the result.
        match arguments.out.is_none() && console::is_lost() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    drop(progress);
    let ControlFlow::Continue(bound) = bound else { return Ok(()) };
    say_terms(&bound, levels, schedule.timesteps());
    if let Some(folder) = &arguments.out {
        write(folder, &bound, schedule.timesteps())?;
    }
    let taken = clock(start.elapsed().as_secs_f64());
    let count = thousands(count as u64);
    say!("{count} terms, {taken} in all");
    Ok(())
}

/// Refuses a count of images that there are not.
fn check(data: &Dataset, arguments: &cli::Evaluate) -> Result<(), Failure> {
    match arguments.images.filter(|images| *images > data.len()) {
        Some(images) => {
            Err(Failure::Usage(format!("--images {images}: {} has {}", data.name(), data.len())))
        }
        None => Ok(()),
    }
}

/// Says the terms and their sum; `levels` of all timesteps were evaluated.
fn say_terms(bound: &Vlb, levels: usize, timesteps: usize) {
    let last = timesteps - 1;
    let divergence = format!("L_1 to L_{last}");
    for (name, bits) in
        [("L_T", bound.prior), (divergence.as_str(), bound.divergence()), ("L_0", bound.decoder())]
    {
        say!("{name:<14} {bits:10.5} bits/dim");
    }
    let (total, error) = (bound.total(), bound.standard_error);
    say!("{:<14} {total:10.5} bits/dim, standard error {error:.5}", "total");
    if bound.is_estimate() {
        say!("an estimate: {levels} of {timesteps} timesteps, each for its neighbours too");
    }
}

/// Writes `bound.csv` and `bound.svg`.
fn write(folder: &Path, bound: &Vlb, timesteps: usize) -> Result<(), Failure> {
    let mut rows = vec![HEADER.to_owned()];
    for level in &bound.levels {
        let (timestep, stands_for, mean) = (level.timestep, level.stands_for, level.mean);
        let numbers = [mean.bits, mean.exact_bits, mean.x0_error, mean.epsilon_error];
        let numbers = numbers.map(|number| number.to_string()).join(",");
        rows.push(format!("{timestep},{stands_for},{numbers}"));
    }
    rows.push(format!("{timesteps},1,{prior},{prior},,", prior = bound.prior));
    files::write(&folder.join("bound.csv"), rows.join("\n") + "\n")?;
    let levels = bound.levels.iter();
    let terms: Vec<_> = levels.map(|level| (level.timestep as f64, level.mean.bits)).collect();
    files::write(&folder.join("bound.svg"), plot::terms(&terms)?)
}
