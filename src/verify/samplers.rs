//! Cases of sampling, every step by the fused kernel on the device, with the case's noise.
use super::{
    cases::{Case, Results},
    models, schedules,
    trial::Axes,
};
use crate::{
    diffusion::{
        SamplingGraph,
        schedule::{Step, Table},
    },
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Advance, Counter, DdimStep, SamplingRow},
    passes,
    training::arenas_of,
    value::{Shape, TensorType, Value},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    model: String,
    steps: usize,
    #[serde(default)]
    eta: f64,
    keep_every: Option<usize>,
}

/// The setting that this crate has no sampler for, if there is one.
pub(super) fn unsupported(case: &Case) -> Option<String> {
    let settings = case.settings();
    for (key, supported) in [
        ("prediction_type", &["epsilon"][..]),
        ("variance_type", &["fixed_small", "fixed_large"]),
        ("model", &["gauss", "sin", "unet"]),
    ] {
        match settings[key].as_str() {
            Some(found) if !supported.contains(&found) => return Some(format!("{key} {found}")),
            _ => {}
        }
    }
    let set = |key: &&str| settings[key].as_bool() == Some(true);
    ["thresholding", "use_clipped_model_output"].into_iter().find(|key| set(key)).map(str::to_owned)
}

/// A sampling step whose network's output is given.
struct Stepper {
    executor: Executor,
    x: Value,
    epsilon: Value,
    noise: Option<Value>,
}

impl Stepper {
    fn new(gpu: &Gpu, of: TensorType, table: &Table, given_noise: bool) -> Result<Self, Error> {
        let mut graph = Graph::new();
        let counter = graph.input(Counter::of());
        let rows = graph.input(TensorType::f32(&[table.steps.len(), Table::COLUMNS]));
        let (x, epsilon) = (graph.input(of), graph.input(of));
        let noise = given_noise.then(|| graph.input(of));
        let began = graph.push_all(SamplingRow { batch: of.shape[0] }, &[counter, rows])?;
        let mut operands = vec![x, epsilon, began[1], began[0]];
        operands.extend(noise);
        let next = graph.push(DdimStep { stream: 0, given_noise }, &operands)?;
        graph.update(x, next);
        let advanced = graph.push(Advance { guarded: false }, &[counter, began[0]])?;
        graph.update(counter, advanced);
        let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        executor.write(rows, &table.rows())?;
        executor.write_u32(counter, &Counter::default().words())?;
        Ok(Self { executor, x, epsilon, noise })
    }

    /// From `x` to the next sample.
    fn step(&mut self, x: &[f32], epsilon: &[f32], noise: &[f32]) -> Result<Vec<f32>, Error> {
        self.executor.write(self.x, x)?;
        self.executor.write(self.epsilon, epsilon)?;
        if let Some(value) = self.noise {
            self.executor.write(value, noise)?;
        }
        self.executor.run(1)?;
        self.executor.read(self.x)
    }
}

/// What predicts the noise.
enum Model {
    /// Data normally distributed around `mu` with variance 0.25.
    Gauss(Vec<f32>, Stepper),
    /// A made-up function.
    Sin(Stepper),
    /// A U-Net, in one plan with the step.
    UNet(Box<(SamplingGraph, Executor)>),
}

impl Model {
    fn new(gpu: &Gpu, case: &Case, of: Shape, table: &Table) -> Result<Self, Error> {
        let given_noise = case.has("noise");
        let stepper = || Stepper::new(gpu, TensorType::f32(&of), table, given_noise);
        match case.config::<Config>()?.model.as_str() {
            "gauss" => Ok(Self::Gauss(case.dense("mu", Axes::Image)?.1, stepper()?)),
            "sin" => Ok(Self::Sin(stepper()?)),
            _ => {
                let (unet, layout, weights) = models::model(gpu, case)?;
                let size = [of[0], of[1], of[2]];
                let steps = table.steps.len();
                let graph = SamplingGraph::new(&unet, &layout, size, steps, given_noise)?;
                let mut executor = Executor::new(gpu, graph.plan(gpu.target())?)?;
                for (&arena, contents) in graph.arenas.iter().zip(arenas_of(&layout, &weights)?) {
                    executor.write(arena, &contents)?;
                }
                executor.write(graph.table, &table.rows())?;
                executor.write_u32(graph.counter, &Counter::default().words())?;
                Ok(Self::UNet(Box::new((graph, executor))))
            }
        }
    }

