//! A case of any op with random extents, attributes and contents, reproducible by a seed.
use super::{Case, Kind};

mod dice;
mod images;
mod norms;
mod products;
mod sampling;
mod training;

pub(crate) use dice::Dice;

/// A random case of a random op: the same for the same seed.
pub fn random_case(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    let kind = Kind::ALL[dice.below(Kind::ALL.len())];
    case_of(kind, &mut dice)
}

/// A random case of an op of this kind.
pub(super) fn case_of(kind: Kind, dice: &mut Dice) -> Case {
    match kind {
        Kind::Adam => training::adam(dice),
        Kind::Add => images::add(dice),
        Kind::AddEmbedding => images::add_embedding(dice),
        Kind::SumPixels => images::sum_pixels(dice),
        Kind::AddNoise => sampling::add_noise(dice),
        Kind::AddDrawnNoise => sampling::add_drawn_noise(dice),
        Kind::AddNumberedNoise => sampling::add_numbered_noise(dice),
        Kind::View => training::view(dice),
        Kind::Pack => training::pack(dice),
        Kind::Attention => products::attention(dice),
        Kind::AttentionBackward => products::attention_backward(dice),
        Kind::JointAttention => products::joint_attention(dice),
        Kind::Cast => images::cast(dice),
        Kind::Concat => images::concat(dice),
        Kind::SliceChannels => images::slice_channels(dice),
        Kind::PadChannels => images::pad_channels(dice),
        Kind::Constant => images::constant(dice),
        Kind::CorrectorSize => sampling::corrector_size(dice),
        Kind::Advance => training::advance(dice),
        Kind::Record => training::record(dice),
        Kind::Conv2d => products::convolution(dice, 0),
        Kind::Conv2dInputGradient => products::convolution(dice, 1),
        Kind::Conv2dWeightGradient => products::convolution(dice, 2),
        Kind::FusedConv2d => products::fused_convolution(dice, false),
        Kind::FusedConv2dWeightGradient => products::fused_convolution(dice, true),
        Kind::DrawNormal => sampling::draw_normal(dice),
        Kind::DrawTimesteps => sampling::draw_timesteps(dice),
        Kind::DropLabels => training::drop_labels(dice),
        Kind::Dropout => training::dropout(dice),
        Kind::DynamicThreshold => sampling::dynamic_threshold(dice),
        Kind::TimestepEmbedding => images::timestep_embedding(dice),
        Kind::GatherRows => images::gather_rows(dice),
        Kind::GatherRowsBackward => images::gather_rows_backward(dice),
        Kind::Geglu => images::geglu(dice),
        Kind::GegluBackward => images::geglu_backward(dice),
        Kind::Gelu => images::gelu(dice),
        Kind::GeluBackward => images::gelu_backward(dice),
        Kind::GlobalNorm => training::global_norm(dice),
        Kind::GroupNorm => norms::group_norm(dice),
        Kind::GroupMoments => norms::group_moments(dice),
        Kind::GroupAffine => norms::group_affine(dice),
        Kind::ApplyAffine => norms::apply_affine(dice),
        Kind::GroupNormBackward => norms::group_norm_backward(dice),
        Kind::Twice => sampling::twice(dice),
        Kind::Guide => sampling::guide(dice),
        Kind::ImageSquaredError => training::image_squared_error(dice, false),
        Kind::ImageSquaredErrorBackward => training::image_squared_error(dice, true),
        Kind::TimestepProbabilities => training::timestep_probabilities(dice),
        Kind::DrawImportant => training::draw_important(dice),
        Kind::Remember => training::remember(dice),
        Kind::LayerNorm => norms::layer_norm(dice),
        Kind::LayerNormBackward => norms::layer_norm_backward(dice),
        Kind::Linear => products::linear(dice, 0),
        Kind::FusedLinear => products::linear(dice, 1),
        Kind::LinearInputGradient => products::linear(dice, 2),
        Kind::LinearWeightGradient => products::linear(dice, 3),
        Kind::MeanLoss => training::mean_loss(dice),
        Kind::MeanLossBackward => training::mean_loss_backward(dice),
        Kind::MeanSquaredError => training::mean_squared_error(dice, false),
        Kind::MeanSquaredErrorBackward => training::mean_squared_error(dice, true),
        Kind::Modulate => images::modulate(dice),
        Kind::ModulateBackward => images::modulate_backward(dice),
        Kind::UpsampleNearest => images::upsample(dice),
        Kind::UpsampleNearestBackward => images::upsample_backward(dice),
        Kind::AveragePool => images::average_pool(dice),
        Kind::AveragePoolBackward => images::average_pool_backward(dice),
        Kind::AllTimesteps => sampling::all_timesteps(dice),
        Kind::TrainingRow => training::row(dice),
        Kind::SamplingRow => sampling::row(dice),
        Kind::SamplingStep => sampling::step(dice),
        Kind::Scale => images::scale(dice),
        Kind::Silu => images::silu(dice),
        Kind::SiluBackward => images::silu_backward(dice),
        Kind::SoftmaxCrossEntropy => training::cross_entropy(dice, false),
        Kind::SoftmaxCrossEntropyBackward => training::cross_entropy(dice, true),
        Kind::SumRows => images::sum_rows(dice),
        Kind::VariationalBound => training::variational_bound(dice, false),
        Kind::VariationalBoundBackward => training::variational_bound(dice, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Operator;

    #[test]
    fn every_op_has_cases_whose_operands_fit() {
        for kind in Kind::ALL {
            for seed in 0..200 {
                let case = case_of(*kind, &mut Dice::new(seed));
                assert!(kind.is_of(&case.op), "{kind:?}: {}", case.op);
                let types = [case.clone(), case.in_half()].map(|case| case.op.infer(&case.types()));
                assert!(types.iter().all(Result::is_ok), "{kind:?} {seed}: {types:?}");
            }
        }
    }

    #[test]
    fn a_seed_gives_one_case() {
        let title = |seed| random_case(seed).title();
        assert!((0..50).all(|seed| title(seed) == title(seed)));
        assert_ne!(title(1), title(2));
    }
}
