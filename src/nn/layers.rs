//! Layers: equations with parameters.
use super::{Initial, LORA_DOWN, LORA_UP, ParameterSpec, Views};
use crate::{
    error::Error,
    graph::Graph,
    ops::{
        Add, Attention, Cast, Conv2d, Dropout, GatherRows, GroupNorm, LayerNorm, Linear, Op, Silu,
        TablePart,
    },
    value::{ElementType, TensorType, Value},
};

/// Source of the values of parameters.
enum Source<'a> {
    /// They are in the graph already.
    Given(&'a Views),
    /// Each becomes an input of the graph, and its spec is noted.
    Traced(Vec<ParameterSpec>, Views),
}

/// Appends layers to a graph and finds their parameters by name.
///
/// Names follow PyTorch: layer `conv` in scope `block.0` has `block.0.conv.weight` and
/// `block.0.conv.bias`, whose first values are PyTorch's defaults. A layer fails if its operand
/// does not fit the op, or with [`Error::MissingParameter`] without its parameter. A linear layer
/// or convolution adds [`LORA_DOWN`] times [`LORA_UP`], if given ([`Adapters`](super::Adapters)).
///
/// Example: [`crate::nn`].
pub struct Layers<'a> {
    /// The graph that the layers are appended to.
    pub graph: &'a mut Graph,
    source: Source<'a>,
    key: Option<Value>,
    /// Random streams used so far.
    streams: u32,
}

/// Builds a network in `graph`, whose values it may take, and drops the graph. Returns the
/// parameters in the order in which the network asked for them.
///
/// # Errors
/// Those of `build`.
///
/// Example: [`crate::nn`].
pub fn trace<T>(
    mut graph: Graph,
    build: impl FnOnce(&mut Layers) -> Result<T, Error>,
) -> Result<(Vec<ParameterSpec>, T), Error> {
    let source = Source::Traced(Vec::new(), Views::default());
    let mut layers = Layers { graph: &mut graph, source, key: None, streams: 0 };
    let built = build(&mut layers)?;
    let found = match layers.source {
        Source::Traced(found, _) => found,
        Source::Given(_) => Vec::new(),
    };
    Ok((found, built))
}

impl<'a> Layers<'a> {
    /// Layers over parameters that are in the graph already. With the step's `key u32[8]` the
    /// network is built for training: dropout draws from it.
    pub fn new(graph: &'a mut Graph, parameters: &'a Views, key: Option<Value>) -> Self {
        Self { graph, source: Source::Given(parameters), key, streams: 0 }
    }

