//! Kind `classifier_guidance`: ancestral sampling and DDIM, led by a classifier.
use super::{noise, refuse_other_timesteps, stored};
use crate::{
    diffusion::{
        ClassifierGuidance, SamplingGraph, SamplingOptions,
        samplers::{DdimOptions, Step, Table, ddim_table, ddpm_table},
        schedule::{Level, Prediction, Respacing, SchedulerConfig, StepWeights, Variance},
    },
    error::Error,
    gpu::{Executor, Gpu},
    models::unet2d::UNet,
    ops::Counter,
    pipeline::Network,
    value::Value,
    verify::{
        case_files::{Case, Results},
        case_graph::Axes,
        classifier,
    },
    weights::{FileWeights, NonFinite},
};
use serde::Deserialize;

/// Settings of a case.
#[derive(Deserialize)]
struct Guided {
    sampler: String,
    classifier_scale: f64,
    timestep_respacing: String,
    noise_schedule: String,
    eta: f64,
    clip_denoised: bool,
    variance: Variance,
    flags: serde_json::Value,
    classifier_flags: serde_json::Value,
    classifier_file: String,
}

impl Guided {
    /// The steps, and the same steps that stop at the predicted image.
    fn tables(&self, case: &Case) -> Result<[Table; 2], Error> {
        let beta_schedule = self.noise_schedule.parse()?;
        let scheduler = SchedulerConfig { beta_schedule, ..SchedulerConfig::default() };
        let schedule = scheduler.schedule()?;
        let respacing: Respacing = self.timestep_respacing.parse()?;
        let timesteps = respacing.timesteps(scheduler.num_train_timesteps)?;
        let prediction =
            Prediction { clip: self.clip_denoised.then_some(1.0), ..Prediction::default() };
        let is_ddim = self.sampler == "ddim";
        let table = match is_ddim {
            true => {
                let options =
                    DdimOptions { eta: self.eta, classifier: true, ..DdimOptions::default() };
                ddim_table(&schedule, &timesteps, &prediction, &options)?
            }
            false => ddpm_table(&schedule, &timesteps, &prediction, self.variance)?,
        };
        refuse_other_timesteps(case, &table)?;
        // Algorithm 2 shifts the image too, algorithm 1 the mean alone.
        let only_image = |step: &Step| -> Result<Step, Error> {
            let level = Level::of(&schedule, step.timestep as usize)?;
            let gradient = if is_ddim { level.sigma * level.sigma / level.alpha } else { 0.0 };
            let next = StepWeights { x0: 1.0, ..StepWeights::default() }.into();
            Ok(Step { next, sigma: 0.0, log_deviations: [0.0; 2], gradient, ..*step })
        };
        let images = table.steps.iter().map(only_image).collect::<Result<_, _>>()?;
        Ok([table.clone(), Table { steps: images, ..table }])
    }
}

/// A plan of one guided step, at its first.
struct Stepper {
    executor: Executor,
    x: Value,
    noise: Option<Value>,
}

impl Stepper {
    fn new(
        gpu: &Gpu,
        (unet, weights): &(UNet, FileWeights),
        size: [usize; 3],
        table: &Table,
        options: &SamplingOptions,
        labels: &[u32],
    ) -> Result<Self, Error> {
        let graph = SamplingGraph::new(gpu.target(), unet, size, table, options)?;
        let mut executor = graph.executor(gpu, table, weights, options)?;
        executor.write_u32(graph.counter, &Counter::default().words())?;
        let guided = graph.classifier.map(|of| of.labels);
        for value in graph.condition.labels.into_iter().chain(guided) {
            executor.write_u32(value, labels)?;
        }
        Ok(Self { executor, x: graph.x, noise: graph.noise })
    }

    fn step(&mut self, x: &[f32], noise: &[f32]) -> Result<Vec<f32>, Error> {
        self.executor.write(self.x, x)?;
        if let Some(value) = self.noise {
            self.executor.write(value, noise)?;
        }
        self.executor.run(1)?;
        self.executor.read(self.x)
    }
}

pub(in crate::verify) fn run(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let config: Guided = case.config()?;
    let file = Network::open(&case.model()?, Some(&config.flags), None)?;
    let model = (file.unet.clone(), file.weights(NonFinite::Refuse)?);
    let (network, weights) =
        classifier::read(&config.classifier_flags, &case.file(&config.classifier_file))?;
    let classes = case.indices("class_labels", network.config().num_classes)?;
    let labels: Vec<u32> = classes.into_iter().map(|class| class as u32).collect();
    let [table, images] = config.tables(case)?;
    let (shape, mut x) = case.dense("x_T", Axes::Image)?;
    let (size, elements) = ([shape[0], shape[1], shape[2]], shape.elements());
    let noise = noise(case, table.steps.len(), elements)?;
    let classifier = ClassifierGuidance {
        classifier: &network,
        weights: &weights,
        scale: config.classifier_scale,
    };
    let options = SamplingOptions {
        given_noise: !noise.is_empty(),
        classifier: Some(classifier),
        ..SamplingOptions::default()
    };
    let mut stepper = Stepper::new(gpu, &model, size, &table, &options, &labels)?;
    let classifier = Some(classifier).filter(|_| images.takes_classifier());
    let of_image = SamplingOptions { given_noise: false, classifier, ..options };
    let mut image_of = Stepper::new(gpu, &model, size, &images, &of_image, &labels)?;
    let (mut samples, mut predicted) = (vec![x.clone()], Vec::new());
    for index in 0..table.steps.len() {
        let noise = noise.get(index * elements..(index + 1) * elements).unwrap_or_default();
        let noise = Axes::Image.read(&shape, noise);
        predicted.push(image_of.step(&x, &[])?);
        x = stepper.step(&x, &noise)?;
        samples.push(x.clone());
    }
    Ok([
        ("xs".to_owned(), stored(&shape, &samples)),
        ("x0_preds".to_owned(), stored(&shape, &predicted)),
    ]
    .into())
}