    /// The predicted noise, and the next sample.
    fn step(
        &mut self,
        step: &Step,
        x: &[f32],
        noise: &[f32],
    ) -> Result<(Vec<f32>, Vec<f32>), Error> {
        let toy = |stepper: &mut Stepper, epsilon: Vec<f32>| {
            let next = stepper.step(x, &epsilon, noise)?;
            Ok((epsilon, next))
        };
        match self {
            Self::Gauss(mu, stepper) => {
                let (signal, noise) = (step.alpha.sqrt(), (1.0 - step.alpha).sqrt());
                let variance = 0.25 * step.alpha + 1.0 - step.alpha;
                let pairs = x.iter().zip(mu.iter()).map(|(&x, &mu)| (f64::from(x), f64::from(mu)));
                let epsilon = pairs.map(|(x, mu)| (noise * (x - signal * mu) / variance) as f32);
                toy(stepper, epsilon.collect())
            }
            Self::Sin(stepper) => {
                let turn = 0.01 * step.timestep as f64;
                let epsilon =
                    x.iter().map(|&x| f64::from(x)).map(|x| 0.9 * x + 0.1 * (3.0 * x + turn).sin());
                toy(stepper, epsilon.map(|epsilon| epsilon as f32).collect())
            }
            Self::UNet(model) => {
                let (graph, executor) = model.as_mut();
                executor.write(graph.x, x)?;
                if let Some(value) = graph.noise {
                    executor.write(value, noise)?;
                }
                executor.run(1)?;
                Ok((executor.read(graph.epsilon)?, executor.read(graph.x)?))
            }
        }
    }
}

pub(super) fn run(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let Config { steps, eta, keep_every, .. } = case.config()?;
    let scheduler = schedules::scheduler(case)?;
    let table = match case.kind() {
        "ddim" => scheduler.ddim(steps, eta)?,
        _ => scheduler.ddpm(steps)?,
    };
    let timesteps = table.steps.iter().map(|step| step.timestep as f64);
    if !timesteps.eq(case.tensor("timesteps")?.numbers.to_f64()) {
        return Err(case.refuse("the timesteps are not those that config gives"));
    }
    let (shape, mut x) = case.dense("x_T", Axes::Image)?;
    let elements = shape.elements();
    let noise = match case.has("noise") {
        true => case.tensor("noise")?.numbers.clone().into_f32(),
        false => Vec::new(),
    };
    if case.has("noise") && noise.len() != table.steps.len() * elements {
        return Err(case.refuse("noise is not x_T for every step"));
    }
    // The step kernel again, told to stop at the predicted image.
    let image =
        |step: &Step| Step { from_x0: 1.0, from_epsilon: 0.0, from_x: 0.0, sigma: 0.0, ..*step };
    let images = Table { steps: table.steps.iter().map(image).collect(), ..table };
    let mut images = Stepper::new(gpu, TensorType::f32(&shape), &images, false)?;
    let mut model = Model::new(gpu, case, shape, &table)?;

    let stored = |data: &[f32]| Axes::Image.write(&shape, data).into_iter().map(f64::from);
    let (mut samples, mut predicted): (Vec<f64>, Vec<f64>) = (stored(&x).collect(), Vec::new());
    for (index, step) in table.steps.iter().enumerate() {
        let noise = noise.get(index * elements..(index + 1) * elements).unwrap_or_default();
        let noise = Axes::Image.read(&shape, noise);
        let (epsilon, next) = model.step(step, &x, &noise)?;
        let image = images.step(&x, &epsilon, &[])?;
        if (index + 1) % keep_every.unwrap_or(1).max(1) == 0 {
            samples.extend(stored(&next));
            predicted.extend(stored(&image));
        }
        x = next;
    }
    Ok([("xs".to_owned(), samples), ("x0_preds".to_owned(), predicted)].into())
}
