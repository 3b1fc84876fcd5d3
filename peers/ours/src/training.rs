//! Training steps: forward, backward and Adam. Their result is the loss of each step so far.
use crate::{Planned, layout, models};
use ddim::{
    diffusion::schedule::SchedulerConfig,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{
        Adam, Add, Advance, Attention, Constant, Conv2d, Counter, GlobalNorm, GroupNorm, Linear,
        MeanSquaredError, Record, Reduction, Silu, TrainingRow,
    },
    passes,
    plan::Plan,
    training::{Given, TrainingGraph, TrainingOptions},
    unet::{ArenaLayout, Initial, ParameterSpec, UNet, UNetConfig},
    value::{TensorType, Value},
};
use peer_common::{Result, uniform};

/// Learning rate of every engine.
const LEARNING_RATE: f64 = 1e-4;

/// The losses in a history: the first column of the rows written so far.
fn losses(executor: &mut Executor, history: Value) -> Result<Vec<f32>> {
    let rows = executor.read(history)?;
    Ok(rows.chunks_exact(4).map(|row| row[0]).take_while(|loss| *loss != 0.0).collect())
}

fn notes(layout: &ArenaLayout, plan: &Plan) -> Vec<String> {
    let gflop = plan.cost().flops as f64 / 1e9;
    vec![format!("{} parameters, {gflop:.2} GFLOP a step", layout.elements())]
}

/// A training step of a U-Net on noise of one level: `x_t = 0.6 x_0 + 0.8 noise`.
fn diffusion(gpu: &Gpu, unet: &UNet, batch: usize, side: usize) -> Result<Planned> {
    let timesteps = 1000;
    let layout = ArenaLayout::new(unet.parameters()?, gpu.target().max_binding);
    let options = TrainingOptions {
        batch,
        learning_rate: LEARNING_RATE,
        clip: None,
        ..TrainingOptions::default()
    };
    let size = [side, side];
    let given = Given::TimestepsAndNoise;
    let scheduler = SchedulerConfig { num_train_timesteps: timesteps, ..Default::default() };
    let step = TrainingGraph::new(unet, &layout, size, &scheduler, &options, given)?;
    let plan = passes::compile(&step.graph, gpu.target())?;
    let notes = notes(&layout, &plan);
    let mut executor = Executor::new(gpu, plan)?;
    for (&arena, contents) in step.state[0].iter().zip(models::weights(&layout)) {
        executor.write(arena, &contents)?;
    }
    let channels = unet.config().in_channels;
    let image = |seed| {
        let numbers = uniform(seed, batch * channels * side * side, 1.7);
        layout::swap(&numbers, channels, side * side)
    };
    executor.write(step.x0, &image(1))?;
    executor.write(step.coefficients, &[0.6, 0.8].repeat(timesteps))?;
    let (t, noise) = step.given.ok_or("timesteps and noise were asked for")?;
    executor.write(t, &vec![500.0; batch])?;
    executor.write(noise, &image(2))?;
    let result = move |executor: &mut Executor| losses(executor, step.history);
    Ok(Planned { executor, result: Box::new(result), notes })
}

/// A training step of the CIFAR-10 U-Net.
pub fn unet(gpu: &Gpu, [batch]: [usize; 1]) -> Result<Planned> {
    diffusion(gpu, &models::cifar10()?, batch, 32)
}

/// A U-Net with the levels, widths and image of meganeura's `SDUNetConfig::tiny`, and at least
/// its parameters and operations: it has no text, so more residual blocks stand for that.
pub fn tiny(gpu: &Gpu, [batch]: [usize; 1]) -> Result<Planned> {
    let config = include_str!("tiny.json");
    diffusion(gpu, &UNet::new(UNetConfig::parse(config)?)?, batch, 32)
}

/// Names and makes parameters while a graph is built, from a layout that is known by then.
struct Blocks<'a> {
    graph: &'a mut Graph,
    channels: usize,
    specs: Vec<ParameterSpec>,
    given: Option<&'a ddim::unet::Views>,
}

