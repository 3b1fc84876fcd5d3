//! One step of sampling as a graph, whatever the sampler and the network.
use super::{
    guidance::{ClassifierGuidance, Guidance, GuidingClassifier},
    samplers::Table,
    streams,
};
use crate::{
    error::{Error, ScheduleError},
    gpu::{Executor, Gpu},
    graph::Graph,
    nn::{Condition, ElementTypes, FrozenModel, Model, ModelInputs, ParameterSource},
    ops::{
        Advance, ClassifierShift, CorrectorSize, Counter, DynamicThreshold, SamplingRow,
        SamplingStep, Twice,
    },
    passes,
    plan::{Plan, Target},
    value::{TensorType, Value},
};

/// Options of a sampling step beside its table.
///
/// Example: [`SamplingGraph`].
#[derive(Clone, Copy, Default)]
pub struct SamplingOptions<'a> {
    /// Whether the noise of a step is an input; otherwise the kernel draws it.
    pub given_noise: bool,
    /// Guidance, for a network with labels or context.
    pub guidance: Option<Guidance>,
    /// A classifier that guides, where the table gives its gradient a weight.
    pub classifier: Option<ClassifierGuidance<'a>>,
    /// Storage of the network's numbers; samples and their update are f32.
    pub types: ElementTypes,
}

impl SamplingOptions<'_> {
    fn check(&self, table: &Table) -> Result<(), ScheduleError> {
        if self.classifier.is_some() && !table.takes_classifier() {
            let expected = "one with weights of a classifier's gradient";
            return Err(ScheduleError::value("table", expected, "one without"));
        }
        table.check()
    }
}

/// A sampling run as a graph, and the values that a caller writes and reads.
///
/// ```
/// use ddim::diffusion::{Guidance, SamplingGraph, SamplingOptions};
/// # use ddim::{diffusion::schedule::SchedulerConfig, models::unet2d::{UNet, UNetConfig}};
/// # use ddim::{plan::Target, value::TensorType};
/// # let unet = UNet::new(UNetConfig::parse(r#"{
/// #     "block_out_channels": [32, 64], "norm_num_groups": 8, "num_class_embeds": 11,
/// #     "down_block_types": ["DownBlock2D", "DownBlock2D"],
/// #     "up_block_types": ["UpBlock2D", "UpBlock2D"]
/// # }"#)?)?;
///
/// let table = SchedulerConfig::default().ddim(20, 0.0)?;
/// let guidance = Some(Guidance::of_scale(3.0, 10));
/// let options = SamplingOptions { guidance, ..SamplingOptions::default() };
/// let step = SamplingGraph::new(&Target::default(), &unet, [2, 8, 8], &table, &options)?;
/// // Each image is predicted without and with its label.
/// let labels = step.condition.labels.map(|labels| step.graph.type_of(labels));
/// assert_eq!(labels, Some(TensorType::u32(&[2 * 2])));
/// assert!(step.plan(&Target::default())?.dispatches().count() > 0);
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct SamplingGraph {
    /// One step: row, network, fused update, counter.
    pub graph: Graph,
    /// `x_t f32[batch, height, width, channels]`, updated where it lies.
    pub x: Value,
    /// `f32[steps, 24]`: a [`Table`]'s rows; a constant, as weights are.
    pub table: Value,
    /// Seed, step and first image, and the first step in which something was not finite: a
    /// [`Counter`].
    pub counter: Value,
    /// Labels and context, if the network takes any; with guidance of twice the batch, those of
    /// nothing first.
    pub condition: Condition,
    /// Noise of each step `[batch, height, width, channels]`, if it is given.
    pub noise: Option<Value>,
    /// The prediction of the last step, after guidance.
    pub output: Value,
    /// The model in it.
    pub model: FrozenModel,
    /// The classifier in it, if one guides.
    pub classifier: Option<GuidingClassifier>,
}

