//! Cases of blocks of the U-Net, and of a short training run.
use super::{
    Outcome,
    case_files::{Case, Results},
    case_graph::{Axes, CaseGraph},
    networks::{add_weights, model, norm, stored_order},
    ops::OptimizerConfig,
};
use crate::{
    data::Batch,
    diffusion::schedule::SchedulerConfig,
    error::Error,
    gpu::Gpu,
    models::{
        blocks::{Blocks, Resample},
        unet2d::TimeScaleShift,
    },
    nn::{Layers, Model, Views, Weights},
    ops::Silu,
    training::{Given, Trainer, TrainingGraph, TrainingOptions},
    value::{TensorType, Value},
};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// Builds a block of the U-Net over the case's tensors: `param.NAME` is the parameter `NAME`.
/// Its results are `y`, `gx`, `gtemb` if there is a `temb`, and `grad.NAME`.
fn block(
    gpu: &Gpu,
    case: &Case,
    blocks: Blocks,
    build: impl FnOnce(&mut Layers, Blocks, Value) -> Result<Value, Error>,
) -> Result<Results, Error> {
    let mut case_graph = CaseGraph::new(case);
    let x = case_graph.input("x", Axes::Image)?;
    let mut named = vec![(x, "gx".to_owned(), Axes::Image)];
    let mut embedding = None;
    if case.has("temb") {
        let temb = case_graph.input("temb", Axes::Same)?;
        named.push((temb, "gtemb".to_owned(), Axes::Same));
        embedding = Some(case_graph.graph.push(Silu, &[temb])?);
    }
    let mut parameters = Views::default();
    for name in case.names().filter_map(|name| name.strip_prefix("param.")) {
        let stored = format!("param.{name}");
        let axes = Axes::of_parameter(case.tensor(&stored)?.shape.len());
        let value = case_graph.input(&stored, axes)?;
        parameters.insert(name, value);
        named.push((value, format!("grad.{name}"), axes));
    }
    let gy = case_graph.input("gy", Axes::Image)?;
    let mut layers = Layers::new(&mut case_graph.graph, &parameters, None);
    let y = build(&mut layers, Blocks { embedding, ..blocks }, x)?;
    if case_graph.graph.type_of(gy) != case_graph.graph.type_of(y) {
        return Err(case.refuse("gy has not the shape of y"));
    }
    case_graph.output("y", y, Axes::Image);
    case_graph.gradients(y, gy, &named)?;
    case_graph.run(gpu)
}

pub(super) fn attention_block(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let groups = case.setting("groups")?;
    let (heads, eps) = (case.setting("heads")?, case.setting("eps")?);
    let blocks = Blocks { groups, eps, dropout: 0.0, scale_shift: false, embedding: None };
    block(gpu, case, blocks, |layers, blocks, x| {
        blocks.attention(layers, x, heads, Some(groups), 1.0)
    })
}

pub(super) fn resnet_block(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (cout, kind) = (case.setting("cout")?, case.setting("time_embedding_norm")?);
    let blocks = Blocks {
        groups: case.setting("groups")?,
        eps: case.setting("eps")?,
        dropout: 0.0,
        scale_shift: matches!(kind, TimeScaleShift::ScaleShift),
        embedding: None,
    };
    block(gpu, case, blocks, |layers, blocks, x| {
        blocks.resnet(layers, x, cout, 1.0, Resample::None)
    })
}

/// Settings of a training case.
#[derive(Deserialize)]
struct Training {
    #[serde(flatten)]
    optimizer: OptimizerConfig,
    #[serde(default)]
    loss: String,
    #[serde(default)]
    null_parameters: HashSet<String>,
    #[serde(default)]
    rel_update_tol: HashMap<String, f64>,
}

impl Training {
    /// The options with those that the case names.
    fn options(&self, case: &Case, others: TrainingOptions) -> Result<TrainingOptions, Error> {
        let optimizer = &self.optimizer;
        Ok(TrainingOptions {
            learning_rate: optimizer.lr,
            warmup: 0,
            betas: optimizer.betas,
            epsilon: optimizer.eps,
            weight_decay: optimizer.weight_decay,
            decoupled: optimizer.decoupled(case)?,
            clip: optimizer.grad_clip_norm,
            ema_decay: optimizer.ema_decay,
            ema_warmup: false,
            seed: 0,
            ..others
        })
    }

    /// Holds what a training that began with `weights` came to against the case: weights by how far
    /// they moved, everything else as in other cases.
    fn compare(&self, case: &Case, results: &Results, weights: &Weights) -> Result<Outcome, Error> {
        let start: HashMap<&str, Vec<f64>> = stored_order(weights).collect();
        let mut differences = Vec::new();
        for output in case.outputs() {
            let parameter = output.split_once('.').map_or(output, |(_, name)| name);
            if self.null_parameters.contains(parameter) {
                continue;
            }
            let known =
                (results.get(output), start.get(parameter), self.rel_update_tol.get(parameter));
            differences.push(match known {
                (Some(got), Some(start), Some(&allowed)) if output.starts_with("final.") => {
                    let want = case.tensor(output)?.numbers.to_f64();
                    let distance = |a: &[f64], b: &[f64]| norm(a.iter().zip(b).map(|(a, b)| a - b));
                    let error = distance(got, &want) / distance(&want, start);
                    let same = got.len() == want.len() && error <= allowed;
                    (!same).then(|| format!("{output} update {error:.1e} > {allowed:.1e}"))
                }
                _ => case.difference(output, results)?,
            });
        }
        Ok(Outcome::of(differences))
    }
}

