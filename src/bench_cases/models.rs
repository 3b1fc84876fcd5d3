//! The equations and whole steps of two U-Nets.
use super::{BenchCase, PERIOD};
use crate::{
    diffusion::{SamplingGraph, SamplingOptions, schedule::SchedulerConfig},
    error::Error,
    gpu::{Executor, Gpu},
    graph::{Equation, Graph},
    models::unet2d::{UNet, UNetConfig},
    nn::{Condition, FrozenModel, Model as _, ModelInputs, Weights},
    ops::{Case, Counter, Input, Op},
    passes,
    plan::{Plan, Target},
    training::{Given, TrainingGraph, TrainingOptions},
    value::{TensorType, Value},
};

/// A U-Net that is timed.
///
/// ```
/// use ddim::{bench_cases::BenchModel, passes, plan::Target};
///
/// let (model, target) = (BenchModel::digits()?, Target::default());
/// let step = model.forward(16, &target)?;
/// let plan = passes::compile(&step.graph, &target)?;
/// println!("{}: {} flops", model.title(16), plan.cost().flops);
/// let training = model.training(16, &target)?;
/// assert!(training.graph.equations.len() > step.graph.equations.len());
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BenchModel {
    name: &'static str,
    unet: UNet,
    size: [usize; 2],
}

/// A step of a model, and what it starts from.
///
/// Example: [`BenchModel`].
#[derive(Clone, Debug)]
pub struct BenchStep {
    /// The step.
    pub graph: Graph,
    /// Written once.
    weights: Vec<(Value, Vec<f32>)>,
    /// Written before each run: images and the counter.
    images: Vec<(Value, Vec<f32>)>,
    counter: Option<Value>,
}

impl BenchModel {
    /// Steps of a trajectory.
    pub const TRAJECTORY: usize = 50;

    /// The U-Net that DDPM has for CIFAR-10 (Ho, Jain, Abbeel 2020): 35.7 million parameters.
    ///
    /// # Errors
    /// None: the configuration is part of the crate.
    pub fn cifar10() -> Result<Self, Error> {
        Self::parse("cifar10", include_str!("../../benches/models/cifar10.json"))
    }

    /// The U-Net of `ddim demo`: 0.7 million parameters, on images of 8x8.
    ///
    /// # Errors
    /// None: the configuration is part of the crate.
    pub fn digits() -> Result<Self, Error> {
        Self::parse("digits", include_str!("../../benches/models/digits.json"))
    }

    fn parse(name: &'static str, config: &str) -> Result<Self, Error> {
        let unet = UNet::new(UNetConfig::parse(config)?)?;
        let size = unet.config().sample_size.map_or([32; 2], |size| size.sides().into());
        Ok(Self { name, unet, size })
    }

    /// `cifar10-b8`
    pub fn title(&self, batch: usize) -> String {
        format!("{}-b{batch}", self.name)
    }

    /// Every op of a training and of a sampling step, plain and fused.
    ///
    /// # Errors
    /// If the model cannot be built for the target.
    pub fn bench_cases(
        &self,
        batch: usize,
        target: &Target,
        cases: &[Case],
    ) -> Result<Vec<BenchCase>, Error> {
        let training = passes::simplify(&self.training_graph(batch, target)?.graph);
        let sampling = passes::simplify(&self.sampling(batch, target)?.graph);
        let mut bench_cases = Vec::new();
        for graph in [&training, &passes::fuse(&training)?, &passes::fuse(&sampling)?] {
            bench_cases.extend(equations(&self.title(batch), graph, cases)?);
        }
        Ok(bench_cases)
    }

    /// A training step from the first.
    ///
    /// # Errors
    /// If the model cannot be built for the target.
    pub fn training(&self, batch: usize, target: &Target) -> Result<BenchStep, Error> {
        let TrainingGraph { graph, x0, tables, optimizer, .. } =
            self.training_graph(batch, target)?;
        let initial = self.weights()?;
        let mut weights = Vec::new();
        for values in [&optimizer.state[0], &optimizer.state[3]] {
            weights.extend(values.iter().copied().zip(optimizer.arenas.contents(&initial)?));
        }
        weights.extend(tables.iter().map(|(value, numbers)| (value, numbers.to_vec())));
        let images = vec![(x0, numbers(Input::uniform(graph.type_of(x0), -1.0, 1.0)))];
        Ok(BenchStep { graph, weights, images, counter: Some(optimizer.counter) })
    }

