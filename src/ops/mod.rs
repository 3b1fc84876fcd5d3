//! The operations: one file per shader family, five facts and a table of cases each.
//!
//! To add one: `shaders/x.wgsl`, `src/ops/THEME/x.rs`, and here its module and its place in the list.
//!
//! ```
//! use ddim::{ops::{Conv2d, Input, Operator}, value::TensorType};
//!
//! let conv = Conv2d { stride: 2, padding: [1; 4] };
//! let types = [TensorType::f32(&[1, 8, 8, 4]), TensorType::f32(&[3, 3, 4, 16])];
//! assert_eq!(conv.infer(&types)?, [TensorType::f32(&[1, 4, 4, 16])]);
//! assert_eq!(conv.cost(&types).flops, 2 * (4 * 4 * 16) * (3 * 3 * 4));
//! let [x, weight] = types.map(|of| Input::normal(of).tensor(7));
//! assert!(conv.reference(&[&x, &weight])[0].max_abs() > 1.0);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program, with an op of its own: `examples/custom_op.rs`.
use any::operations;
use cases::MANY_IMAGES;
use kit::{activation, check, display, elementwise_cost, floats, operands, prelude};

mod any;
mod backward;
mod cases;
mod custom;
mod kit;
mod lowering;
mod operator;
mod random_cases;

pub use any::Custom;
pub use backward::{Backward, Gradients};
pub use cases::{Case, Fill, Input};
pub use conv2d::{Load, Prologue};
pub use kit::random::Counter;
pub(crate) use kit::random::philox;
pub use layout::gather_rows::TablePart;
pub use loss::mean_squared_error::Reduction;
pub use lowering::Lowering;
pub use operator::{Operator, Special};
pub use optimizer::{average::AverageDecay, rate_decay::Fall};
pub(crate) use random_cases::Dice;
pub use random_cases::random_case;

mod attention;
mod attention_pool;
mod conv2d;
mod matmul;
mod norm;
mod resample;
mod window_pool;

/// Ops that compute each element, or each pixel, on its own.
mod elementwise {
    pub(super) mod add;
    pub(super) mod add_embedding;
    pub(super) mod cast;
    pub(super) mod constant;
    pub(super) mod geglu;
    pub(super) mod gelu;
    pub(super) mod modulate;
    pub(super) mod quick_gelu;
    pub(super) mod relu;
    pub(super) mod scale;
    pub(super) mod silu;
    pub(super) mod timestep_embedding;
}

/// Ops that move numbers without computing any.
mod layout {
    pub(super) mod arena;
    pub(super) mod collect;
    pub(super) mod concat;
    pub(super) mod gather_rows;
    pub(super) mod look_up;
}

/// Losses and their gradients.
mod loss {
    pub(super) mod image_squared_error;
    pub(super) mod mean_loss;
    pub(super) mod mean_squared_error;
    pub(super) mod softmax_cross_entropy;
    pub(super) mod variational_bound;
}

/// What a training step does besides the network: its row of rates, the sum and the norm of the gradients, the
/// update, the scale of the loss.
mod optimizer {
    pub(super) mod accumulate;
    pub(super) mod adam;
    pub(super) mod average;
    pub(super) mod global_norm;
    pub(super) mod next_scale;
    pub(super) mod rate_decay;
    pub(super) mod training_row;
}

/// Ops that draw random numbers, or count the steps that these depend on.
mod random {
    pub(super) mod add_noise;
    pub(super) mod counter;
    pub(super) mod draw;
    pub(super) mod drop_labels;
    pub(super) mod dropout;
    pub(super) mod importance;
}

/// What a step of a sampler does besides the network.
mod sampling {
    pub(super) mod classifier_shift;
    pub(super) mod corrector_size;
    pub(super) mod dynamic_threshold;
    pub(super) mod guidance;
    pub(super) mod row;
    pub(super) mod step;
    mod step_reference;
}

operations! {
    [attention] { Attention, AttentionBackward, JointAttention }
    [attention_pool] { PoolTokens, PoolTokensBackward, SumImages, FirstToken, FirstTokenBackward }
    [conv2d] { Conv2d, Conv2dInputGradient, Conv2dWeightGradient, FusedConv2d, FusedConv2dWeightGradient }
    [elementwise::add] { Add }
    [elementwise::add_embedding] { AddEmbedding, SumPixels }
    [elementwise::cast] { Cast, CastInto }
    [elementwise::constant] { Constant }
    [elementwise::geglu] { Geglu, GegluBackward }
    [elementwise::gelu] { Gelu, GeluBackward }
    [elementwise::modulate] { Modulate, ModulateBackward }
    [elementwise::quick_gelu] { QuickGelu, QuickGeluBackward }
    [elementwise::relu] { Relu, ReluBackward }
    [elementwise::scale] { Scale }
    [elementwise::silu] { Silu, SiluBackward }
    [elementwise::timestep_embedding] { TimestepEmbedding }
    [layout::arena] { View, Pack }
    [layout::collect] { Collect }
    [layout::concat] { Concat, SliceChannels, PadChannels }
    [layout::gather_rows] { GatherRows, GatherRowsBackward }
    [layout::look_up] { LookUp }
    [loss::image_squared_error] { ImageSquaredError, ImageSquaredErrorBackward }
    [loss::mean_loss] { MeanLoss, MeanLossBackward }
    [loss::mean_squared_error] { MeanSquaredError, MeanSquaredErrorBackward }
    [loss::softmax_cross_entropy] { SoftmaxCrossEntropy, SoftmaxCrossEntropyBackward }
    [loss::variational_bound] { VariationalBound, VariationalBoundBackward }
    [matmul::linear] { Linear, FusedLinear, LinearInputGradient, LinearWeightGradient }
    [matmul::sum_rows] { SumRows }
    [norm::group_norm] { GroupNorm, GroupMoments, GroupAffine, ApplyAffine, GroupNormBackward }
    [norm::layer_norm] { LayerNorm, LayerNormBackward }
    [optimizer::accumulate] { Accumulate }
    [optimizer::adam] { Adam }
    [optimizer::average] { AverageWeights }
    [optimizer::global_norm] { GlobalNorm }
    [optimizer::next_scale] { NextScale }
    [optimizer::rate_decay] { RateDecay }
    [optimizer::training_row] { TrainingRow }
    [random::add_noise] { AddNoise, AddDrawnNoise, AddNumberedNoise }
    [random::counter] { Advance, NextImages, Record }
    [random::draw] { DrawNormal, DrawTimesteps }
    [random::drop_labels] { DropLabels }
    [random::dropout] { Dropout }
    [random::importance] { TimestepProbabilities, DrawImportant, Remember }
    [resample] { UpsampleNearest, UpsampleNearestBackward, AveragePool, AveragePoolBackward }
    [sampling::classifier_shift] { ClassifierShift }
    [sampling::corrector_size] { CorrectorSize }
    [sampling::dynamic_threshold] { DynamicThreshold }
    [sampling::guidance] { Twice, Guide }
    [sampling::row] { AllTimesteps, SamplingRow }
    [sampling::step] { SamplingStep }
    [window_pool] { WindowPool }
}
