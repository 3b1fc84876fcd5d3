//! Training of the classifier: cross-entropy, Adam, and the moving average that is kept.
use super::{Classifier, Network};
use crate::{
    data::{Batches, Dataset},
    error::{Error, TrainingError},
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Counter, SoftmaxCrossEntropy},
    passes,
    training::{
        Generation, RunFolder, RunState, SETTINGS, STATE, Settings, State, System, TrainingOptions,
    },
    unet::ArenaLayout,
    value::{TensorType, Value},
};
use serde_json::json;
use std::{borrow::Cow, path::Path, time::Instant};

/// Steps between two looks at the loss; far fewer than the history has rows.
const REPORT: u64 = 50;

/// Where a training leaves checkpoints.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoints<'a> {
    /// A folder of its own.
    pub folder: &'a Path,
    /// Steps between two.
    pub every: u64,
}

impl Classifier {
    /// Settings that suit small images of a few classes.
    pub fn options(seed: u64) -> TrainingOptions {
        TrainingOptions {
            batch: 128,
            learning_rate: 2e-3,
            ema_decay: 0.99,
            seed,
            ..Default::default()
        }
    }

    /// Trains a classifier for `steps` steps, each of a batch of `data`; `progress` hears steps
    /// done and the loss of the last. Same seed, device, driver and build, same bits.
    ///
    /// # Errors
    /// If the data do not fit the network, the loss stops being a number, or the device is lost.
    pub fn train(
        gpu: &Gpu,
        network: Network,
        data: &Dataset,
        options: &TrainingOptions,
        steps: u64,
        mut progress: impl FnMut(u64, f32),
    ) -> Result<Self, Error> {
        let mut run = Run::new(gpu, network, data, options)?;
        run.advance(data, steps, &mut progress)?;
        run.finish(gpu)
    }

    /// As [`Classifier::train`], going on from the checkpoint that an earlier call left: the bits
    /// are those of a training without a break. Returns the seconds of all calls too.
    ///
    /// # Errors
    /// As [`Classifier::train`], or if a checkpoint cannot be written, or is of another training.
    pub fn train_in(
        checkpoints: Checkpoints,
        gpu: &Gpu,
        network: Network,
        data: &Dataset,
        options: &TrainingOptions,
        steps: u64,
        mut progress: impl FnMut(u64, f32),
    ) -> Result<(Self, f64), Error> {
        let start = Instant::now();
        let Checkpoints { folder, every } = checkpoints;
        let mut run = Run::new(gpu, network, data, options)?;
        let before = run.resume(folder)?;
        while run.step < steps {
            let until = steps.min((run.step / every + 1) * every);
            run.advance(data, until, &mut progress)?;
            run.save(folder, before + start.elapsed().as_secs_f64())?;
        }
        let classifier = run.finish(gpu)?;
        Ok((classifier, before + start.elapsed().as_secs_f64()))
    }
}

/// A classifier in training.
struct Run<'a> {
    network: Network,
    options: &'a TrainingOptions,
    layout: ArenaLayout,
    executor: Executor,
    state: RunState,
    x: Value,
    labels: Value,
    /// Steps done.
    step: u64,
}