    /// The network alone: what a step of sampling costs at least.
    ///
    /// # Errors
    /// If the model cannot be built for the target.
    pub fn forward(&self, batch: usize, target: &Target) -> Result<BenchStep, Error> {
        let [height, width] = self.size;
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[batch, height, width, self.unet.channels()]));
        let timesteps = graph.input(TensorType::f32(&[batch]));
        let inputs = ModelInputs { x, timesteps, condition: Condition::default() };
        let model = FrozenModel::new(&mut graph, &self.unet, &inputs, target.max_binding)?;
        graph.outputs.push(model.prediction);
        let weights = model.contents(&self.weights()?)?;
        let images =
            vec![(x, numbers(Input::normal(graph.type_of(x)))), (timesteps, vec![500.0; batch])];
        Ok(BenchStep { graph, weights, images, counter: None })
    }

    /// A step of DDIM along [`BenchModel::TRAJECTORY`], from noise.
    ///
    /// # Errors
    /// If the model cannot be built for the target.
    pub fn sampling(&self, batch: usize, target: &Target) -> Result<BenchStep, Error> {
        let [height, width] = self.size;
        let rows = SchedulerConfig::default().ddim(Self::TRAJECTORY, 0.0)?;
        let options = SamplingOptions::default();
        let size = [batch, height, width];
        let SamplingGraph { graph, x, table, counter, model, .. } =
            SamplingGraph::new(target, &self.unet, size, &rows, &options)?;
        let mut weights = model.contents(&self.weights()?)?;
        weights.push((table, rows.rows()));
        let images = vec![(x, numbers(Input::normal(graph.type_of(x))))];
        Ok(BenchStep { graph, weights, images, counter: Some(counter) })
    }

    fn weights(&self) -> Result<Weights, Error> {
        Ok(Weights::initial(&self.unet.parameters()?, 0))
    }

    fn training_graph(&self, batch: usize, target: &Target) -> Result<TrainingGraph, Error> {
        let options = TrainingOptions { batch, ..TrainingOptions::default() };
        let (scheduler, given) = (SchedulerConfig::default(), Given::Nothing);
        TrainingGraph::new(target, &self.unet, self.size, &scheduler, &options, given)
    }
}

impl BenchStep {
    /// An executor of a plan of this step, ready to run.
    ///
    /// # Errors
    /// If the device refuses a kernel or has no memory left.
    pub fn executor(&self, gpu: &Gpu, plan: Plan) -> Result<Executor, Error> {
        let mut executor = Executor::new(gpu, plan)?;
        for (value, contents) in &self.weights {
            executor.write(*value, contents)?;
        }
        self.restart(&mut executor)?;
        Ok(executor)
    }

    /// Back to the images and the counter of the beginning.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn restart(&self, executor: &mut Executor) -> Result<(), Error> {
        for (value, contents) in &self.images {
            executor.write(*value, contents)?;
        }
        match self.counter {
            Some(counter) => executor.write_u32(counter, &Counter::default().words()),
            None => Ok(()),
        }
    }
}

/// An operand's numbers.
fn numbers(input: Input) -> Vec<f32> {
    let elements = input.of.shape.elements();
    let some = Input { of: TensorType::f32(&[elements.min(PERIOD)]), ..input };
    let some = some.tensor(1).data;
    some.iter().cycle().take(elements).map(|&x| x as f32).collect()
}

/// The equations of a graph, one case each; what only says where a tensor lies runs nothing.
///
/// ```
/// use ddim::{bench_cases::equations, graph::Graph, ops::Silu, value::TensorType};
///
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f32(&[4, 8]));
/// graph.outputs = vec![graph.push(Silu, &[x])?];
/// let cases = equations("mine", &graph, &[])?;
/// assert_eq!(cases[0].title(), "silu/mine 4x8");
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// None of a graph that holds them.
pub fn equations(whose: &str, graph: &Graph, cases: &[Case]) -> Result<Vec<BenchCase>, Error> {
    let runs = |equation: &&Equation| !matches!(equation.op, Op::View(_) | Op::Pack(_));
    let case = |Equation { op, inputs, .. }: &Equation| {
        let types: Vec<TensorType> = inputs.iter().map(|value| graph.type_of(*value)).collect();
        BenchCase::of(whose, op, &types, cases)
    };
    graph.equations.iter().filter(runs).map(case).collect()
}
