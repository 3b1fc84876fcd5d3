//! Training of the classifier: cross-entropy, Adam, and the moving average that is kept.
use super::{Classifier, Network};
use crate::{
    data::{Batches, Dataset},
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Counter, SoftmaxCrossEntropy},
    passes,
    training::{RunState, TrainingError, TrainingOptions},
    unet::ArenaLayout,
    value::TensorType,
};
use std::borrow::Cow;

/// Steps between two looks at the loss; far fewer than the history has rows.
const REPORT: u64 = 50;

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
        network.labels(data)?;
        let layout = ArenaLayout::new(network.parameters(), gpu.target().max_binding);
        let [height, width, channels] = network.size;
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[options.batch, height, width, channels]));
        let labels = graph.input(TensorType::u32(&[options.batch]));
        let run = RunState::inputs(&mut graph, &layout);
        let begun = run.begin(&mut graph, options)?;
        let views = layout.views(&mut graph, &run.state[0])?;
        let [_, logits] = network.build(&mut graph, &views, x)?;
        let loss = graph.push(SoftmaxCrossEntropy, &[logits, labels])?;
        run.end(&mut graph, &layout, &views, options, begun, loss)?;

        let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        let counter = Counter { seed: options.seed, ..Counter::default() };
        executor.write_u32(run.counter, &counter.words())?;
        let start = layout.fill(|spec| Cow::Owned(spec.initialise(options.seed)));
        for part in [0, 3] {
            for (&arena, contents) in run.state[part].iter().zip(&start) {
                executor.write(arena, contents)?;
            }
        }
        let mut batches = Batches::new(data, options.batch, options.seed, false);
        for step in 0..steps {
            let batch = batches.batch(step);
            executor.write(x, &batch.images)?;
            executor.write_u32(labels, batch.labels.as_deref().unwrap_or_default())?;
            executor.run(1)?;
            let done = step + 1;
            if done.is_multiple_of(REPORT) || done == steps {
                let history = executor.read(run.history)?;
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
        let averaged = run.state[3].iter().map(|&arena| executor.read(arena));
        Self::new(gpu, network, averaged.collect::<Result<_, _>>()?)
    }
}