impl<'a> Run<'a> {
    fn new(
        gpu: &Gpu,
        network: Network,
        data: &Dataset,
        options: &'a TrainingOptions,
    ) -> Result<Self, Error> {
        network.labels(data)?;
        let layout = ArenaLayout::new(network.parameters(), gpu.target().max_binding);
        let [height, width, channels] = network.size;
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[options.batch, height, width, channels]));
        let labels = graph.input(TensorType::u32(&[options.batch]));
        let state = RunState::inputs(&mut graph, &layout);
        let begun = state.begin(&mut graph, options)?;
        let views = layout.views(&mut graph, &state.state[0])?;
        let [_, logits] = network.build(&mut graph, &views, x)?;
        let loss = graph.push(SoftmaxCrossEntropy, &[logits, labels])?;
        state.end(&mut graph, &layout, &views, options, begun, loss)?;

        let executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        let mut run = Self { network, options, layout, executor, state, x, labels, step: 0 };
        let start = run.layout.fill(|spec| Cow::Owned(spec.initialise(options.seed)));
        let zeros: Vec<Vec<f32>> = start.iter().map(|arena| vec![0.0; arena.len()]).collect();
        let parts = [start.clone(), zeros.clone(), zeros, start];
        run.set_state(&State { parts, memory: None, step: 0 })?;
        Ok(run)
    }

    fn set_state(&mut self, state: &State) -> Result<(), Error> {
        for (values, arenas) in self.state.state.iter().zip(&state.parts) {
            for (&value, contents) in values.iter().zip(arenas) {
                self.executor.write(value, contents)?;
            }
        }
        let counter = Counter { seed: self.options.seed, step: state.step, ..Counter::default() };
        self.step = state.step.into();
        self.executor.write_u32(self.state.counter, &counter.words())
    }

    fn part(&mut self, part: usize) -> Result<Vec<Vec<f32>>, Error> {
        let arenas = self.state.state[part].clone();
        arenas.into_iter().map(|arena| self.executor.read(arena)).collect()
    }

    /// Trains until `until` steps are done.
    fn advance(
        &mut self,
        data: &Dataset,
        until: u64,
        progress: &mut impl FnMut(u64, f32),
    ) -> Result<(), Error> {
        let mut batches = Batches::new(data, self.options.batch, self.options.seed, false);
        for step in self.step..until {
            let batch = batches.batch(step);
            self.executor.write(self.x, &batch.images)?;
            let labels = batch.labels.as_deref().unwrap_or_default();
            self.executor.write_u32(self.labels, labels)?;
            self.executor.run(1)?;
            let done = step + 1;
            if done.is_multiple_of(REPORT) || done == until {
                let history = self.executor.read(self.state.history)?;
                let row = |step: u64| &history[step as usize * 4 % history.len()..];
                // A bad step stops the device: the first is among those since the last look.
                for index in step / REPORT * REPORT..done {
                    let (loss, norm) = (row(index)[0], row(index)[1]);
                    if !loss.is_finite() || !norm.is_finite() {
                        let step = index + 1;
                        return Err(TrainingError::NotFinite { step, loss, norm }.into());
                    }
                }
                progress(done, row(step)[0]);
            }
        }
        self.step = until;
        Ok(())
    }

    /// Goes on from the checkpoint in a folder, if there is one; returns the seconds that led there.
    fn resume(&mut self, folder: &Path) -> Result<f64, Error> {
        let folder = RunFolder::open(folder)?;
        if !folder.holds_checkpoint() {
            return Ok(0.0);
        }
        let path = folder.path(SETTINGS);
        let settings = Settings::read(&path)?;
        if settings.options != *self.options {
            let (expected, found) = (self.options, settings.options);
            let message = format!("options: expected {expected:?}, found {found:?}");
            return Err(TrainingError::Checkpoint { path, message }.into());
        }
        self.set_state(&State::read(&folder.path(STATE), &self.layout, None)?)?;
        Ok(settings.notes["seconds"].as_f64().unwrap_or_default())
    }

    fn save(&mut self, folder: &Path, seconds: f64) -> Result<(), Error> {
        let parts = [self.part(0)?, self.part(1)?, self.part(2)?, self.part(3)?];
        let state = State { parts, memory: None, step: self.step as u32 };
        let [height, width, _] = self.network.size;
        let (options, notes) = (self.options.clone(), json!({ "seconds": seconds }));
        let settings = Settings::made(&self.executor, options, [height, width], notes);
        let mut next = Generation::begin(&System, folder)?;
        next.write(STATE, &state.to_bytes(&folder.join(STATE), &self.layout)?)?;
        next.write(SETTINGS, settings.to_json().as_bytes())?;
        next.commit()
    }

    fn finish(mut self, gpu: &Gpu) -> Result<Classifier, Error> {
        let averaged = self.part(3)?;
        Classifier::new(gpu, self.network, averaged)
    }
}
