//! Ops with their attributes at the limits and past them.
use ddim::{
    ops::{
        Cast, Constant, Conv2d, Conv2dInputGradient, Conv2dWeightGradient, DrawNormal, FusedConv2d,
        FusedConv2dWeightGradient, GatherRows, GatherRowsBackward, Load, Op, Prologue, TablePart,
    },
    value::{ElementType, TensorType},
};

/// Zero, one, more than an axis of a grid has, what 32 bits and an address end at, and what lies
/// past these.
pub const NUMBERS: [usize; 10] = [
    0,
    1,
    70_000,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as usize,
    1 << 32,
    usize::MAX / 2,
    usize::MAX - 3,
    usize::MAX,
];

/// The op with each of its numbers, one after the other, at every limit.
macro_rules! numbers {
    ($op:expr, $all:ident: $($field:ident $(. $more:ident)*),+ $(,)?) => {{
        $(for number in near($op.$field $(. $more)* as usize) {
            let mut op = $op.clone();
            op.$field $(. $more)* = number as _;
            $all.push(op.into());
        })+
    }};
}

/// The limits, and what is next to this number.
fn near(number: usize) -> impl Iterator<Item = usize> {
    let next = [number.saturating_sub(1), number.saturating_add(1)];
    NUMBERS.into_iter().chain(next).filter(move |&other| other != number)
}

/// Every limit in the place of each of these numbers.
fn each<const N: usize>(numbers: [usize; N]) -> Vec<[usize; N]> {
    let mut all = Vec::new();
    for place in 0..N {
        for number in near(numbers[place]) {
            let mut changed = numbers;
            changed[place] = number;
            all.push(changed);
        }
    }
    all
}

/// Types with each extent at every limit, in every storage.
fn types(of: TensorType) -> Vec<TensorType> {
    let mut all: Vec<TensorType> =
        [ElementType::F16, ElementType::U32].map(|element| of.with_element(element)).into();
    for axis in 0..of.shape.len() {
        for number in near(of.shape[axis]) {
            let mut extents = of.shape.to_vec();
            extents[axis] = number;
            all.push(of.with_shape(&extents));
        }
    }
    all
}

/// The op with every attribute changed that counts, places or switches something.
pub fn changed(op: &Op) -> Vec<Op> {
    let mut all: Vec<Op> = Vec::new();
    match op {
        Op::Attention(op) => numbers!(op, all: heads),
        Op::AttentionBackward(op) => numbers!(op, all: heads),
        Op::JointAttention(op) => numbers!(op, all: heads),
        Op::AveragePoolBackward(op) => numbers!(op, all: height, width),
        Op::CorrectorSize(op) => numbers!(op, all: channels, stream),
        Op::DrawTimesteps(op) => numbers!(op, all: batch, count, stream),
        Op::DrawImportant(op) => numbers!(op, all: batch, stream),
        Op::DropLabels(op) => numbers!(op, all: null, stream),
        Op::GroupNorm(op) => numbers!(op, all: groups),
        Op::GroupNormBackward(op) => numbers!(op, all: groups),
        Op::GroupAffine(op) => numbers!(op, all: groups, pixels, tile_pixels),
        Op::Guide(op) => numbers!(op, all: channels),
        Op::MeanLossBackward(op) => numbers!(op, all: batch),
        Op::PadChannels(op) => numbers!(op, all: before, after),
        Op::SamplingRow(op) => numbers!(op, all: batch),
        Op::SliceChannels(op) => numbers!(op, all: start, count),
        Op::TimestepEmbedding(op) => numbers!(op, all: width),
        Op::TrainingRow(op) => numbers!(op, all: warmup, decay_steps),
        Op::WindowPool(op) => numbers!(op, all: kernel, stride, padding),
        Op::Conv2d(op) => {
            numbers!(op, all: stride);
            let padded = each(op.padding);
            all.extend(padded.into_iter().map(|padding| Conv2d { padding, ..*op }.into()));
        }
        Op::Conv2dInputGradient(op) => {
            numbers!(op, all: stride, height, width);
            for padding in each(op.padding) {
                all.push(Conv2dInputGradient { padding, ..*op }.into());
            }
        }
        Op::Conv2dWeightGradient(op) => {
            numbers!(op, all: stride);
            for padding in each(op.padding) {
                all.push(Conv2dWeightGradient { padding, ..*op }.into());
            }
            for kernel in each(op.kernel) {
                all.push(Conv2dWeightGradient { kernel, ..*op }.into());
            }
        }
        Op::FusedConv2d(op) => {
            numbers!(op, all: conv.stride);
            for padding in each(op.conv.padding) {
                let conv = Conv2d { padding, ..op.conv };
                all.push(FusedConv2d { conv, ..*op }.into());
            }
            for first in near(op.embedding.unwrap_or(0)).chain([4, 8]) {
                let embedding = op.embedding.map(|_| first);
                all.push(FusedConv2d { embedding, ..*op }.into());
            }
            for prologue in [Prologue::Identity, Prologue::Affine, Prologue::AffineSilu] {
                for (concat, upsample) in [(false, false), (true, false), (false, true)] {
                    let load = Load { concat, prologue, upsample };
                    all.push(FusedConv2d { load, ..*op }.into());
                }
            }
        }
        Op::FusedConv2dWeightGradient(op) => {
            numbers!(op, all: gradient.stride);
            for kernel in each(op.gradient.kernel) {
                let gradient = Conv2dWeightGradient { kernel, ..op.gradient };
                all.push(FusedConv2dWeightGradient { gradient, ..*op }.into());
            }
        }
        Op::Constant(op) => {
            let of = types(op.of).into_iter();
            all.extend(of.map(|of| Constant { of, ..*op }.into()));
        }
        Op::DrawNormal(op) => {
            let of = types(op.of).into_iter();
            all.extend(of.map(|of| DrawNormal { of, ..*op }.into()));
        }
        Op::GatherRows(_) => {
            all.push(GatherRows::of(ElementType::U32).into());
            for first in [1, usize::MAX] {
                let part = Some(TablePart { first, rows: 1 });
                all.push(GatherRows { element: ElementType::F32, part }.into());
            }
        }
        Op::GatherRowsBackward(op) => {
            let of = types(TensorType::f32(&op.table)).into_iter();
            all.extend(of.map(|of| GatherRowsBackward { table: of.shape, ..*op }.into()));
        }
        Op::Cast(_) => all.push(Cast { to: ElementType::U32 }.into()),
        Op::Pack(op) => {
            numbers!(op, all: elements);
            for (place, &offset) in op.offsets.iter().enumerate() {
                for number in near(offset).chain([64, 128, usize::MAX - 63]) {
                    let mut op = op.clone();
                    op.offsets[place] = number;
                    all.push(op.into());
                }
            }
        }
        _ => (),
    }
    all
}
