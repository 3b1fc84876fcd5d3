//! Sampling with a network that runs elsewhere: the caller is asked once a step.
use super::{sampler::Sampler, samplers::Table};
use crate::{
    error::Error,
    gpu::{DeviceTensor, Gpu},
    nn::{Layers, Model, ModelInputs, Weights},
    value::{TensorType, Value},
};

/// A step's request to the caller: fill `output` on the device from `x`.
///
/// Example: [`ClosureSampler`].
pub struct Evaluation {
    /// The network's timestep.
    pub timestep: f64,
    /// Noisy images `f32[batch, height, width, channels]`.
    pub x: DeviceTensor,
    /// Of the same type, or with twice the channels: see
    /// [`SamplingStep`](crate::ops::SamplingStep).
    pub output: DeviceTensor,
}

/// A network whose output is an input of the plan.
pub(crate) struct Elsewhere {
    /// Channels of the images.
    pub channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
}

impl Model for Elsewhere {
    fn channels(&self) -> usize {
        self.channels
    }

    fn out_channels(&self) -> usize {
        self.out_channels
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let of = layers.graph.type_of(inputs.x);
        let [batch, height, width, _] = of.shape[..] else {
            unreachable!("samplers work on images of four axes")
        };
        let output = TensorType::f32(&[batch, height, width, self.out_channels]);
        Ok(layers.graph.input(output))
    }
}

/// A [`Sampler`] for a network outside its plan. The update is the same kernel; the promise of one
/// plan without a host in it is that of networks which are graphs.
///
/// ```no_run
/// use ddim::diffusion::{ClosureSampler, Evaluation, schedule::SchedulerConfig};
/// # let gpu = ddim::gpu::Gpu::new(&ddim::gpu::GpuOptions::default())?;
///
/// let table = SchedulerConfig::default().ddim(50, 0.0)?;
/// let mut sampler = ClosureSampler::new(&gpu, [4, 32, 32, 3], 3, &table, 0)?;
/// sampler.begin(0)?;
/// // In the place of a network: no noise at all.
/// sampler.run(|Evaluation { output, .. }: &Evaluation| {
///     let zeros = vec![0_u8; output.of.bytes() as usize];
///     gpu.queue().write_buffer(&output.buffer, output.offset, &zeros);
///     Ok::<_, ddim::Error>(())
/// })?;
/// assert_eq!(sampler.images()?.len(), 4 * 32 * 32 * 3);
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct ClosureSampler {
    sampler: Sampler,
    timesteps: Vec<f64>,
    step: usize,
}

impl ClosureSampler {
    /// Prepares to sample `[batch, height, width, channels]` images at a time along `table`, for a
    /// network with so many channels in its output.
    ///
    /// # Errors
    /// If the output has neither as many channels as the images nor twice as many.
    pub fn new(
        gpu: &Gpu,
        [batch, height, width, channels]: [usize; 4],
        out_channels: usize,
        table: &Table,
        seed: u64,
    ) -> Result<Self, Error> {
        let model = Elsewhere { channels, out_channels };
        let weights = Weights::default();
        let size = [batch, height, width];
        let sampler = Sampler::new(gpu, &model, &weights, size, table, None, seed)?;
        let timesteps = table.steps.iter().map(|step| step.timestep).collect();
        Ok(Self { sampler, timesteps, step: 0 })
    }

    /// As [`Sampler::begin`].
    ///
    /// # Errors
    /// If the device is lost.
    pub fn begin(&mut self, first: u32) -> Result<(), Error> {
        self.step = 0;
        self.sampler.begin(first)
    }

    /// As [`Sampler::begin_from`].
    ///
    /// # Errors
    /// If `x` has another size, or the device is lost.
    pub fn begin_from(&mut self, first: u32, x: &[f32]) -> Result<(), Error> {
        self.step = 0;
        self.sampler.begin_from(first, x)
    }

    /// Takes the remaining steps; before each, `predict` fills the output. Work that it submits to
    /// the device's queue is in order with the step.
    ///
    /// # Errors
    /// Those of `predict`, or if the device is lost.
    pub fn run<E: From<Error>>(
        &mut self,
        mut predict: impl FnMut(&Evaluation) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(&timestep) = self.timesteps.get(self.step) {
            let x = self.sampler.executor.tensor(self.sampler.x)?;
            let output = self.sampler.executor.tensor(self.sampler.output)?;
            predict(&Evaluation { timestep, x, output })?;
            self.sampler.advance(1)?;
            self.step += 1;
        }
        Ok(())
    }

    /// As [`Sampler::images`].
    ///
    /// # Errors
    /// As [`Sampler::images`].
    pub fn images(&mut self) -> Result<Vec<f32>, Error> {
        self.sampler.images()
    }
}
