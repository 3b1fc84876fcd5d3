//! Cases of training objectives: EDM, flow matching, min-SNR and score matching; single losses with
//! their gradients on the device, and short runs through the trainer.
use super::{
    Outcome,
    case_files::{Case, Results},
    case_graph::{Axes, CaseGraph},
    models::{self, Drawn as Given},
    samplers,
};
use crate::{
    diffusion::schedule::{Schedule, SchedulerConfig},
    error::Error,
    gpu::Gpu,
    ops::{AddNoise, Constant},
    training::{
        FlowWeighting, TrainingObjective, TrainingOptions, min_snr_weights,
        objective::{Drawn, Noisy, Objective},
    },
    value::TensorType,
};

/// An objective of a case, and the names of its tensors.
struct Trained {
    options: TrainingOptions,
    scheduler: SchedulerConfig,
    /// The tensor of the levels of noise.
    noise_level: &'static str,
    images: &'static str,
    noise: &'static str,
}

impl Trained {
    /// An objective without betas.
    fn new(objective: TrainingObjective, sum_loss: bool, noise_level: &'static str) -> Self {
        let options = TrainingOptions { objective, sum_loss, ..TrainingOptions::default() };
        let scheduler = objective.scheduler().unwrap_or_default();
        Self { options, scheduler, noise_level, images: "x0", noise: "noise" }
    }

    /// The objective of a case.
    fn of(case: &Case) -> Result<Self, Error> {
        let number = |key: &str| case.setting::<f64>(key);
        let sums = || Ok::<_, Error>(case.setting::<String>("reduction")? == "sum");
        match case.kind() {
            "edm" => {
                let (mean, deviation) = (number("P_mean")?, number("P_std")?);
                let sigma_data = number("sigma_data")?;
                let objective = TrainingObjective::Edm { mean, deviation, sigma_data };
                Ok(Self::new(objective, sums()?, "sigma"))
            }
            "flow_matching" => {
                let (mean, deviation) = (number("logit_mean")?, number("logit_std")?);
                let weighting: FlowWeighting = case.setting("weighting")?;
                let objective = TrainingObjective::FlowMatching { mean, deviation, weighting };
                Ok(Self::new(objective, sums()?, "s"))
            }
            "min_snr" => {
                let options = TrainingOptions {
                    min_snr_gamma: Some(number("gamma")?),
                    ..TrainingOptions::default()
                };
                let scheduler = SchedulerConfig::parse(&case.settings().to_string())?;
                let (images, noise) = ("x0", "noise");
                Ok(Self { options, scheduler, noise_level: "t", images, noise })
            }
            _ => Self::score(case),
        }
    }

    /// An objective of score matching.
    fn score(case: &Case) -> Result<Self, Error> {
        let number = |key: &str| case.setting::<f64>(key);
        let Some(equation) = case.setting::<Option<String>>("sde")? else {
            let spread: Option<String> = case.setting("sigma_dist")?;
            if spread.is_some_and(|name| name != "geometric") {
                return Err(case.refuse("config: sigma_dist is geometric"));
            }
            let objective = TrainingObjective::Ncsn {
                sigma_begin: number("sigma_begin")?,
                sigma_end: number("sigma_end")?,
                levels: case.setting("num_classes")?,
                anneal_power: number("anneal_power")?,
            };
            let images = if case.has("x0") { "x0" } else { "x" };
            return Ok(Self { images, ..Self::new(objective, true, "labels") });
        };
        let likelihood: bool = case.setting("likelihood_weighting")?;
        let mean: bool = case.setting("reduce_mean")?;
        let objective = match equation.to_lowercase().as_str() {
            "vesde" => TrainingObjective::VeSde {
                sigma_min: number("sigma_min")?,
                sigma_max: number("sigma_max")?,
                likelihood,
            },
            name @ ("vpsde" | "subvpsde") => {
                let (beta_min, beta_max) = (number("beta_min")?, number("beta_max")?);
                match name {
                    "vpsde" => TrainingObjective::VpSde { beta_min, beta_max, likelihood },
                    _ => TrainingObjective::SubVpSde { beta_min, beta_max, likelihood },
                }
            }
            _ => return Err(case.refuse(format!("config: sde {equation} is not known"))),
        };
        let trained = Self::new(objective, !mean, "uniform");
        Ok(Self { images: "x", noise: "z", ..trained })
    }

