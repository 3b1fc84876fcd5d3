//! A convolution, or its weight gradient, together with what stands around it. Fusion makes these
//! of finished graphs; each computes what the plain ops compute one after another. Above 300 lines, for
//! both are the same but for what they sum.
use super::{Conv2d, Conv2dWeightGradient, Load, Operands, Prologue, lower};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{
        Add, AddEmbedding, Case, GroupMoments, Input, Lowering, Op, Operator, SliceChannels,
        Special,
    },
    plan::Cost,
    reference::Tensor,
    value::{ElementType, TensorType},
};
use std::fmt;

/// `y = conv2d(load(x0, ..), weight, bias) + embedding + residual`, and the moments of `y`.
///
/// Operands, those in brackets if the fields say so: what [`Load`] reads, `weight`, \[`bias`\],
/// \[`embedding [batch, channels]`,
/// of which `out` channels are added\], \[`residual` as `y`\]. Outputs `y` and \[`moments`, as
/// [`GroupMoments`]\].
///
/// ```
/// use ddim::{ops::{Conv2d, FusedConv2d, Load, Operator, Prologue}, value::TensorType};
///
/// let conv = Conv2d { stride: 1, padding: [1; 4] };
/// let load = Load { prologue: Prologue::AffineSilu, ..Load::default() };
/// let fused = FusedConv2d { load, bias: true, ..conv.into() };
/// let [x, affine] = [&[1, 8, 8, 4][..], &[1, 3, 4]].map(|of| TensorType::f32(of));
/// let [weight, bias] = [&[3, 3, 4, 16][..], &[16]].map(|of| TensorType::f32(of));
/// assert_eq!(fused.infer(&[x, affine, weight, bias])?, [TensorType::f32(&[1, 8, 8, 16])]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FusedConv2d {
    /// The convolution.
    pub conv: Conv2d,
    /// How its input is read.
    pub load: Load,
    /// Whether there is a bias.
    pub bias: bool,
    /// The first channel of the embedding that is added, if one is. Unless all its channels are
    /// added, the first and their number are multiples of 4.
    pub embedding: Option<usize>,
    /// Whether a residual is added.
    pub residual: bool,
    /// Whether the moments of `y` are computed too.
    pub moments: bool,
}

/// [`Conv2dWeightGradient`] of an input that is read as [`Load`] says; operands those of the load,
/// then `dy`.
///
/// ```
/// use ddim::ops::{Conv2dWeightGradient, FusedConv2dWeightGradient, Load, Operator};
/// use ddim::value::TensorType;
///
/// let gradient = Conv2dWeightGradient { stride: 1, padding: [1; 4], kernel: [3, 3], bias: false };
/// let load = Load { upsample: true, ..Load::default() };
/// let [x, dy] = [[1, 4, 4, 8], [1, 8, 8, 16]].map(|of| TensorType::f32(&of));
/// let types = FusedConv2dWeightGradient { gradient, load }.infer(&[x, dy])?;
/// assert_eq!(types, [TensorType::f32(&[3, 3, 8, 16])]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FusedConv2dWeightGradient {
    /// The gradient.
    pub gradient: Conv2dWeightGradient,
    /// How its input is read.
    pub load: Load,
}

impl From<Conv2d> for FusedConv2d {
    fn from(conv: Conv2d) -> Self {
        let load = Load::default();
        Self { conv, load, bias: false, embedding: None, residual: false, moments: false }
    }
}

impl FusedConv2d {
    /// A convolution of so many operands in its fused form; none of another op.
    pub(crate) fn of(op: &Op, operands: usize) -> Option<Self> {
        match *op {
            Op::Conv2d(conv) => Some(Self { bias: operands == 3, ..conv.into() }),
            Op::FusedConv2d(fused) => Some(fused),
            _ => None,
        }
    }
}

impl fmt::Display for FusedConv2d {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes = super::attributes(self.conv.stride, self.conv.padding);
        write!(f, "fused_conv2d{{{attributes}{}", self.load)?;
        let Self { bias, embedding, residual, moments, .. } = *self;
        let from = embedding.filter(|&first| first > 0);
        let from = from.map(|first| format!(" from={first}")).unwrap_or_default();
        let embedding = embedding.is_some();
        let parts = [
            (bias, "bias"),
            (embedding, "embedding"),
            (residual, "residual"),
            (moments, "moments"),
        ];
        for (_, name) in parts.into_iter().filter(|(there, _)| *there) {
            write!(f, " {name}")?;
        }
        write!(f, "{from}}}")
    }
}

impl fmt::Display for FusedConv2dWeightGradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.gradient.to_string();
        let attributes = plain.trim_start_matches("conv2d_weight_gradient{").trim_end_matches('}');
        write!(f, "fused_conv2d_weight_gradient{{{attributes}{}}}", self.load)
    }
}