/// The texts of the batches of a training case, as a U-Net attends to them.
const TEXTS: &str = "encoder_hidden_states";

/// Timesteps of a training case, or the rows and levels of an objective that has no betas.
pub(super) struct Drawn {
    /// Of every image of every step.
    pub rows: Vec<f64>,
    /// The levels, if the objective leaves them open.
    pub noises: Option<Vec<f64>>,
}

/// Kind `train`.
pub(super) fn train(gpu: &Gpu, case: &Case) -> Result<Outcome, Error> {
    let config: Training = case.config()?;
    // The settings' keys that a scheduler knows are the schedule's; it ignores the others.
    let scheduler = SchedulerConfig::parse(&case.settings().to_string())?;
    case.indices("t", scheduler.num_train_timesteps)?;
    let options = TrainingOptions { sum_loss: config.loss == "sum", ..TrainingOptions::default() };
    let drawn = Drawn { rows: case.tensor("t")?.numbers.to_f64(), noises: None };
    trained(gpu, case, scheduler, options, drawn)
}

/// Steps of training on given batches, timesteps and noises, through the trainer.
pub(super) fn trained(
    gpu: &Gpu,
    case: &Case,
    scheduler: SchedulerConfig,
    options: TrainingOptions,
    drawn: Drawn,
) -> Result<Outcome, Error> {
    let (model, weights) = model(case)?;
    trained_from(gpu, case, scheduler, options, drawn, Start { model, frozen: None, weights })
}

/// What a training begins with.
pub(super) struct Start<M> {
    /// The model.
    pub model: M,
    /// The weights that stay as they are, where adapters alone are trained.
    pub frozen: Option<Weights>,
    /// Those that are trained.
    pub weights: Weights,
}

/// As [`trained`], of any model.
pub(super) fn trained_from<M: Model>(
    gpu: &Gpu,
    case: &Case,
    scheduler: SchedulerConfig,
    options: TrainingOptions,
    drawn: Drawn,
    Start { model, frozen, weights }: Start<M>,
) -> Result<Outcome, Error> {
    let config: Training = case.config()?;
    let of_images = if case.has("z0") { "z0" } else { "x0" };
    let &[steps, batch, channels, height, width] = &case.tensor(of_images)?.shape[..] else {
        let message = format!("{of_images} must have five axes: steps and a batch of images");
        return Err(case.refuse(message));
    };
    let images = case.tensor(of_images)?.numbers.clone().into_f32();
    let texts = match case.has(TEXTS) {
        true => case.tensor(TEXTS)?.numbers.clone().into_f32(),
        false => Vec::new(),
    };
    let noise = case.tensor("noise")?.numbers.clone().into_f32();
    let timesteps: Vec<f32> = drawn.rows.iter().map(|&row| row as f32).collect();
    if steps != config.optimizer.steps
        || noise.len() != images.len()
        || timesteps.len() != steps * batch
    {
        return Err(case.refuse("images, t and noise do not belong together, or to config.steps"));
    }
    let options = TrainingOptions { batch, ..config.options(case, options)? };
    let (given, size) = (Given::TimestepsAndNoise, [height, width]);
    let noises = drawn.noises.as_deref();
    let graph = TrainingGraph::at(gpu.target(), &model, size, &scheduler, &options, given, noises)?;
    let mut trainer = Trainer::of_graph(gpu, model, scheduler, size, options, graph)?;
    trainer.load(&weights)?;
    if let Some(frozen) = &frozen {
        trainer.load_frozen(frozen)?;
    }
    let context = trainer.graph().condition.context;
    let given = trainer.graph().given.expect("asked for above");
    let shape = TensorType::f32(&[batch, height, width, channels]).shape;
    let of_step = |tensor: &[f32], step: usize| {
        Axes::Image.read(&shape, &tensor[step * shape.elements()..][..shape.elements()])
    };
    for step in 0..steps {
        let executor = trainer.executor();
        executor.write(given.timesteps, &timesteps[step * batch..][..batch])?;
        executor.write(given.noise, &of_step(&noise, step))?;
        if let Some(context) = context {
            let count = texts.len() / steps;
            executor.write(context, &texts[step * count..][..count])?;
        }
        trainer.step(&Batch { images: of_step(&images, step), labels: None })?;
    }
    let metrics = trainer.metrics()?;
    let mut results = Results::new();
    results.insert("loss".into(), metrics.iter().map(|m| m.loss.into()).collect());
    results.insert("grad_norm".into(), metrics.iter().map(|m| m.gradient_norm.into()).collect());
    add_weights("final", &trainer.raw_weights()?, &mut results);
    add_weights("ema", &trainer.averaged_weights()?, &mut results);
    config.compare(case, &results, &weights)
}
