//! A training step as a graph: algorithm 1 of Ho et al. 2020, with clipping, Adam and EMA.
use super::{
    choices::Timesteps,
    objective::{Drawn, Noisy, Objective},
    objectives::TrainingObjective,
    optimizer::{Ended, Optimizer},
    options::TrainingOptions,
    tables::Tables,
};
use crate::{
    diffusion::{
        schedule::{Schedule, SchedulerConfig},
        streams,
    },
    error::Error,
    graph::Graph,
    nn::{
        self, Arenas, Condition, FrozenParameters, Layers, Model, ModelInputs, ParameterSpec, Views,
    },
    ops::{AddDrawnNoise, AddNoise, Collect, DropLabels, Remember, TimestepProbabilities},
    plan::Target,
    value::{ElementType, TensorType, Value},
};

/// Random inputs of a step that the caller gives.
///
/// Example: [`TrainingGraph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nothing: timesteps and noise are drawn on the device.
    Nothing,
    /// Timesteps and noise.
    TimestepsAndNoise,
}

impl Given {
    /// Timesteps and noise for images of this type, if they are given.
    fn inputs(self, graph: &mut Graph, image: TensorType, levels: Value) -> Option<GivenInputs> {
        (self == Self::TimestepsAndNoise).then(|| {
            let timesteps = graph.input(TensorType::f32(&image.shape[..1]));
            GivenInputs { timesteps, noise: graph.input(image), levels }
        })
    }
}

/// Timesteps and noise as inputs of a step.
///
/// Example: [`TrainingGraph`].
#[derive(Clone, Copy, Debug)]
pub struct GivenInputs {
    /// `f32[batch]`: timesteps, or rows of an objective's levels.
    pub timesteps: Value,
    /// Noise of the images' type.
    pub noise: Value,
    /// `f32[timesteps, 2]`: `sqrt(abar)`, `sqrt(1 - abar)`; one of the tables.
    pub levels: Value,
}

/// A training step as a graph, and the values that a caller writes and reads.
///
/// ```
/// use ddim::training::{Given, TrainingGraph, TrainingOptions};
/// # use ddim::{diffusion::schedule::SchedulerConfig, models::unet2d::{UNet, UNetConfig}};
/// # use ddim::plan::Target;
///
/// let (unet, target) = (UNet::new(UNetConfig::default())?, Target::default());
/// let (scheduler, options) = (SchedulerConfig::default(), TrainingOptions::default());
/// let given = Given::TimestepsAndNoise;
/// let step = TrainingGraph::new(&target, &unet, [8, 8], &scheduler, &options, given)?;
/// let noise = step.given.map(|given| step.graph.type_of(given.noise));
/// assert_eq!(noise, Some(step.graph.type_of(step.x0)));
/// for (table, numbers) in step.tables.iter() {
///     assert_eq!(step.graph.type_of(table).shape.elements(), numbers.len());
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrainingGraph {
    /// The step.
    pub graph: Graph,
    /// Images of a micro-batch, -1 to 1.
    pub x0: Value,
    /// Labels and context, if the model takes any. Callers write the context before each step.
    pub condition: Condition,
    /// Timesteps and noise, if given.
    pub given: Option<GivenInputs>,
    /// Written once, before the first step.
    pub tables: Tables,
    /// The parameters that stay as they are, if the model has adapters: these alone are trained.
    pub frozen: Option<FrozenParameters>,
    /// Parameters, their moments and moving averages, counter and history.
    pub optimizer: Optimizer,
    /// The last losses of each timestep, if these are drawn by importance: see [`Remember`].
    pub memory: Option<Value>,
    /// The loss of the step; of several micro-batches the mean.
    pub loss: Value,
    /// Numbers of the images of all micro-batches, `f32[images]` each, if the step remembers some.
    pub collected: Vec<Value>,
}

impl TrainingGraph {
    /// Rows of the history: the host must read it at least this often.
    pub const HISTORY: usize = Optimizer::HISTORY;

    /// A step on images of `[height, width]`.
    ///
    /// # Errors
    /// If the options do not suit the model, the schedule is none, or the model cannot be built at
    /// this size.
    pub fn new(
        target: &Target,
        model: &dyn Model,
        [height, width]: [usize; 2],
        scheduler: &SchedulerConfig,
        options: &TrainingOptions,
        given: Given,
    ) -> Result<Self, Error> {
        Self::at(target, model, [height, width], scheduler, options, given, None)
    }