/// A fused convolution's operands by name.
struct Parts<T> {
    weight: T,
    bias: Option<T>,
    embedding: Option<T>,
    residual: Option<T>,
}

impl FusedConv2d {
    /// The operands after those of the load.
    ///
    /// # Errors
    /// The number that there should be of all.
    fn parts<T: Copy>(&self, inputs: &[T]) -> Result<Parts<T>, usize> {
        let mut rest = inputs.iter().copied().skip(self.load.arity());
        let (bias, embedding, residual) = (self.bias, self.embedding.is_some(), self.residual);
        let wanted = self.load.arity()
            + 1
            + [bias, embedding, residual].map(usize::from).iter().sum::<usize>();
        let weight = rest.next().filter(|_| inputs.len() == wanted).ok_or(wanted)?;
        let mut optional = |there: bool| if there { rest.next() } else { None };
        let (bias, embedding) = (optional(bias), optional(embedding));
        Ok(Parts { weight, bias, embedding, residual: optional(residual) })
    }

    fn convolved(
        &self,
        x: TensorType,
        parts: &Parts<TensorType>,
    ) -> Result<TensorType, ShapeError> {
        let operands: Vec<TensorType> = [x, parts.weight].into_iter().chain(parts.bias).collect();
        Ok(self.conv.infer(&operands)?[0])
    }
}

impl Operator for FusedConv2d {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let parts = self
            .parts(inputs)
            .map_err(|wanted| ShapeError::count("fused_conv2d", wanted, inputs))?;
        let x = self.load.infer(&inputs[..self.load.arity()])?;
        let y = self.convolved(x, &parts)?;
        if let (Some(embedding), Some(start)) = (parts.embedding, self.embedding) {
            let part = SliceChannels { start, count: y.shape.last() }.infer(&[embedding])?[0];
            AddEmbedding.infer(&[y, part])?;
            // Kernels read whole vec4s: the lanes past a part of an embedding would not be zero.
            let (count, all) = (y.shape.last(), embedding.shape.last());
            if count != all && !(start.is_multiple_of(4) && count.is_multiple_of(4)) {
                let message = format!(
                    "channels {start} to {} of an embedding of {all} are not whole vec4s",
                    start + count
                );
                return Err(ShapeError::conflict("fused_conv2d", message, inputs));
            }
        }
        if let Some(residual) = parts.residual {
            Add.infer(&[y, residual])?;
        }
        let moments = self.moments.then(|| GroupMoments.infer(&[y])).transpose()?;
        Ok([y].into_iter().chain(moments.into_iter().flatten()).collect())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let Ok(parts) = self.parts(inputs) else { unreachable!("as many operands as infer found") };
        let x = self.load.reference(&inputs[..self.load.arity()]);
        let operands: Vec<&Tensor> = [&x, parts.weight].into_iter().chain(parts.bias).collect();
        let mut y = self.conv.reference(&operands).swap_remove(0);
        if let (Some(embedding), Some(start)) = (parts.embedding, self.embedding) {
            let slice = SliceChannels { start, count: y.shape.last() };
            let part = slice.reference(&[embedding]).swap_remove(0);
            y = AddEmbedding.reference(&[&y, &part]).swap_remove(0);
        }
        if let Some(residual) = parts.residual {
            y = Add.reference(&[&y, residual]).swap_remove(0);
        }
        let moments = self.moments.then(|| GroupMoments.reference(&[&y]));
        [y].into_iter().chain(moments.into_iter().flatten()).collect()
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let Ok(parts) = self.parts(&equation.inputs) else {
            unreachable!("as many operands as infer found")
        };
        let read = &equation.inputs[..self.load.arity()];
        let types: Vec<TensorType> = read.iter().map(|v| lowering.type_of(*v)).collect();
        let extents = self.conv.extents(self.load.infer(&types)?, lowering.type_of(parts.weight));
        let base = Operands::new(read[0], extents.in_channels, parts.weight, equation.outputs[0]);
        let Parts { bias, embedding, residual, .. } = parts;
        let moments = equation.outputs.get(1).copied();
        let embedding_first4 = self.embedding.unwrap_or_default() / 4;
        let base = Operands { bias, embedding, embedding_first4, residual, moments, ..base };
        let operands = self.load.operands(lowering, read, base);
        lower::forward(lowering, &self.to_string(), &extents, &operands)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let outputs = self.infer(inputs).unwrap_or_default();
        let bytes = inputs.iter().chain(&outputs).map(TensorType::bytes).sum();
        let (Ok(parts), Ok(x)) =
            (self.parts(inputs), self.load.infer(&inputs[..self.load.arity()]))
        else {
            return Cost { flops: 0, bytes };
        };
        Cost { flops: self.conv.extents(x, parts.weight).flops(), bytes }
    }

    /// Padding is a product with zero in some kernels, and minimal filtering takes differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

