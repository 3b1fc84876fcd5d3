//! Cases of single operations: forward, and the gradient of every operand.
use super::{
    case_files::{Case, Results},
    case_graph::{Axes, CaseGraph},
};
use crate::{
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    nn::{Arenas, Initial, ParameterSpec, Weights},
    ops::{
        Adam, Advance, Attention, AveragePool, Constant, Conv2d, Counter, Geglu, Gelu, GlobalNorm,
        GroupNorm, LayerNorm, Linear, MeanSquaredError, Op, Reduction, Silu, TimestepEmbedding,
        TrainingRow, UpsampleNearest,
    },
    passes,
    value::{ElementType, TensorType, Value},
};
use serde::Deserialize;

/// An op, the axes of its result, and its operands by name.
type Single = (Op, Axes, Vec<(&'static str, Axes)>);

#[derive(Deserialize)]
struct Convolution {
    stride: usize,
    pad_left_right_top_bottom: [usize; 4],
}

#[derive(Deserialize)]
struct Groups {
    groups: usize,
    eps: f64,
}

#[derive(Deserialize)]
struct Row {
    eps: f64,
}

#[derive(Deserialize)]
struct Form {
    approximate: String,
}

#[derive(Deserialize)]
struct Heads {
    heads: usize,
}

/// What a case of one op is of.
fn op_of(case: &Case) -> Result<Single, Error> {
    let affine = |x| vec![("x", x), ("w", Axes::Same), ("b", Axes::Same)];
    let of_image = |op: Op| (op, Axes::Image, vec![("x", Axes::Image)]);
    let of_rows = |op: Op| (op, Axes::Same, vec![("x", Axes::Same)]);
    Ok(match case.kind() {
        "conv2d" => {
            let Convolution { stride, pad_left_right_top_bottom } = case.config()?;
            let [left, right, top, bottom] = pad_left_right_top_bottom;
            let op = Conv2d { stride, padding: [top, bottom, left, right] };
            let operands = vec![("x", Axes::Image), ("w", Axes::Convolution), ("b", Axes::Same)];
            (op.into(), Axes::Image, operands)
        }
        "linear" => {
            let operands = vec![("x", Axes::Same), ("w", Axes::Linear), ("b", Axes::Same)];
            (Linear.into(), Axes::Same, operands)
        }
        "group_norm" => {
            let Groups { groups, eps } = case.config()?;
            (GroupNorm { groups, eps: eps.into() }.into(), Axes::Image, affine(Axes::Image))
        }
        "layer_norm" => {
            let Row { eps } = case.config()?;
            (LayerNorm { eps: eps.into() }.into(), Axes::Same, affine(Axes::Same))
        }
        "gelu" => {
            let Form { approximate } = case.config()?;
            if approximate != "none" {
                let message = format!("config: approximate is none, not {approximate}");
                return Err(case.refuse(message));
            }
            of_rows(Gelu.into())
        }
        "geglu" => of_rows(Geglu.into()),
        "silu" => of_image(Silu.into()),
        "upsample_nearest2" => of_image(UpsampleNearest.into()),
        "avgpool2" => of_image(AveragePool.into()),
        "attention" => {
            let Heads { heads } = case.config()?;
            let operands = ["q", "k", "v"].map(|name| (name, Axes::Same));
            (Attention::to_all(heads).into(), Axes::Same, operands.into())
        }
        kind => return Err(case.refuse(format!("{kind} is no op"))),
    })
}

/// `y = op(operands)`, and the gradient of operand `x` under the name `gx`.
pub(super) fn differentiated(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (op, y_axes, operands) = op_of(case)?;
    let mut case_graph = CaseGraph::new(case);
    let (mut inputs, mut named) = (Vec::new(), Vec::new());
    for (name, axes) in operands {
        let value = case_graph.input(name, axes)?;
        inputs.push(value);
        named.push((value, format!("g{name}"), axes));
    }
    let y = case_graph.graph.push(op, &inputs)?;
    let gy = case_graph.input("gy", y_axes)?;
    if case_graph.graph.type_of(gy) != case_graph.graph.type_of(y) {
        let (gy, y) = (case_graph.graph.type_of(gy), case_graph.graph.type_of(y));
        return Err(case.refuse(format!("gy is {gy}, but y is {y}")));
    }
    case_graph.output("y", y, y_axes);
    case_graph.gradients(y, gy, &named)?;
    case_graph.run(gpu)
}

pub(super) fn timestep_embedding(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    #[derive(Deserialize)]
    struct Config {
        dim: usize,
        flip_sin_to_cos: bool,
        freq_shift: f64,
        max_period: f64,
    }
    let Config { dim, flip_sin_to_cos, freq_shift, max_period } = case.config()?;
    if case.tensor("y")?.shape.last() != Some(&dim) {
        return Err(case.refuse(format!("config: y is not of dim {dim}")));
    }
    let op = TimestepEmbedding {
        width: dim,
        flip_sin_to_cos,
        freq_shift: freq_shift.into(),
        max_period: max_period.into(),
        element: ElementType::F32,
    };
    let mut case_graph = CaseGraph::new(case);
    let t = case_graph.input("t", Axes::Same)?;
    let y = case_graph.graph.push(op, &[t])?;
    case_graph.output("y", y, Axes::Same);
    case_graph.run(gpu)
}

pub(super) fn mean_squared_error(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let mut case_graph = CaseGraph::new(case);
    let prediction = case_graph.input("pred", Axes::Image)?;
    let target = case_graph.input("target", Axes::Image)?;
    for (name, reduction) in [("mean", Reduction::Mean), ("sum", Reduction::ImageSum)] {
        let loss = case_graph.graph.push(MeanSquaredError { reduction }, &[prediction, target])?;
        case_graph.output(&format!("loss_{name}"), loss, Axes::Same);
        let one = Constant { of: case_graph.graph.type_of(loss), number: 1.0.into() };
        let seed = case_graph.graph.push(one, &[])?;
        case_graph.gradients(loss, seed, &[(prediction, format!("gpred_{name}"), Axes::Image)])?;
    }
    case_graph.run(gpu)
}

/// The optimizer's settings, as cases of kinds `optimizer` and `train` hold them.
#[derive(Deserialize)]
pub(super) struct OptimizerConfig {
    pub algorithm: String,
    pub lr: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    #[serde(default)]
    pub weight_decay: f64,
    pub grad_clip_norm: Option<f64>,
    #[serde(default)]
    pub ema_decay: f64,
    pub steps: usize,
}

impl OptimizerConfig {
    /// AdamW?
    pub fn decoupled(&self, case: &Case) -> Result<bool, Error> {
        match self.algorithm.as_str() {
            "Adam" => Ok(false),
            "AdamW" => Ok(true),
            other => Err(case.refuse(format!("config: algorithm is Adam or AdamW, not {other}"))),
        }
    }
}

/// Parameters `p0`, `p1`, .. of a case, and for each the rows of its gradients `g0`, `g1`, ..
type Parameters = (Weights, Vec<ParameterSpec>, Vec<Vec<f32>>);

fn parameters(case: &Case, steps: usize) -> Result<Parameters, Error> {
    let (mut start, mut specs, mut gradients) = (Weights::default(), Vec::new(), Vec::new());
    while case.has(&format!("p{}", gradients.len())) {
        let number = gradients.len();
        let (shape, data) = case.dense(&format!("p{number}"), Axes::Same)?;
        let rows = case.tensor(&format!("g{number}"))?.numbers.clone().into_f32();
        if steps.checked_mul(data.len()) != Some(rows.len()) {
            return Err(case.refuse(format!("g{number} is not p{number} for every step")));
        }
        let (name, of) = (number.to_string(), TensorType::f32(&shape));
        start.insert(&name, shape, data);
        specs.push(ParameterSpec { name, of, initial: Initial::Constant(0.0) });
        gradients.push(rows);
    }
    Ok((start, specs, gradients))
}

/// One step of the optimizer over one arena.
struct Step {
    graph: Graph,
    gradient: Value,
    norm: Value,
    /// The parameter, its moments and its average.
    state: [Value; 4],
}

impl Step {
    fn new(config: &OptimizerConfig, decoupled: bool, elements: usize) -> Result<Self, Error> {
        let mut graph = Graph::new();
        let arena = TensorType::f32(&[elements.max(1)]);
        let counter = graph.input(Counter::of());
        let gradient = graph.input(arena);
        let state = [(); 4].map(|()| graph.input(arena));
        let (beta1, beta2) = (config.betas.0.into(), config.betas.1.into());
        let row = TrainingRow {
            learning_rate: config.lr.into(),
            warmup: 0,
            decay_steps: 0,
            beta1,
            beta2,
            ema_decay: config.ema_decay.into(),
            ema_warmup: false,
        };
        let began = graph.push_all(row, &[counter])?;
        let clip = config.grad_clip_norm.map(Into::into);
        let norm = GlobalNorm { clip, guarded: false, scaled: false };
        let norm = graph.push(norm, &[gradient])?;
        let (epsilon, weight_decay) = (config.eps.into(), config.weight_decay.into());
        let (ema, halves) = (true, None);
        let adam = Adam { beta1, beta2, epsilon, weight_decay, decoupled, ema, halves };
        let operands = [&[began[1], norm, gradient], &state[..]].concat();
        for (state, next) in state.into_iter().zip(graph.push_all(adam, &operands)?) {
            graph.update(state, next);
        }
        let advanced = graph.push(Advance { guarded: false }, &[counter, began[0]])?;
        graph.update(counter, advanced);
        graph.outputs.push(norm);
        Ok(Self { graph, gradient, norm, state })
    }
}

/// Parameters in one arena, updated by their gradients, a row a step.
pub(super) fn optimizer(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let config: OptimizerConfig = case.config()?;
    let (start, specs, gradients) = parameters(case, config.steps)?;
    let layout = Arenas::new(specs, gpu.target().max_binding);
    let [arena] = layout.arenas[..] else {
        return Err(case.refuse("the parameters do not fit one arena"));
    };
    let step = Step::new(&config, config.decoupled(case)?, arena.shape.elements())?;
    let mut executor = Executor::new(gpu, passes::compile(&step.graph, gpu.target())?)?;
    let write = |executor: &mut Executor, value, weights: &Weights| {
        let mut arenas = layout.pieces(weights)?;
        arenas.try_for_each(|pieces| executor.write_pieces(value, pieces))
    };
    let [parameter, first, second, average] = step.state;
    write(&mut executor, parameter, &start)?;
    write(&mut executor, average, &start)?;
    let mut results = Results::new();
    for number in 0..config.steps {
        let mut of_step = Weights::default();
        for (spec, rows) in layout.specs.iter().zip(&gradients) {
            let shape = spec.of.shape;
            let row = rows[number * shape.elements()..][..shape.elements()].to_vec();
            of_step.insert(&spec.name, shape, row);
        }
        write(&mut executor, step.gradient, &of_step)?;
        executor.run(1)?;
        let norm = executor.read(step.norm)?[0];
        results.entry("grad_norm".into()).or_default().push(f64::from(norm));
        for (value, prefix, suffix) in [
            (parameter, "p", "_after"),
            (average, "ema", "_after"),
            (first, "exp_avg", ""),
            (second, "exp_avg_sq", ""),
        ] {
            for (name, of) in layout.weights([executor.read(value)])?.iter() {
                let rows = results.entry(format!("{prefix}{name}{suffix}")).or_default();
                rows.extend(of.data.iter().map(|&x| f64::from(x)));
            }
        }
    }
    Ok(results)
}