impl SamplingGraph {
    /// One step of sampling `batch` images of `height` x `width` along `table`, of which only the
    /// number of rows and what they use are compiled in.
    ///
    /// # Errors
    /// If the network or the classifier cannot be built at this size, or the network has neither labels nor
    /// context to be guided by, or the table no weight for a classifier, or as [`Table::check`].
    pub fn new(
        target: &Target,
        model: &dyn Model,
        [batch, height, width]: [usize; 3],
        table: &Table,
        options: &SamplingOptions,
    ) -> Result<Self, Error> {
        options.check(table)?;
        let mut graph = Graph::new();
        let channels = model.channels();
        let image = TensorType::f32(&[batch, height, width, channels]);
        let x = graph.input(image);
        let counter = graph.input(Counter::of());
        let rows = graph.constant(TensorType::f32(&[table.steps.len(), Table::COLUMNS]));
        let predicted = if options.guidance.is_some() { 2 * batch } else { batch };
        let condition = Condition::constants(&mut graph, model, predicted);
        if options.guidance.is_some() && condition.labels.or(condition.context).is_none() {
            let expected = Some(TensorType::u32(&[predicted]));
            return Err(Error::Labels { expected, found: None });
        }
        let noise = options.given_noise.then(|| graph.input(image));
        let memories = table.memories();
        let kept = image.with_extent(0, batch * memories.max(1));
        let memory = (memories > 0).then(|| graph.input(kept));

        let began = graph.push_all(SamplingRow { batch: predicted }, &[counter, rows])?;
        let [key, row, timesteps, _] = began[..] else {
            unreachable!("a sampling row has four outputs")
        };
        let seen = match options.guidance {
            Some(_) => graph.push(Twice, &[x])?,
            None => x,
        };
        let inputs = ModelInputs { x: seen, timesteps, condition };
        let model =
            FrozenModel::stored(&mut graph, model, &inputs, target.max_binding, options.types)?;
        let mut output = model.prediction;
        if let Some(guidance) = options.guidance {
            output = guidance.apply(&mut graph, output, channels)?;
        }
        let classifier =
            options.classifier.map(|of| of.gradient(&mut graph, target, [x, counter, rows]));
        let classifier = classifier.transpose()?;
        let mut next = update(&mut graph, table, [x, output, row, key], memory, noise)?;
        if let Some(GuidingClassifier { gradient, .. }) = classifier {
            let operands = [next[0], gradient, output, row, next[1]];
            next[..2].copy_from_slice(&graph.push_all(ClassifierShift, &operands)?);
        }
        graph.update(x, next[0]);
        if let Some(memory) = memory {
            graph.update(memory, next[2]);
        }
        let advanced = graph.push(Advance { guarded: false }, &[counter, next[1]])?;
        graph.update(counter, advanced);
        graph.outputs.push(output);
        Ok(Self { graph, x, table: rows, counter, condition, noise, output, model, classifier })
    }

    /// The plan of one step.
    ///
    /// # Errors
    /// If the target cannot run it.
    pub fn plan(&self, target: &Target) -> Result<Plan, Error> {
        passes::compile(&self.graph, target)
    }

    /// An executor of the plan, with table, weights and those of the options' classifier in place.
    ///
    /// # Errors
    /// If the plan does not fit the device, or the weights not the model.
    pub fn executor(
        &self,
        gpu: &Gpu,
        table: &Table,
        weights: &dyn ParameterSource,
        options: &SamplingOptions,
    ) -> Result<Executor, Error> {
        let mut executor = Executor::new(gpu, self.plan(gpu.target())?)?;
        for (value, pieces) in self.model.pieces(weights)? {
            executor.write_pieces(value, pieces)?;
        }
        if let Some((of, guidance)) = self.classifier.as_ref().zip(options.classifier) {
            for (value, pieces) in of.model.pieces(guidance.weights)? {
                executor.write_pieces(value, pieces)?;
            }
        }
        executor.write(self.table, &table.rows())?;
        Ok(executor)
    }
}

/// The update of a step: the next sample, the counter's copy, and the next memory if there is one.
fn update(
    graph: &mut Graph,
    table: &Table,
    [x, output, row, key]: [Value; 4],
    memory: Option<Value>,
    noise: Option<Value>,
) -> Result<Vec<Value>, Error> {
    let channels = graph.type_of(x).shape.last();
    let bound = table.threshold.map(|of| {
        let op = DynamicThreshold { ratio: of.ratio.into(), limit: of.limit.into() };
        graph.push(op, &[x, output, row])
    });
    let (stream, given_noise) = (streams::STEP, noise.is_some());
    let size = table.is_adaptive().then(|| {
        let operands: Vec<Value> = [output, key].into_iter().chain(noise).collect();
        graph.push(CorrectorSize { stream, channels, given_noise }, &operands)
    });
    let step = SamplingStep {
        stream,
        memories: table.memories(),
        given_noise,
        bounded: bound.is_some(),
        sized: size.is_some(),
    };
    let mut operands = vec![x, output, row, key];
    operands.extend(memory.into_iter().chain(noise));
    operands.extend([bound.transpose()?, size.transpose()?].into_iter().flatten());
    graph.push_all(step, &operands)
}