impl Operator for FusedConv2dWeightGradient {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let arity = self.load.arity();
        let Some((&dy, read)) = inputs.split_last().filter(|(_, read)| read.len() == arity) else {
            return Err(ShapeError::count("fused_conv2d_weight_gradient", arity + 1, inputs));
        };
        self.gradient.infer(&[self.load.infer(read)?, dy])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (dy, read) = inputs.split_last().expect("operands, as infer found");
        self.gradient.reference(&[&self.load.reference(read), dy])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (&dy, read) = equation.inputs.split_last().expect("operands, as infer found");
        let types: Vec<TensorType> = read.iter().map(|v| lowering.type_of(*v)).collect();
        let extents = self.gradient.extents(self.load.infer(&types)?, lowering.type_of(dy));
        let base = Operands::new(read[0], extents.in_channels, dy, equation.outputs[0]);
        let base = Operands { dbias: equation.outputs.get(1).copied(), ..base };
        let operands = self.load.operands(lowering, read, base);
        lower::weight_gradient(lowering, &self.to_string(), &extents, &operands)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let outputs = self.infer(inputs).unwrap_or_default();
        let bytes = inputs.iter().chain(&outputs).map(TensorType::bytes).sum();
        let flops = inputs.split_last().and_then(|(dy, read)| {
            Some(self.gradient.extents(self.load.infer(read).ok()?, *dy).flops())
        });
        Cost { flops: flops.unwrap_or_default(), bytes }
    }

    /// Padding is a product with zero in some kernels, and minimal filtering takes differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

pub(super) fn cases() -> Vec<Case> {
    let load = |concat, prologue, upsample| Load { concat, prologue, upsample };
    let (identity, affine, silu) = (Prologue::Identity, Prologue::Affine, Prologue::AffineSilu);
    // bias, embedding, residual, moments
    let cases = [
        // batch, height, width, channels of x0 and x1, out, kernel, stride
        ([2, 8, 8, 8, 5], 12, 3, 1, load(true, silu, false), [true, true, false, true]),
        ([1, 4, 12, 4, 8], 8, 3, 1, load(true, identity, false), [true, false, true, true]),
        ([2, 6, 6, 5, 0], 7, 3, 1, load(false, affine, false), [true, false, true, true]),
        ([1, 4, 2, 8, 0], 4, 3, 1, load(false, silu, true), [true, true, true, true]),
        ([2, 5, 7, 6, 0], 3, 3, 1, load(false, silu, false), [false, true, false, false]),
        ([1, 8, 8, 8, 0], 8, 3, 2, load(false, identity, false), [true, false, false, true]),
        ([2, 4, 4, 8, 4], 12, 1, 1, load(true, identity, false), [true, false, true, true]),
        ([1, 4, 3, 8, 4], 4, 1, 1, load(true, affine, true), [true, true, false, false]),
    ];
    cases
        .into_iter()
        .flat_map(|(x, outputs, kernel, stride, load, parts)| {
            let [batch, height, width, first, second] = x;
            let channels = first + second;
            let image = |channels| TensorType::f32(&[batch, height, width, channels]);
            let side = |pixels: usize| if load.upsample { 2 * pixels } else { pixels };
            let read = TensorType::f32(&[batch, side(height), side(width), channels]);
            let padding = if kernel == 1 { [0; 4] } else { [1; 4] };
            let conv = Conv2d { stride, padding };
            let weight = TensorType::f32(&[kernel, kernel, channels, outputs]);
            let y = conv.extents(read, weight).y(ElementType::F32);
            let mut inputs = vec![Input::normal(image(first))];
            if load.concat {
                inputs.push(Input::normal(image(second)));
            }
            if load.prologue != Prologue::Identity {
                inputs.push(Input::normal(TensorType::f32(&[batch, 3, channels])));
            }
            let (kernels, bias) = ([kernel; 2], parts[0]);
            let gradient = Conv2dWeightGradient { stride, padding, kernel: kernels, bias };
            let given = [&inputs[..], &[Input::normal(y)]].concat();
            let gradient =
                Case::new(FusedConv2dWeightGradient { gradient, load }, given).terms(y.rows());
            let [bias, embedding, residual, moments] = parts;
            // All of an embedding, or a part of one.
            let (first, channels) = if batch > 1 && outputs.is_multiple_of(4) {
                (4, outputs + 7)
            } else {
                (0, outputs)
            };
            let embedding = embedding.then_some(first);
            inputs.push(Input::normal(weight));
            let more = [
                bias.then(|| TensorType::f32(&[outputs])),
                embedding.map(|_| TensorType::f32(&[batch, channels])),
                residual.then_some(y),
            ];
            inputs.extend(more.into_iter().flatten().map(Input::normal));
            let fused = FusedConv2d { conv, load, bias, embedding, residual, moments };
            // The prologue's terms, and the squares of the moments.
            [Case::new(fused, inputs).terms(4 * kernel * kernel * channels), gradient]
        })
        .collect()
}