impl Blocks<'_> {
    fn parameter(&mut self, name: &str, shape: &[usize]) -> Result<Value> {
        let of = TensorType::f32(shape);
        self.specs.push(ParameterSpec { name: name.into(), of, initial: Initial::Normal });
        match self.given {
            Some(views) => Ok(views.get(name).ok_or("a parameter of the layout")?),
            None => Ok(self.graph.input(of)),
        }
    }

    fn affine(&mut self, name: &str, shape: &[usize]) -> Result<[Value; 2]> {
        let bias = &shape[shape.len() - 1..];
        Ok([
            self.parameter(&format!("{name}.weight"), shape)?,
            self.parameter(&format!("{name}.bias"), bias)?,
        ])
    }

    fn norm(&mut self, name: &str, x: Value) -> Result<Value> {
        let [weight, bias] = self.affine(name, &[self.channels])?;
        Ok(self.graph.push(GroupNorm { groups: 32, eps: 1e-5.into() }, &[x, weight, bias])?)
    }

    fn half(&mut self, norm: &str, conv: &str, x: Value) -> Result<Value> {
        let c = self.channels;
        let h = self.norm(norm, x)?;
        let h = self.graph.push(Silu, &[h])?;
        let [weight, bias] = self.affine(conv, &[3, 3, c, c])?;
        Ok(self.graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[h, weight, bias])?)
    }

    fn build(&mut self, mut x: Value, layers: usize) -> Result<Value> {
        for layer in 0..layers {
            let h = self.half(&format!("{layer}.norm1"), &format!("{layer}.conv1"), x)?;
            let h = self.half(&format!("{layer}.norm2"), &format!("{layer}.conv2"), h)?;
            x = self.graph.push(Add, &[x, h])?;
        }
        let h = self.norm("attention.norm", x)?;
        let linear = |b: &mut Self, name: &str, x: Value| -> Result<Value> {
            let [weight, bias] = b.affine(&format!("attention.{name}"), &[b.channels; 2])?;
            Ok(b.graph.push(Linear, &[x, weight, bias])?)
        };
        let mut operands = Vec::new();
        for name in ["q", "k", "v"] {
            operands.push(linear(self, name, h)?);
        }
        let h = self.graph.push(Attention { heads: 1 }, &operands)?;
        let h = linear(self, "out", h)?;
        Ok(self.graph.push(Add, &[x, h])?)
    }
}

/// Residual blocks and one attention, trained towards given numbers.
pub fn blocks(gpu: &Gpu, [batch, channels, side, layers]: [usize; 4]) -> Result<Planned> {
    let of = TensorType::f32(&[batch, side, side, channels]);
    // Once to learn the parameters' names, once over their arenas.
    let mut scratch = Graph::new();
    let x = scratch.input(of);
    let mut names = Blocks { graph: &mut scratch, channels, specs: Vec::new(), given: None };
    names.build(x, layers)?;
    let layout = ArenaLayout::new(names.specs, gpu.target().max_binding);

    let mut graph = Graph::new();
    let [x, expected] = [(); 2].map(|()| graph.input(of));
    let counter = graph.input(Counter::of());
    let history = graph.input(TensorType::f32(&[TrainingGraph::HISTORY, 4]));
    let state = [(); 4].map(|()| layout.inputs(&mut graph));
    let row = TrainingRow {
        learning_rate: LEARNING_RATE.into(),
        warmup: 0,
        decay_steps: 0,
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        ema_decay: 0.9999.into(),
        ema_warmup: true,
    };
    let began = graph.push_all(row, &[counter])?;
    let (key, row) = (began[0], began[1]);
    let views = layout.views(&mut graph, &state[0])?;
    let mut model = Blocks { graph: &mut graph, channels, specs: Vec::new(), given: Some(&views) };
    let y = model.build(x, layers)?;
    let loss = graph.push(MeanSquaredError { reduction: Reduction::Mean }, &[y, expected])?;
    let one = Constant { of: graph.type_of(loss), number: 1.0.into() };
    let seed = graph.push(one, &[])?;
    let wrt: Vec<Value> = layout.specs.iter().filter_map(|spec| views.get(&spec.name)).collect();
    let gradients = passes::gradient(&mut graph, loss, seed, &wrt)?;
    let gradients = layout.pack(&mut graph, &gradients)?;
    let mut operands = vec![loss, key];
    operands.extend(&gradients);
    let norm = graph.push(GlobalNorm { clip: None, guarded: true }, &operands)?;
    let adam = Adam {
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        epsilon: 1e-8.into(),
        weight_decay: 0.0.into(),
        decoupled: false,
        ema: true,
    };
    for (arena, &gradient) in gradients.iter().enumerate() {
        let own = [0, 1, 2, 3].map(|part: usize| state[part][arena]);
        let mut operands = vec![row, norm, gradient];
        operands.extend(own);
        for (state, next) in own.into_iter().zip(graph.push_all(adam, &operands)?) {
            graph.update(state, next);
        }
    }
    let recorded = graph.push(Record, &[history, key, loss, norm])?;
    graph.update(history, recorded);
    let advanced = graph.push(Advance { guarded: true }, &[counter, key, norm])?;
    graph.update(counter, advanced);

    let plan = passes::compile(&graph, gpu.target())?;
    let notes = notes(&layout, &plan);
    let mut executor = Executor::new(gpu, plan)?;
    for (&arena, contents) in state[0].iter().zip(models::weights(&layout)) {
        executor.write(arena, &contents)?;
    }
    for (value, seed) in [(x, 1), (expected, 2)] {
        let numbers = uniform(seed, of.shape.elements(), 1.7);
        executor.write(value, &layout::swap(&numbers, channels, side * side))?;
    }
    let result = move |executor: &mut Executor| losses(executor, history);
    Ok(Planned { executor, result: Box::new(result), notes })
}
