//! The loss on images that training never sees.
use super::{
    objective::{Drawn, Noisy, Objective},
    step::schedule_of,
    trainer::Trainer,
};
use crate::{
    data::{Images, Loader, Loading},
    diffusion::streams,
    error::{Error, TrainingError},
    gpu::Executor,
    graph::Graph,
    nn::{Condition, FrozenModel, Model, ModelInputs},
    ops::{AddDrawnNoise, Counter, DrawTimesteps, MeanSquaredError, Reduction},
    passes,
    value::{TensorType, Value},
};

/// Keys timesteps and noise, apart from any seed of training.
const SEED: u64 = 0x7661_6c69_6461_7465;

/// Measures the loss of the averaged weights on held-out images: the mean squared error per
/// element of what the network predicts, whatever it is trained by, without dropout, with the same
/// timesteps and noise every time, so that two measurements differ by the weights alone.
///
/// ```no_run
/// use ddim::{data, training::{Trainer, TrainingOptions, Validation}};
/// # use ddim::models::unet2d::{UNet, UNetConfig};
/// # use ddim::gpu::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let config = UNetConfig { in_channels: 1, out_channels: 1, ..UNetConfig::default() };
/// # let unet = UNet::new(config)?;
///
/// let (train, held_out) = data::digits().split(0.1, 0)?;
/// let options = TrainingOptions::default();
/// let mut trainer = Trainer::new(&gpu, unet, Default::default(), [8, 8], options)?;
/// let mut validation = Validation::new(&trainer, held_out)?;
/// trainer.train(&train, 1000, false, |_| std::ops::ControlFlow::Continue(()))?;
/// println!("held-out loss {:.4}", validation.loss(&mut trainer, |_, _| {})?);
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct Validation {
    executor: Executor,
    x0: Value,
    labels: Option<Value>,
    counter: Value,
    loss: Value,
    arenas: Vec<Value>,
    images: Images,
    batch: usize,
    workers: usize,
}

impl Validation {
    /// Prepares to measure `trainer`'s model on images, in batches of at most its own size.
    ///
    /// # Errors
    /// If the data do not fit the model, or the plan does not fit the device.
    pub fn new<M: Model>(trainer: &Trainer<M>, images: impl Into<Images>) -> Result<Self, Error> {
        let images = images.into();
        trainer.check_images(images.shape(), images.classes())?;
        let (model, gpu) = (trainer.model(), trainer.gpu());
        let schedule = schedule_of(trainer.scheduler(), trainer.options())?;
        let batch = trainer.options().batch.min(images.len());

        let mut graph = Graph::new();
        let mut objective =
            Objective::new(trainer.scheduler(), schedule.as_ref(), trainer.options());
        let count = objective.count();
        let [height, width, channels] = images.shape();
        let image = TensorType::f32(&[batch, height, width, channels]);
        let x0 = graph.input(image);
        let condition = Condition::inputs(&mut graph, model, batch);
        let levels = objective.levels(&mut graph);
        let counter = graph.input(Counter::of());
        let draw = DrawTimesteps {
            batch,
            images: batch,
            count: count as u32,
            antithetic: false,
            stream: streams::TIMESTEPS,
        };
        let timesteps = graph.push(draw, &[counter])?;
        let noising = AddDrawnNoise { stream: streams::NOISE };
        let made = graph.push_all(noising, &[x0, timesteps, levels, counter])?;
        let told = objective.told(&mut graph, timesteps)?;
        let inputs = ModelInputs { x: made[0], timesteps: told, condition };
        // Laid out as the averages, which are copied whole.
        let (arenas, most) = (trainer.arenas().clone(), gpu.target().max_binding);
        let network = FrozenModel::adapted(&mut graph, arenas, None, most, |layers| {
            model.build(layers, &inputs)
        })?;
        let drawn = Drawn { timesteps, factors: None };
        let noisy = Noisy { x0, noise: made[1], x: made[0], drawn };
        let compared = objective.compared(&mut graph, &noisy, network.prediction)?;
        let mean = MeanSquaredError { reduction: Reduction::Mean };
        let loss = graph.push(mean, &compared)?;
        graph.outputs.push(loss);

        let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        objective.tables.write(&mut executor)?;
        if let Some(told) = condition.vector {
            // Nothing was done to these images.
            executor.write(told, &vec![0.0; graph.type_of(told).shape.elements()])?;
        }
        Ok(Self {
            executor,
            x0,
            labels: condition.labels,
            counter,
            loss,
            arenas: network.parameters.inputs,
            images,
            batch,
            workers: 0,
        })
    }

    /// The same, with images read ahead by so many threads.
    pub fn with_workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Waits, then measures the trainer's averaged weights. The last batch is filled up with
    /// images of the first ones. `hear` is told how many of how many batches are done.
    ///
    /// # Errors
    /// [`TrainingError::HeldOut`] if the loss of a batch is not finite, or if the device is lost.
    pub fn loss<M: Model>(
        &mut self,
        trainer: &mut Trainer<M>,
        mut hear: impl FnMut(usize, usize),
    ) -> Result<f32, Error> {
        for (&arena, contents) in self.arenas.iter().zip(trainer.part(3)) {
            self.executor.write(arena, &contents?)?;
        }
        let count = self.images.len().div_ceil(self.batch);
        let loading = Loading { workers: self.workers, ..Loading::default() };
        let mut batches = Loader::new(&self.images, self.batch, SEED, loading, 0);
        let mut sum = 0.0;
        for index in 0..count {
            let batch = batches.batch()?;
            self.executor.write(self.x0, &batch.images)?;
            if let Some(value) = self.labels {
                self.executor.write_u32(value, batch.labels.as_deref().unwrap_or_default())?;
            }
            let counter = Counter { seed: SEED, step: index as u32, ..Counter::default() };
            self.executor.write_u32(self.counter, &counter.words())?;
            self.executor.run(1)?;
            let loss = self.executor.read(self.loss)?[0];
            if !loss.is_finite() {
                return Err(TrainingError::HeldOut { batch: index, loss }.into());
            }
            sum += f64::from(loss);
            hear(index + 1, count);
        }
        Ok((sum / count as f64) as f32)
    }
}
