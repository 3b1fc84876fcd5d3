//! Small equations into fused ones, after autodiff: a fused op needs no gradient. Each step looks
//! at a finished graph and keeps what callers, updates or other equations still read; what nobody
//! reads any more is dropped by `simplify` between the steps.
use crate::{
    error::Error,
    graph::{Equation, Graph},
    ops::{
        Add, AddEmbedding, ApplyAffine, Concat, Conv2dWeightGradient, FusedConv2d,
        FusedConv2dWeightGradient, FusedLinear, GroupAffine, GroupMoments, GroupNormBackward,
        Linear, Load, Op, Prologue, Silu, SiluBackward, UpsampleNearest,
    },
    value::Value,
};
use std::collections::{HashMap, HashSet};

/// A step: the graph with some equations replaced.
type Step = fn(&Graph) -> Result<Graph, Error>;

/// What has to be done in this order.
pub(super) const STEPS: [Step; 7] =
    [norms, upsampling, prologues, concatenations, addends, activations, moments];

/// Who makes and who reads each value.
struct Uses {
    makers: HashMap<Value, usize>,
    readers: HashMap<Value, Vec<usize>>,
    /// Read by callers or updates.
    kept: HashSet<Value>,
}

impl Uses {
    fn of(graph: &Graph) -> Self {
        let (mut makers, mut readers) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        for (index, equation) in graph.equations.iter().enumerate() {
            makers.extend(equation.outputs.iter().map(|&value| (value, index)));
            for &value in &equation.inputs {
                readers.entry(value).or_default().push(index);
            }
        }
        let updates = graph.updates.iter().map(|update| update.next);
        Self { makers, readers, kept: graph.outputs.iter().copied().chain(updates).collect() }
    }

