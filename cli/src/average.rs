//! `ddim average`: models of other moving averages of a run's weights.
use crate::{cli, console::say, failure::Failure, files, progress::counted};
use ddim::{
    diffusion::schedule::SchedulerConfig,
    models::unet2d::{UNet, UNetConfig},
    nn::{ParameterSpec, Weights},
    pipeline::{self, RunFolder},
    training::{AVERAGES, Average, Settings, post_hoc, read_average},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the averages of every checkpoint are kept, below a run's folder.
const KEPT: &str = "averages";

/// What it writes.
const WRITTEN: [&str; 3] = ["model_index.json", "unet", "scheduler"];

/// Keeps the averages of a checkpoint, if it has some of power functions.
pub fn keep(out: &Path, step: u64, averages: &[Average]) -> Result<(), Failure> {
    if !averages.iter().any(|average| matches!(average, Average::Power(_))) {
        return Ok(());
    }
    let folder = out.join(KEPT);
    fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, error))?;
    let from = RunFolder::open(out)?.path(AVERAGES);
    let (part, path) = (folder.join(".part"), folder.join(format!("step-{step:07}.safetensors")));
    files::remove(&part)?;
    // Files of checkpoints are never changed: a second name will do.
    if fs::hard_link(&from, &part).is_err() {
        fs::copy(&from, &part).map_err(|error| Failure::file(&part, error))?;
    }
    fs::rename(&part, &path).map_err(|error| Failure::file(&path, error))
}

/// The files of averages that were kept, by their steps.
fn kept(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder.join(KEPT)).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let step = |path: &PathBuf| -> Option<u64> {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
    };
    let mut found: Vec<_> = paths.filter_map(|path| Some((step(&path)?, path))).collect();
    found.sort();
    found
}

/// A run and its averages.
struct Run {
    folder: RunFolder,
    averages: Vec<Average>,
    kept: Vec<(u64, PathBuf)>,
    specs: Vec<ParameterSpec>,
    unet: UNet,
}

/// Says what there is, or writes a model.
pub fn run(arguments: &cli::Average) -> Result<(), Failure> {
    let path = &arguments.model;
    let folder = RunFolder::open(path)?;
    let settings = Settings::read(&folder.path("training/settings.json"))?;
    let averages = settings.options.averages;
    if averages.is_empty() {
        let text = "holds no other averages: train with --averages";
        return Err(Failure::file(path, text));
    }
    let unet = UNet::new(UNetConfig::read(&folder.path("unet/config.json"))?)?;
    let specs = unet.parameters()?;
    let run = Run { folder, averages, kept: kept(path), specs, unet };
    let Some(out) = &arguments.out else {
        run.tell();
        return Ok(());
    };
    let (weights, what) = match (arguments.name, arguments.sigma_rel) {
        (Some(name), _) => (run.named(name)?, name.to_string()),
        (_, Some(length)) => run.made(length, arguments.step)?,
        _ => return Err(Failure::Usage("--out: give --name or --sigma-rel".into())),
    };
    if !arguments.existing.overwrite {
        files::refuse_taken(out, &WRITTEN)?;
    }
    files::prepare_folder(out)?;
    let scheduler = SchedulerConfig::read(&run.folder.path("scheduler/scheduler_config.json"))?;
    pipeline::write(out, run.unet.config(), &scheduler, &weights)?;
    say!("{}: {what}", out.display());
    Ok(())
}

impl Run {
    fn tell(&self) {
        for average in &self.averages {
            say!("{average}");
        }
        if let (Some((first, _)), Some((last, _))) = (self.kept.first(), self.kept.last()) {
            let count = counted(self.kept.len() as u64, "checkpoint");
            say!("those of power functions were kept at {count}, of steps {first} to {last}");
        }
    }

    fn named(&self, name: Average) -> Result<Weights, Failure> {
        if !self.averages.contains(&name) {
            let known: Vec<String> = self.averages.iter().map(Average::to_string).collect();
            let text = format!("--name {name}: the run has {}", known.join(", "));
            return Err(Failure::Usage(text));
        }
        Ok(read_average(&self.folder.path(AVERAGES), name, &self.specs)?)
    }

    /// An average of a relative length, made of those that were kept, and what it is.
    fn made(&self, length: f64, step: Option<u64>) -> Result<(Weights, String), Failure> {
        let Some((last, _)) = self.kept.last() else {
            let text = "--sigma-rel: no averages of power functions were kept: train with --averages power-0.05,power-0.10";
            return Err(Failure::Usage(text.into()));
        };
        let step = step.unwrap_or(*last);
        let mut known = Vec::new();
        for (at, path) in self.kept.iter().filter(|(at, _)| *at <= step) {
            for average in &self.averages {
                if let Average::Power(length) = average {
                    known.push(((*length, *at), *average, path));
                }
            }
        }
        if known.is_empty() {
            let text = format!("--step {step}: the first that was kept is {}", self.kept[0].0);
            return Err(Failure::Usage(text));
        }
        let pairs: Vec<_> = known.iter().map(|(pair, ..)| *pair).collect();
        let parts = post_hoc(&pairs, length, step).map_err(ddim::Error::from)?;
        let mut sums: Vec<Vec<f64>> = Vec::new();
        for ((_, average, path), part) in known.iter().zip(&parts) {
            let weights = read_average(path, *average, &self.specs)?;
            sums.resize_with(self.specs.len(), Vec::new);
            for (sum, spec) in sums.iter_mut().zip(&self.specs) {
                let Some(of) = weights.get(&spec.name) else { continue };
                sum.resize(of.data.len(), 0.0);
                let numbers = sum.iter_mut().zip(&of.data);
                numbers.for_each(|(sum, number)| *sum += part * f64::from(*number));
            }
        }
        let mut made = Weights::default();
        for (sum, spec) in sums.into_iter().zip(&self.specs) {
            let data = sum.into_iter().map(|number| number as f32).collect();
            made.insert(&spec.name, spec.of.shape, data);
        }
        let count = counted(known.len() as u64, "kept average");
        let what = format!("a relative length of {length} at step {step}, made of {count}");
        Ok((made, what))
    }
}