    /// The levels of the case, one after another.
    fn levels(&self, case: &Case) -> Result<Vec<f64>, Error> {
        let levels = case.tensor(self.noise_level)?.numbers.to_f64();
        if self.noise_level != "uniform" {
            return Ok(levels);
        }
        let first: f64 = case.setting("eps")?;
        Ok(levels.into_iter().map(|uniform| uniform * (1.0 - first) + first).collect())
    }

    /// Whether the levels of the case are rows of the objective's own.
    fn are_rows(&self) -> bool {
        matches!(self.options.objective, TrainingObjective::Betas | TrainingObjective::Ncsn { .. })
    }

    /// The schedule of an objective with betas.
    fn schedule(&self) -> Result<Option<Schedule>, Error> {
        match self.options.objective {
            TrainingObjective::Betas => Ok(Some(self.scheduler.schedule()?)),
            _ => Ok(None),
        }
    }
}

/// Kinds `edm`, `flow_matching`, `min_snr` and `denoising_score_matching`.
pub(super) fn run(gpu: &Gpu, case: &Case) -> Result<Outcome, Error> {
    let part: String = case.setting("part")?;
    match part.as_str() {
        "langevin" => case.compare(&samplers::langevin(gpu, case)?),
        "train" => {
            let trained = Trained::of(case)?;
            let levels = trained.levels(case)?;
            if let Some(schedule) = trained.schedule()? {
                case.indices("t", schedule.timesteps())?;
            }
            let given = match trained.are_rows() {
                true => Given { rows: levels, noises: None },
                false => {
                    let rows = (0..levels.len()).map(|index| index as f64).collect();
                    Given { rows, noises: Some(levels) }
                }
            };
            models::trained(gpu, case, trained.scheduler, trained.options, given)
        }
        _ => case.compare(&objective(gpu, case)?),
    }
}

/// The loss and its gradient on the device, and what the network is shown.
fn device(
    gpu: &Gpu,
    case: &Case,
    trained: &Trained,
    objective: &mut Objective,
    rows: Vec<f32>,
) -> Result<Results, Error> {
    let mut graph = CaseGraph::new(case);
    let x0 = graph.input(trained.images, Axes::Image)?;
    let noise = graph.input(trained.noise, Axes::Image)?;
    let output = graph.input("output", Axes::Image)?;
    let batch = graph.graph.type_of(x0).shape[0];
    if rows.len() != batch {
        return Err(case.refuse(format!("{} is not one for each image", trained.noise_level)));
    }
    let rows = graph.given(TensorType::f32(&[batch]), rows);
    let table = objective.levels(&mut graph.graph);
    let x = graph.graph.push(AddNoise, &[x0, rows, table, noise])?;
    let noisy = Noisy { x0, noise, x, drawn: Drawn { timesteps: rows, factors: None } };
    let [_, target] = objective.compared(&mut graph.graph, &noisy, output)?;
    let losses = objective.losses(&mut graph.graph, &noisy, output)?;
    let one = Constant { of: graph.graph.type_of(losses.loss), number: 1.0.into() };
    let one = graph.graph.push(one, &[])?;
    graph.gradients(losses.loss, one, &[(output, "goutput".into(), Axes::Image)])?;
    for name in ["x_t", "perturbed", "network_input"] {
        graph.output(name, x, Axes::Image);
    }
    graph.output("target", target, Axes::Image);
    graph.output("loss", losses.loss, Axes::Same);
    if let Some(images) = losses.images {
        graph.output("losses", images, Axes::Same);
    }
    graph.tables(&objective.tables);
    graph.run(gpu)
}

