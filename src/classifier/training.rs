//! Training of the classifier: cross-entropy, Adam, and the moving average that is kept.
use super::{Classifier, labels};
use crate::{
    data::{Batches, Dataset},
    error::{Error, TrainingError, Unexpected},
    gpu::Gpu,
    graph::Graph,
    models::classifier::ConvClassifier,
    nn::{Arenas, Condition, Layers},
    ops::SoftmaxCrossEntropy,
    pipeline::{RunFolder, SETTINGS},
    training::{
        Optimizer, STATE, Settings, State, Tables, Trainer, TrainingGraph, TrainingOptions,
    },
    value::TensorType,
};
use serde_json::json;
use std::{path::Path, time::Instant};

/// Steps between two looks at the loss; far fewer than the history has rows.
const REPORT: u64 = 50;

/// Checkpoints of a training.
///
/// ```no_run
/// use ddim::classifier::{Checkpoints, Classifier};
/// use ddim::{data::digits, models::classifier::ConvClassifier};
/// # use ddim::gpu::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
///
/// let network = ConvClassifier { size: [8, 8, 1], classes: 10 };
/// let kept = Some(Checkpoints { folder: "judge".as_ref(), every: 100 });
/// let (data, options) = (digits(), Classifier::options(0));
/// let (judge, seconds) =
///     Classifier::train(&gpu, network, &data, &options, 400, kept, |_, _| {})?;
/// println!("{seconds:.0} s, those before a break too");
/// judge.save("judge.safetensors".as_ref())?;
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Checkpoints<'a> {
    /// A folder of its own.
    pub folder: &'a Path,
    /// Steps between two, at least 1.
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

    /// Trains a classifier for `steps` steps, each of a batch of `data`; `progress` is given the
    /// steps done and the loss of the last. Same seed, device, driver and build, same bits. With
    /// checkpoints it goes on from the one that an earlier call left: the bits are those of a
    /// training without a break. Returns the seconds of all calls too.
    ///
    /// # Errors
    /// If the data do not fit the network, `every` is 0, the loss stops being a number, the device is lost, or a
    /// checkpoint cannot be written, or is of another training.
    pub fn train(
        gpu: &Gpu,
        network: ConvClassifier,
        data: &Dataset,
        options: &TrainingOptions,
        steps: u64,
        checkpoints: Option<Checkpoints>,
        mut progress: impl FnMut(u64, f32),
    ) -> Result<(Self, f64), Error> {
        if let Some(Checkpoints { every, .. }) = checkpoints {
            Unexpected::check(every > 0, "every", "at least 1", every)
                .map_err(TrainingError::Option)?;
        }
        let start = Instant::now();
        let mut run = begin(gpu, network, data, options)?;
        let before = checkpoints.map_or(Ok(0.0), |of| resume(&mut run, of.folder))?;
        let seconds = || before + start.elapsed().as_secs_f64();
        while run.steps() < steps {
            let next = |of: Checkpoints| (run.steps() / of.every + 1) * of.every;
            let until = checkpoints.map_or(steps, next).min(steps);
            advance(&mut run, data, until, &mut progress)?;
            if let Some(Checkpoints { folder, .. }) = checkpoints {
                let state = run.state()?;
                run.checkpoint(folder, &state, json!({ "seconds": seconds() }), &[])?;
            }
        }
        let classifier = Self::new(gpu, *run.model(), run.averaged_weights()?)?;
        Ok((classifier, seconds()))
    }
}

/// A classifier in training.
type Run = Trainer<ConvClassifier, ()>;

/// Prepares to train a new classifier.
fn begin(
    gpu: &Gpu,
    network: ConvClassifier,
    data: &Dataset,
    options: &TrainingOptions,
) -> Result<Run, Error> {
    labels(&network, data)?;
    options.check_f32("a classifier")?;
    let [height, width, channels] = network.size;
    let mut graph = Graph::new();
    let x0 = graph.input(TensorType::f32(&[options.batch, height, width, channels]));
    let labels = graph.input(TensorType::u32(&[options.batch]));
    let arenas = Arenas::new(network.parameters()?, gpu.target().max_binding);
    let mut optimizer = Optimizer::new(&mut graph, arenas);
    let begun = optimizer.begin(&mut graph, options)?;
    let views = optimizer.parameters(&mut graph)?;
    let mut layers = Layers::new(&mut graph, &views, Some(begun.key));
    let [_, logits] = network.build(&mut layers, x0)?;
    let loss = graph.push(SoftmaxCrossEntropy, &[logits, labels])?;
    let loss = optimizer.end(&mut graph, &views, options, begun, loss)?.loss;
    let condition = Condition { labels: Some(labels), ..Condition::default() };
    let (given, tables, frozen, memory) = (None, Tables::default(), None, None);
    let collected = Vec::new();
    let step = TrainingGraph {
        graph,
        x0,
        condition,
        given,
        tables,
        frozen,
        optimizer,
        memory,
        loss,
        collected,
    };
    Trainer::of_graph(gpu, network, (), [height, width], options.clone(), step)
}

/// Trains until `until` steps are done.
fn advance(
    run: &mut Run,
    data: &Dataset,
    until: u64,
    progress: &mut impl FnMut(u64, f32),
) -> Result<(), Error> {
    let images = run.options().images();
    let mut batches = Batches::new(data, images, run.options().seed, false);
    while run.steps() < until {
        run.step(&batches.batch(run.steps()))?;
        let done = run.steps();
        if done.is_multiple_of(REPORT) || done == until {
            // A bad step stops the device; `metrics` returns its error.
            if let Some(last) = run.metrics()?.last() {
                progress(done, last.loss);
            }
        }
    }
    Ok(())
}

/// Goes on from the checkpoint in a folder, if there is one; returns the seconds that led there.
fn resume(run: &mut Run, folder: &Path) -> Result<f64, Error> {
    let folder = RunFolder::open(folder)?;
    if !folder.holds_checkpoint() {
        return Ok(0.0);
    }
    let path = folder.path(SETTINGS);
    let settings = Settings::read(&path)?;
    if settings.options != *run.options() {
        let (expected, found) = (run.options(), settings.options);
        let message = format!("options: expected {expected:?}, found {found:?}");
        return Err(TrainingError::Checkpoint { path, message }.into());
    }
    run.set_state(&State::read(&folder.path(STATE), &run.arenas().specs, None)?)?;
    Ok(settings.notes["seconds"].as_f64().unwrap_or_default())
}
