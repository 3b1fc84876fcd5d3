//! Sampling: S steps are S replays of one plan, with no host wait between them.
use super::{schedule::Table, streams};
use crate::{
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Advance, Counter, DdimStep, DrawNormal, SamplingRow},
    passes,
    plan::{Plan, Target},
    unet::{ArenaLayout, UNet, UNetInputs},
    value::{TensorType, Value},
};

/// A sampling run as a graph, and the values that a caller writes and reads.
#[derive(Clone, Debug)]
pub struct SamplingGraph {
    /// One step: row, U-Net, fused update, counter.
    pub graph: Graph,
    /// `x_t f32[batch, height, width, channels]`, updated where it lies.
    pub x: Value,
    /// `f32[steps, 8]`: a [`Table`]'s rows; held, as the arenas are.
    pub table: Value,
    /// Seed, step and first image: a [`Counter`].
    pub counter: Value,
    /// Parameter arenas.
    pub arenas: Vec<Value>,
    /// Class labels, if the model takes any.
    pub labels: Option<Value>,
    /// Noise of each step `[batch, height, width, channels]`, if it is given.
    pub noise: Option<Value>,
    /// The noise that the model found in the last step.
    pub epsilon: Value,
}

impl SamplingGraph {
    /// One step of sampling `batch` images of `height` x `width` along a table of `steps` rows.
    /// With `given_noise` the noise of a step is an input; otherwise the kernel draws it.
    ///
    /// # Errors
    /// If the model cannot be built at this size.
    pub fn new(
        unet: &UNet,
        layout: &ArenaLayout,
        [batch, height, width]: [usize; 3],
        steps: usize,
        given_noise: bool,
    ) -> Result<Self, Error> {
        let mut graph = Graph::new();
        let image = TensorType::f32(&[batch, height, width, unet.config().in_channels]);
        let x = graph.input(image);
        let counter = graph.input(Counter::of());
        let arenas = layout.inputs(&mut graph);
        let table = graph.hold(TensorType::f32(&[steps, Table::COLUMNS]));
        let labels = unet.label_type(batch).map(|of| graph.input(of));
        let noise = given_noise.then(|| graph.input(image));

        let views = layout.views(&mut graph, &arenas)?;
        let began = graph.push_all(SamplingRow { batch }, &[counter, table])?;
        let [key, row, timesteps, _] = began[..] else {
            unreachable!("a sampling row has four outputs")
        };
        let inputs = UNetInputs { x, timesteps, labels, key: None };
        let epsilon = unet.build(&mut graph, inputs, &views)?;
        let mut operands = vec![x, epsilon, row, key];
        operands.extend(noise);
        let next = graph.push(DdimStep { stream: streams::STEP, given_noise }, &operands)?;
        graph.update(x, next);
        let advanced = graph.push(Advance { guarded: false }, &[counter, key])?;
        graph.update(counter, advanced);
        graph.outputs.push(epsilon);
        Ok(Self { graph, x, table, counter, arenas, labels, noise, epsilon })
    }

    /// The plan of one step.
    ///
    /// # Errors
    /// If the target cannot run it.
    pub fn plan(&self, target: &Target) -> Result<Plan, Error> {
        passes::compile(&self.graph, target)
    }
}

/// Samples images in batches of a fixed size.
pub struct Sampler {
    step: SamplingGraph,
    executor: Executor,
    start: Executor,
    start_key: Value,
    start_x: Value,
    steps: usize,
    seed: u64,
    batch: usize,
}

impl Sampler {
    /// Prepares to sample `[batch, height, width]` images at a time along `table`, with the
    /// weights in `arenas` (see [`ArenaLayout::fill`]).
    ///
    /// An image depends on `seed` and its number alone, not on the batch it is computed in.
    ///
    /// # Errors
    /// If the model cannot be built at this size, or does not fit the device.
    pub fn new(
        gpu: &Gpu,
        unet: &UNet,
        layout: &ArenaLayout,
        arenas: &[Vec<f32>],
        size: [usize; 3],
        table: &Table,
        seed: u64,
    ) -> Result<Self, Error> {
        let steps = table.steps.len();
        let step = SamplingGraph::new(unet, layout, size, steps, false)?;
        let mut executor = Executor::new(gpu, step.plan(gpu.target())?)?;
        for (&arena, contents) in step.arenas.iter().zip(arenas) {
            executor.write(arena, contents)?;
        }
        executor.write(step.table, &table.rows())?;

        let mut graph = Graph::new();
        let start_key = graph.input(Counter::of());
        let of = step.graph.type_of(step.x);
        let start_x = graph.push(DrawNormal { of, stream: streams::START }, &[start_key])?;
        graph.outputs.push(start_x);
        let start = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        Ok(Self { step, executor, start, start_key, start_x, steps, seed, batch: size[0] })
    }

    /// The plan of one step.
    pub fn plan(&self) -> &Plan {
        self.executor.plan()
    }

    /// What was asked of the device so far.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Sets the class labels of the next batches.
    ///
    /// # Errors
    /// If the model takes none, or another number.
    pub fn set_labels(&mut self, labels: &[u32]) -> Result<(), Error> {
        let Some(value) = self.step.labels else {
            return Err(Error::Labels {
                expected: None,
                found: Some(TensorType::u32(&[labels.len().max(1)])),
            });
        };
        self.executor.write_u32(value, labels)
    }

    /// Puts the noise of images `first..first + batch` in place and goes back to the first step.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn begin(&mut self, first: u32) -> Result<(), Error> {
        let counter = Counter { seed: self.seed, first_image: first, ..Counter::default() };
        self.start.write_u32(self.start_key, &counter.words())?;
        self.start.run(1)?;
        let noise = self.start.read(self.start_x)?;
        self.executor.write(self.step.x, &noise)?;
        self.executor.write_u32(self.step.counter, &counter.words())
    }

    /// Runs `steps` more steps without waiting for them.
    ///
    /// # Errors
    /// If the device refuses or is lost.
    pub fn advance(&mut self, steps: usize) -> Result<(), Error> {
        self.executor.run(steps)
    }

    /// The images as they are now: `[batch, height, width, channels]`, -1 to 1 once finished.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn images(&mut self) -> Result<Vec<f32>, Error> {
        self.executor.read(self.step.x)
    }

    /// Samples images `0..count`, in as many batches as that takes; `done` hears how many are
    /// finished.
    ///
    /// # Errors
    /// If the device refuses or is lost.
    pub fn sample(&mut self, count: usize, mut done: impl FnMut(usize)) -> Result<Vec<f32>, Error> {
        let mut images = Vec::new();
        for first in (0..count).step_by(self.batch) {
            self.begin(first as u32)?;
            self.advance(self.steps)?;
            images.extend(self.images()?);
            done((first + self.batch).min(count));
        }
        let of = self.step.graph.type_of(self.step.x);
        images.truncate(count * of.shape.elements() / self.batch);
        Ok(images)
    }
}