/// One loss and its gradient, and the numbers on the way.
fn objective(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let trained = Trained::of(case)?;
    let levels = trained.levels(case)?;
    let schedule = trained.schedule()?;
    let (options, scheduler) = (&trained.options, &trained.scheduler);
    let numbered = |index: usize| index as f32;
    let (mut objective, rows) = match trained.are_rows() {
        true => {
            let rows = levels.iter().map(|&level| level as f32).collect();
            (Objective::new(scheduler, schedule.as_ref(), options), rows)
        }
        false => {
            let rows = (0..levels.len()).map(numbered).collect();
            (Objective::at(scheduler, None, options, &levels), rows)
        }
    };
    if let Some(schedule) = &schedule {
        case.indices("t", schedule.timesteps())?;
    }
    let mut results = device(gpu, case, &trained, &mut objective, rows)?;
    let own = |level: &f64| options.objective.level(*level, options.sum_loss);
    let column = |number: &dyn Fn(f64) -> f64| levels.iter().map(|&level| number(level)).collect();
    let mut give = |name: &str, numbers: Vec<f64>| results.insert(name.into(), numbers);
    give("timestep", levels.iter().map(|level| own(level).timestep).collect());
    give("labels", levels.iter().map(|level| own(level).timestep).collect());
    give("t", levels.clone());
    give("weight", levels.iter().map(|level| own(level).weight).collect());
    match options.objective {
        TrainingObjective::Betas => {
            let schedule = schedule.as_ref().expect("an objective with betas has some");
            let alpha = |level: f64| schedule.alphas_cumprod()[level as usize];
            give("snr", column(&|level| alpha(level) / (1.0 - alpha(level))));
            let weights =
                min_snr_weights(schedule, scheduler.prediction_type, options.min_snr_gamma);
            give("weight", column(&|level| weights[level as usize].into()));
        }
        TrainingObjective::Edm { sigma_data: unit, .. } => {
            let length = |sigma: f64| sigma.hypot(unit);
            give("c_skip", column(&|sigma| (unit / length(sigma)).powi(2)));
            give("c_out", column(&|sigma| sigma * unit / length(sigma)));
            give("c_in", column(&|sigma| 1.0 / length(sigma)));
            give("c_noise", column(&|sigma| 0.25 * sigma.ln()));
            give("weight", column(&|sigma| (length(sigma) / (sigma * unit)).powi(2)));
            denoised(case, &levels, unit, &mut results)?;
        }
        TrainingObjective::Ncsn { levels: count, .. } => {
            let sigma = |index: usize| options.objective.level(index as f64, true).shown[1];
            give("sigmas", (0..count).map(sigma).collect());
        }
        _ => {}
    }
    drawn(case, options, &levels, &mut results)?;
    Ok(results)
}

/// What follows from random numbers and times.
fn drawn(
    case: &Case,
    options: &TrainingOptions,
    levels: &[f64],
    results: &mut Results,
) -> Result<(), Error> {
    let drawn = |number: &f64| options.objective.of_normal(*number);
    for name in ["sigma_from_rnd", "s_from_rnd"] {
        if case.has("rnd") {
            let numbers = case.tensor("rnd")?.numbers.to_f64();
            results.insert(name.into(), numbers.iter().map(drawn).collect());
        }
    }
    let diffusion = |level: &f64| options.objective.diffusion(*level);
    let equations: Vec<_> = levels.iter().filter_map(diffusion).collect();
    results.insert("std".into(), equations.iter().map(|of| of.deviation).collect());
    results.insert("diffusion".into(), equations.iter().map(|of| of.g).collect());
    Ok(())
}

/// EDM's noisy image, and the one that follows from the network's output, from what it was shown.
fn denoised(case: &Case, sigmas: &[f64], unit: f64, results: &mut Results) -> Result<(), Error> {
    let output = case.tensor("output")?.numbers.to_f64();
    let shown = results.get("network_input").cloned().unwrap_or_default();
    let each = shown.len() / sigmas.len().max(1);
    let (mut noisy, mut denoised) = (Vec::new(), Vec::new());
    for (index, (x, output)) in shown.iter().zip(output).enumerate() {
        let sigma = sigmas[index / each.max(1)];
        let length = sigma.hypot(unit);
        noisy.push(x * length);
        denoised.push((unit / length).powi(2) * x * length + sigma * unit / length * output);
    }
    results.insert("noisy".into(), noisy);
    results.insert("denoised".into(), denoised);
    Ok(())
}