    /// The same, at `noises` where an objective has no betas.
    pub(crate) fn at(
        target: &Target,
        model: &dyn Model,
        [height, width]: [usize; 2],
        scheduler: &SchedulerConfig,
        options: &TrainingOptions,
        given: Given,
        noises: Option<&[f64]>,
    ) -> Result<Self, Error> {
        options.check(model, scheduler)?;
        let schedule = schedule_of(scheduler, options)?;
        let mut objective = match noises {
            Some(noises) => Objective::at(scheduler, schedule.as_ref(), options, noises),
            None => Objective::new(scheduler, schedule.as_ref(), options),
        };
        let (timesteps, batch) = (objective.count(), options.batch);
        let mut graph = Graph::new();
        let image = TensorType::f32(&[batch, height, width, model.channels()]);
        let x0 = graph.input(image);
        let condition = Condition::inputs(&mut graph, model, batch);
        let levels = objective.levels(&mut graph);
        let own = nn::parameters(model, [batch, height, width])?;
        let most = target.max_binding;
        let (trained, frozen) = split(&mut graph, model, own, options.frozen, most);
        let masters = Arenas::masters(trained, options.precision, most);
        let mut optimizer = Optimizer::new(&mut graph, masters)
            .averaging(&mut graph, &options.averages)
            .storing(&mut graph, options.precision)?;
        let given = given.inputs(&mut graph, image, levels);
        // Timesteps of the caller's are not drawn.
        let memory = (given.is_none() && options.timesteps == Timesteps::Importance)
            .then(|| graph.input(TimestepProbabilities::memory(timesteps)));

        let begun = optimizer.begin(&mut graph, options)?;
        let key = begun.key;
        let noisy = noisy(&mut graph, &objective, [x0, levels, key], given, memory)?;
        let seen = seen(&mut graph, options, model, condition.labels, key)?;
        let trained = optimizer.parameters(&mut graph)?;
        let views = all_views(&mut graph, model, &trained, frozen.as_ref())?;
        let seen = Condition { labels: seen, ..condition };
        let timesteps = noisy.drawn.timesteps;
        let told = objective.told(&mut graph, timesteps)?;
        let inputs = ModelInputs { x: noisy.x, timesteps: told, condition: seen };
        let output = predicted(&mut graph, model, &views, key, inputs, options.precision)?;
        let losses = objective.losses(&mut graph, &noisy, output)?;
        let tables = objective.tables;
        let mut collected = Vec::new();
        let mut remembered = None;
        if let Some((memory, images)) = memory.zip(losses.images) {
            let mut collect = |value| collect(&mut graph, options, &mut collected, value, key);
            remembered = Some((memory, collect(timesteps)?, collect(images)?));
        }
        let Ended { loss, norm } =
            optimizer.end(&mut graph, &trained, options, begun, losses.loss)?;
        if let Some((memory, timesteps, images)) = remembered {
            let next = graph.push(Remember, &[memory, timesteps, images, norm])?;
            graph.update(memory, next);
        }
        Ok(Self { graph, x0, condition, given, tables, frozen, optimizer, memory, loss, collected })
    }
}

/// The schedule of betas, unless the objective has none.
pub(super) fn schedule_of(
    scheduler: &SchedulerConfig,
    options: &TrainingOptions,
) -> Result<Option<Schedule>, Error> {
    match options.objective {
        TrainingObjective::Betas => Ok(Some(scheduler.schedule()?)),
        _ => Ok(None),
    }
}

/// Images with noise at a timestep each: `x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise`.
pub(super) fn noisy(
    graph: &mut Graph,
    objective: &Objective,
    [x0, levels, key]: [Value; 3],
    given: Option<GivenInputs>,
    memory: Option<Value>,
) -> Result<Noisy, Error> {
    if let Some(GivenInputs { timesteps, noise, .. }) = given {
        let x = graph.push(AddNoise, &[x0, timesteps, levels, noise])?;
        return Ok(Noisy { x0, noise, x, drawn: Drawn { timesteps, factors: None } });
    }
    let drawn = objective.draw(graph, key, memory)?;
    let noising = AddDrawnNoise { stream: streams::NOISE };
    let made = graph.push_all(noising, &[x0, drawn.timesteps, levels, key])?;
    Ok(Noisy { x0, noise: made[1], x: made[0], drawn })
}

/// Numbers of the images of a micro-batch, as those of all images of the step.
fn collect(
    graph: &mut Graph,
    options: &TrainingOptions,
    collected: &mut Vec<Value>,
    numbers: Value,
    key: Value,
) -> Result<Value, Error> {
    if options.parts() == 1 {
        return Ok(numbers);
    }
    let kept = graph.input(TensorType::f32(&[options.images()]));
    collected.push(kept);
    let next = graph.push(Collect, &[kept, numbers, key])?;
    graph.update(kept, next);
    Ok(next)
}

/// The parameters that are trained, and those that are not: a model's own, if it has adapters.
fn split(
    graph: &mut Graph,
    model: &dyn Model,
    own: Vec<ParameterSpec>,
    element: ElementType,
    max_bytes: u64,
) -> (Vec<ParameterSpec>, Option<FrozenParameters>) {
    match model.adapters() {
        None => (own, None),
        Some(of) => {
            let arenas = Arenas::stored(own, element, max_bytes);
            (of.specs.clone(), Some(FrozenParameters::new(graph, arenas)))
        }
    }
}

/// The parameters as the model's layers read them: with adapters, these times their scale, beside what is frozen.
fn all_views(
    graph: &mut Graph,
    model: &dyn Model,
    trained: &Views,
    frozen: Option<&FrozenParameters>,
) -> Result<Views, Error> {
    let Some((adapters, frozen)) = model.adapters().zip(frozen) else { return Ok(trained.clone()) };
    let mut views = frozen.views(graph)?;
    views.extend(adapters.scaled(graph, trained.clone())?);
    Ok(views)
}

/// What the model predicts, its activations in this storage.
fn predicted(
    graph: &mut Graph,
    model: &dyn Model,
    views: &Views,
    key: Value,
    inputs: ModelInputs,
    element: ElementType,
) -> Result<Value, Error> {
    let mut layers = Layers::new(graph, views, Some(key));
    let x = layers.cast(inputs.x, element)?;
    let prediction = model.build(&mut layers, &ModelInputs { x, ..inputs })?;
    layers.cast(prediction, ElementType::F32)
}

/// The labels that the model sees: some of them dropped, if it is to learn to do without.
fn seen(
    graph: &mut Graph,
    options: &TrainingOptions,
    model: &dyn Model,
    labels: Option<Value>,
    key: Value,
) -> Result<Option<Value>, Error> {
    match (labels, model.classes()) {
        (Some(labels), Some(classes)) if options.label_drop > 0.0 => {
            let (probability, null) = (options.label_drop.into(), classes as u32 - 1);
            let drop = DropLabels { probability, null, stream: streams::LABELS };
            Ok(Some(graph.push(drop, &[labels, key])?))
        }
        _ => Ok(labels),
    }
}