    /// The equation that makes a value.
    fn maker<'a>(&self, graph: &'a Graph, value: Value) -> Option<&'a Equation> {
        self.makers.get(&value).map(|&index| &graph.equations[index])
    }

    /// The equations that read a value, if there are any and nobody else does.
    fn readers<'a>(&self, graph: &'a Graph, value: Value) -> Option<Vec<&'a Equation>> {
        let readers = self.readers.get(&value).filter(|_| !self.kept.contains(&value))?;
        Some(readers.iter().map(|&index| &graph.equations[index]).collect())
    }

    /// The equation that alone reads a value, once.
    fn reader<'a>(&self, graph: &'a Graph, value: Value) -> Option<&'a Equation> {
        match self.readers(graph, value)?[..] {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// Replaces equations: `replace` pushes onto the new graph what stands for an equation, or
/// returns false to keep it.
fn rewrite(
    graph: &Graph,
    mut replace: impl FnMut(&mut Graph, &Equation) -> Result<bool, Error>,
) -> Result<Graph, Error> {
    let mut result = graph.clone();
    result.equations.clear();
    for equation in &graph.equations {
        if !replace(&mut result, equation)? {
            result.equations.push(equation.clone());
        }
    }
    Ok(result)
}

/// Appends an equation whose first outputs are given; the others are new.
fn push(
    graph: &mut Graph,
    op: impl Into<Op>,
    inputs: &[Value],
    like: &Equation,
    outputs: &[Value],
) -> Result<Vec<Value>, Error> {
    let made = graph.push_scoped(op.into(), inputs, like.scope.clone())?;
    let equation = graph.equations.last_mut().expect("just pushed");
    equation.outputs[..outputs.len()].copy_from_slice(outputs);
    Ok(if outputs.is_empty() { made } else { equation.outputs.clone() })
}

/// A group norm becomes moments, their fold to a scale and a shift, and these applied, with the
/// SiLU that follows; backward, the slope of that SiLU is recomputed.
fn norms(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    // `x` and the scale and shift, by the normalized tensor.
    let mut affines: HashMap<Value, [Value; 2]> = HashMap::new();
    let normalized = |value: Value| {
        uses.maker(graph, value).filter(|maker| matches!(maker.op, Op::GroupNorm(_)))
    };
    rewrite(graph, |result, equation| {
        match (&equation.op, &equation.inputs[..]) {
            (Op::GroupNorm(norm), &[x, weight, bias]) => {
                let moments = push(result, GroupMoments, &[x], equation, &[])?[0];
                let op: GroupAffine = norm.affine(graph.type_of(x));
                let folded = push(result, op, &[moments, weight, bias], equation, &[])?;
                // The statistics keep their name.
                let last = result.equations.last_mut().expect("just pushed");
                last.outputs[1] = equation.outputs[1];
                affines.insert(equation.outputs[0], [x, folded[0]]);
                let apply = ApplyAffine { silu: false };
                push(result, apply, &[x, folded[0]], equation, &equation.outputs[..1])?;
            }
            (Op::Silu(Silu), [y]) if affines.contains_key(y) => {
                push(result, ApplyAffine { silu: true }, &affines[y], equation, &equation.outputs)?;
            }
            (Op::GroupNormBackward(norm), &[x, statistics, weight, dy]) => {
                let silu = uses.maker(graph, dy).and_then(|maker| match maker.op {
                    Op::SiluBackward(SiluBackward) => Some([maker.inputs[0], maker.inputs[1]]),
                    _ => None,
                });
                let forward = silu.and_then(|[y, _]| normalized(y));
                let (Some([_, dy]), Some(forward)) = (silu, forward) else { return Ok(false) };
                let op = GroupNormBackward { silu: true, ..*norm };
                let inputs = [x, statistics, weight, forward.inputs[2], dy];
                push(result, op, &inputs, equation, &equation.outputs)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })
}

/// How a convolution, or its weight gradient, reads its input; none of another op.
fn load_of(equation: &Equation) -> Option<Load> {
    match &equation.op {
        Op::Conv2d(_) | Op::Conv2dWeightGradient(_) => Some(Load::default()),
        Op::FusedConv2d(fused) => Some(fused.load),
        Op::FusedConv2dWeightGradient(fused) => Some(fused.load),
        _ => None,
    }
}

/// A convolution in its fused form.
fn fused(equation: &Equation) -> Option<FusedConv2d> {
    match equation.op {
        Op::Conv2d(conv) => Some(FusedConv2d { bias: equation.inputs.len() == 3, ..conv.into() }),
        Op::FusedConv2d(fused) => Some(fused),
        _ => None,
    }
}

/// A linear layer in its fused form.
fn linear(equation: &Equation) -> Option<FusedLinear> {
    match equation.op {
        Op::Linear(Linear) => {
            let bias = equation.inputs.len() == 3;
            Some(FusedLinear { bias, residual: false, silu: false })
        }
        Op::FusedLinear(fused) => Some(fused),
        _ => None,
    }
}

/// The same equation, reading `read` as `load` says.
fn reading(equation: &Equation, load: Load, read: &[Value]) -> Option<(Op, Vec<Value>)> {
    let before = load_of(equation)?.arity();
    let inputs = [read, &equation.inputs[before..]].concat();
    let op = match equation.op {
        Op::Conv2dWeightGradient(gradient) => FusedConv2dWeightGradient { gradient, load }.into(),
        Op::FusedConv2dWeightGradient(fused) => {
            let gradient: Conv2dWeightGradient = fused.gradient;
            FusedConv2dWeightGradient { gradient, load }.into()
        }
        _ => FusedConv2d { load, ..fused(equation)? }.into(),
    };
    Some((op, inputs))
}

/// Whether all that reads a value is convolutions, or their weight gradients, that read it as
/// their input and may do so as `extend` makes of their load.
fn readable(
    graph: &Graph,
    uses: &Uses,
    value: Value,
    extend: impl Fn(Load) -> Option<Load>,
) -> bool {
    let may = |reader: &&Equation| {
        let once = reader.inputs.iter().filter(|&&input| input == value).count() == 1;
        reader.inputs[0] == value && once && load_of(reader).and_then(&extend).is_some()
    };
    uses.readers(graph, value).is_some_and(|readers| readers.iter().all(may))
}

/// Convolutions read through the equations that `passed` accepts: it tells what these read, and
/// how the load of a convolution changes.
fn read_through(
    graph: &Graph,
    passed: impl Fn(&Equation) -> bool,
    extend: impl Fn(&Equation, Load) -> Option<Load>,
) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    rewrite(graph, |result, equation| {
        let Some(load) = load_of(equation) else { return Ok(false) };
        let Some(maker) = uses.maker(graph, equation.inputs[0]) else { return Ok(false) };
        let through = |load| extend(maker, load);
        if !passed(maker) || !readable(graph, &uses, equation.inputs[0], through) {
            return Ok(false);
        }
        let Some(load) = through(load) else { return Ok(false) };
        let read =
            [&maker.inputs[..], &equation.inputs[1..load_of(equation).map_or(1, |l| l.arity())]]
                .concat();
        let Some((op, inputs)) = reading(equation, load, &read) else { return Ok(false) };
        push(result, op, &inputs, equation, &equation.outputs)?;
        Ok(true)
    })
}

/// Upsampling into the convolutions that follow.
fn upsampling(graph: &Graph) -> Result<Graph, Error> {
    read_through(
        graph,
        |maker| matches!(maker.op, Op::UpsampleNearest(UpsampleNearest)),
        |_, load| (load == Load::default()).then_some(Load { upsample: true, ..load }),
    )
}

/// A scale, a shift and SiLU into all the convolutions that read them, or into none.
fn prologues(graph: &Graph) -> Result<Graph, Error> {
    read_through(
        graph,
        |maker| matches!(maker.op, Op::ApplyAffine(_)),
        |maker, load| {
            let Op::ApplyAffine(ApplyAffine { silu }) = maker.op else { return None };
            let prologue = if silu { Prologue::AffineSilu } else { Prologue::Affine };
            let free = load.prologue == Prologue::Identity && !load.concat;
            free.then_some(Load { prologue, ..load })
        },
    )
}

/// A concatenation is read in place if convolutions and group norms alone read it.
fn concatenations(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    let folded = |equation: &Equation| {
        let single =
            |reader: &Equation| matches!(reader.op, Op::GroupAffine(_)) && reader.inputs.len() == 3;
        matches!(equation.op, Op::GroupMoments(GroupMoments))
            && uses.reader(graph, equation.outputs[0]).is_some_and(single)
    };
    let convolved = |equation: &Equation, value: Value| {
        let once = equation.inputs.iter().filter(|&&input| input == value).count() == 1;
        load_of(equation).is_some_and(|load| !load.concat) && equation.inputs[0] == value && once
    };
    // The two halves, by what holds both.
    let mut halves: HashMap<Value, [Value; 2]> = HashMap::new();
    for equation in &graph.equations {
        let (Op::Concat(Concat), &[x0, x1]) = (&equation.op, &equation.inputs[..]) else {
            continue;
        };
        let whole = equation.outputs[0];
        let aligned = [x0, x1].iter().all(|&x| graph.type_of(x).shape.last().is_multiple_of(4));
        let all = uses.readers(graph, whole).is_some_and(|readers| {
            readers.iter().all(|reader| folded(reader) || convolved(reader, whole))
        });
        if aligned && all {
            halves.insert(whole, [x0, x1]);
        }
    }
    let mut moments: HashMap<Value, [Value; 2]> = HashMap::new();
    rewrite(graph, |result, equation| {
        if let Some(&[m0, m1]) = equation.inputs.first().and_then(|value| moments.get(value)) {
            let inputs = [&[m0, m1], &equation.inputs[1..]].concat();
            push(result, equation.op.clone(), &inputs, equation, &equation.outputs)?;
            return Ok(true);
        }
        let Some(&[x0, x1]) = equation.inputs.first().and_then(|value| halves.get(value)) else {
            return Ok(false);
        };
        if let Some(load) = load_of(equation) {
            let read = [&[x0, x1], &equation.inputs[1..load.arity()]].concat();
            let load = Load { concat: true, ..load };
            if let Some((op, inputs)) = reading(equation, load, &read) {
                push(result, op, &inputs, equation, &equation.outputs)?;
            }
        } else {
            let m0 = push(result, GroupMoments, &[x0], equation, &[])?[0];
            let m1 = push(result, GroupMoments, &[x1], equation, &[])?[0];
            moments.insert(equation.outputs[0], [m0, m1]);
        }
        Ok(true)
    })
}

/// An embedding or a residual into the convolution, a residual into the linear layer before it.
fn addends(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    // A convolution or linear layer that only this sum reads, and has room for another addend.
    let host = |value: Value| {
        uses.reader(graph, value)?;
        let maker = uses.maker(graph, value)?;
        let conv = fused(maker).is_some_and(|conv| !conv.embedding && !conv.residual);
        (conv || linear(maker).is_some_and(|linear| !linear.residual)).then_some(maker)
    };
    let mut absorbed: HashSet<Value> = HashSet::new();
    let mut result = rewrite(graph, |result, equation| {
        let embedding = matches!(equation.op, Op::AddEmbedding(AddEmbedding));
        let (maker, addend) = match (&equation.op, &equation.inputs[..]) {
            (Op::AddEmbedding(AddEmbedding), &[x, embedding]) => {
                let Some(maker) = host(x).filter(|maker| fused(maker).is_some()) else {
                    return Ok(false);
                };
                (maker, embedding)
            }
            (Op::Add(Add), &[a, b]) if a != b => {
                // The larger kernel: a shortcut's product is rather read than computed last.
                let taps = |maker: &Equation| {
                    let weight = fused(maker).map(|conv| maker.inputs[conv.load.arity()]);
                    weight.map_or(1, |weight| graph.type_of(weight).shape[0])
                };
                let pairs = [(a, b), (b, a)].into_iter();
                let hosts = pairs.filter_map(|(x, other)| Some((host(x)?, other)));
                let Some(found) = hosts.max_by_key(|(maker, _)| taps(maker)) else {
                    return Ok(false);
                };
                found
            }
            _ => return Ok(false),
        };
        let op: Op = match (fused(maker), linear(maker)) {
            (Some(conv), _) if embedding => FusedConv2d { embedding, ..conv }.into(),
            (Some(conv), _) => FusedConv2d { residual: true, ..conv }.into(),
            (None, Some(linear)) => FusedLinear { residual: true, ..linear }.into(),
            (None, None) => return Ok(false),
        };
        absorbed.insert(maker.outputs[0]);
        let inputs = [&maker.inputs[..], &[addend]].concat();
        push(result, op, &inputs, maker, &equation.outputs)?;
        Ok(true)
    })?;
    result.equations.retain(|equation| !equation.outputs.iter().any(|v| absorbed.contains(v)));
    Ok(result)
}

/// SiLU into the linear layer before it.
fn activations(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    let mut absorbed: HashSet<Value> = HashSet::new();
    let mut result = rewrite(graph, |result, equation| {
        let (Op::Silu(Silu), &[y]) = (&equation.op, &equation.inputs[..]) else { return Ok(false) };
        let maker = uses.reader(graph, y).and_then(|_| uses.maker(graph, y));
        let Some((maker, linear)) = maker.and_then(|maker| Some((maker, linear(maker)?))) else {
            return Ok(false);
        };
        absorbed.insert(y);
        let op = FusedLinear { silu: true, ..linear };
        push(result, op, &maker.inputs, maker, &equation.outputs)?;
        Ok(true)
    })?;
    result.equations.retain(|equation| !equation.outputs.iter().any(|v| absorbed.contains(v)));
    Ok(result)
}

/// The moments of what a convolution makes, computed where it is made.
fn moments(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    let measured = |equation: &Equation| {
        let y = *equation.outputs.first()?;
        let readers = uses.readers.get(&y)?.iter().map(|&index| &graph.equations[index]);
        let mut moments = readers.filter(|reader| matches!(reader.op, Op::GroupMoments(_)));
        Some(moments.next()?.outputs[0])
    };
    let mut computed: HashSet<Value> = HashSet::new();
    rewrite(graph, |result, equation| {
        if matches!(equation.op, Op::GroupMoments(_)) {
            return Ok(computed.contains(&equation.outputs[0]));
        }
        let (Some(conv), Some(moments)) = (fused(equation), measured(equation)) else {
            return Ok(false);
        };
        computed.insert(moments);
        let outputs = [equation.outputs[0], moments];
        push(result, FusedConv2d { moments: true, ..conv }, &equation.inputs, equation, &outputs)?;
        Ok(true)
    })
}