    /// Builds under `name`, a part of the parameters' names; the empty name adds nothing.
    pub fn scope<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        if name.is_empty() {
            return build(self);
        }
        self.graph.enter(name);
        let result = build(self);
        self.graph.leave();
        result
    }

    /// Appends `op(inputs)`: see [`Graph::push`].
    pub fn push(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Value, Error> {
        self.graph.push(op, inputs)
    }

    /// Channels of `x`: its innermost extent.
    pub fn channels(&self, x: Value) -> usize {
        self.graph.type_of(x).shape.last()
    }

    /// The f32 parameter `name` of the current scope. Asking twice gives the same value.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        initial: Initial,
    ) -> Result<Value, Error> {
        let scope = self.graph.scope().replace('/', ".");
        let separator = if scope.is_empty() { "" } else { "." };
        let name = format!("{scope}{separator}{name}");
        match &mut self.source {
            Source::Given(views) => views.get(&name).ok_or(Error::MissingParameter { name }),
            Source::Traced(found, views) => {
                if let Some(value) = views.get(&name) {
                    return Ok(value);
                }
                let of = TensorType::f32(shape);
                let value = self.graph.input(of);
                views.insert(&name, value);
                found.push(ParameterSpec { name, of, initial });
                Ok(value)
            }
        }
    }

    /// Weight of `inputs` (kernel and channels) by `outputs`, and bias if there is one.
    fn affine(
        &mut self,
        inputs: &[usize],
        outputs: usize,
        bias: bool,
    ) -> Result<Vec<Value>, Error> {
        let fan_in: usize = inputs.iter().product();
        let initial = Initial::Uniform((fan_in as f64).sqrt().recip());
        let mut values = vec![self.parameter("weight", &[inputs, &[outputs]].concat(), initial)?];
        if bias {
            values.push(self.parameter("bias", &[outputs], initial)?);
        }
        Ok(values)
    }

    /// `y = W0 x`, and `B A x` added to it if the layer has an adapter, with the ops of its two matrices: Hu et al.
    /// 2021, equation 3.
    fn adapted(
        &mut self,
        x: Value,
        y: Value,
        down: impl Into<Op>,
        up: impl Into<Op>,
    ) -> Result<Value, Error> {
        let Source::Given(views) = self.source else { return Ok(y) };
        let scope = self.graph.scope().replace('/', ".");
        let own = |name: &str| views.get(&format!("{scope}.{name}"));
        let (Some(a), Some(b)) = (own(LORA_DOWN), own(LORA_UP)) else { return Ok(y) };
        let h = self.push(down, &[x, a])?;
        let h = self.push(up, &[h, b])?;
        self.push(Add, &[y, h])
    }

    /// Convolution with a square kernel, to `outputs` channels.
    pub fn conv2d(
        &mut self,
        name: &str,
        x: Value,
        outputs: usize,
        kernel: usize,
        op: Conv2d,
    ) -> Result<Value, Error> {
        self.scope(name, |layers| {
            let inputs = [kernel, kernel, layers.channels(x)];
            let parameters = layers.affine(&inputs, outputs, true)?;
            let y = layers.push(op, &[&[x][..], &parameters].concat())?;
            layers.adapted(x, y, op, Conv2d { stride: 1, padding: [0; 4] })
        })
    }

    /// Linear map of the innermost axis.
    pub fn linear(&mut self, name: &str, x: Value, outputs: usize) -> Result<Value, Error> {
        self.product(name, x, outputs, true)
    }

    /// Linear map of the innermost axis without a bias.
    pub fn projection(&mut self, name: &str, x: Value, outputs: usize) -> Result<Value, Error> {
        self.product(name, x, outputs, false)
    }

    fn product(
        &mut self,
        name: &str,
        x: Value,
        outputs: usize,
        bias: bool,
    ) -> Result<Value, Error> {
        self.scope(name, |layers| {
            let parameters = layers.affine(&[layers.channels(x)], outputs, bias)?;
            let y = layers.push(Linear, &[&[x][..], &parameters].concat())?;
            layers.adapted(x, y, Linear, Linear)
        })
    }

    /// Scale of 1 and shift of 0 for each channel of `x`, under `name`, and `op` of the three.
    fn norm(&mut self, name: &str, x: Value, op: impl Into<Op>) -> Result<Value, Error> {
        self.scope(name, |layers| {
            let shape = [layers.channels(x)];
            let weight = layers.parameter("weight", &shape, Initial::Constant(1.0))?;
            let bias = layers.parameter("bias", &shape, Initial::Constant(0.0))?;
            layers.push(op, &[x, weight, bias])
        })
    }

    /// Group norm.
    pub fn group_norm(
        &mut self,
        name: &str,
        x: Value,
        groups: usize,
        eps: f64,
    ) -> Result<Value, Error> {
        self.norm(name, x, GroupNorm { groups, eps: eps.into() })
    }

    /// Layer norm over the innermost axis.
    pub fn layer_norm(&mut self, name: &str, x: Value, eps: f64) -> Result<Value, Error> {
        self.norm(name, x, LayerNorm { eps: eps.into() })
    }

    /// The rows of a table `[rows, width]` that `indices u32[batch, ..]` name; normal at first.
    pub fn embedding(
        &mut self,
        name: &str,
        indices: Value,
        rows: usize,
        width: usize,
    ) -> Result<Value, Error> {
        self.cut_embedding(name, indices, [rows, width], rows)
    }

    /// As [`Layers::embedding`], the table in parts of at most `most` rows, each a parameter of its own:
    /// see [`ParameterSpec::part`].
    pub fn cut_embedding(
        &mut self,
        name: &str,
        indices: Value,
        [rows, width]: [usize; 2],
        most: usize,
    ) -> Result<Value, Error> {
        let name = format!("{name}.weight");
        let mut sum = None;
        for first in (0..rows).step_by(most.max(1)) {
            let own = most.min(rows - first);
            let part = (own < rows).then_some(TablePart { first, rows });
            let name = part.map_or(name.clone(), |part| ParameterSpec::part_name(&name, part, own));
            let table = self.parameter(&name, &[own, width], Initial::Normal(1.0))?;
            let gather = GatherRows { element: ElementType::F32, part };
            let found = self.push(gather, &[indices, table])?;
            sum = Some(match sum {
                Some(sum) => self.push(Add, &[sum, found])?,
                None => found,
            });
        }
        sum.ok_or_else(|| Error::MissingParameter { name })
    }

    /// `x` in the storage `element`.
    pub fn cast(&mut self, x: Value, element: ElementType) -> Result<Value, Error> {
        let same = self.graph.type_of(x).element == element;
        if same { Ok(x) } else { self.push(Cast { to: element }, &[x]) }
    }

    /// `x sigmoid(x)`.
    pub fn silu(&mut self, x: Value) -> Result<Value, Error> {
        self.push(Silu, &[x])
    }

    /// Dropout with a random stream of its own; outside of training, `x`.
    pub fn dropout(&mut self, x: Value, rate: f64) -> Result<Value, Error> {
        let Some(key) = self.key.filter(|_| rate > 0.0) else { return Ok(x) };
        self.streams += 1;
        let op = Dropout { rate: rate.into(), stream: self.streams };
        self.push(op, &[x, key])
    }

    /// Self-attention of `x` with its projections, named as diffusers does: `to_q`, `to_k`,
    /// `to_v`, `to_out.0`.
    pub fn self_attention(&mut self, x: Value, heads: usize) -> Result<Value, Error> {
        self.attention(x, x, heads, true)
    }

    /// Attention of `x` to the tokens of `context`, named likewise; `to_q`, `to_k` and `to_v` have no
    /// bias.
    pub fn cross_attention(
        &mut self,
        x: Value,
        context: Value,
        heads: usize,
    ) -> Result<Value, Error> {
        self.attention(x, context, heads, false)
    }

    fn attention(
        &mut self,
        x: Value,
        context: Value,
        heads: usize,
        bias: bool,
    ) -> Result<Value, Error> {
        let channels = self.channels(x);
        let q = self.product("to_q", x, channels, bias)?;
        let k = self.product("to_k", context, channels, bias)?;
        let v = self.product("to_v", context, channels, bias)?;
        let h = self.push(Attention::to_all(heads), &[q, k, v])?;
        self.scope("to_out", |layers| layers.linear("0", h, channels))
    }
}
