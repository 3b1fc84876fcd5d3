//! Weights by the signal-to-noise ratio: Hang et al., *Efficient Diffusion Training via Min-SNR
//! Weighting Strategy* (2023).
use crate::diffusion::schedule::{PredictionType, Schedule};

/// Weight of the squared error of a prediction at each timestep: `min(snr, gamma)` in terms of the
/// image's error; 1 without gamma.
pub(crate) fn min_snr_weights(
    schedule: &Schedule,
    prediction: PredictionType,
    gamma: Option<f64>,
) -> Vec<f32> {
    let weight = |&alpha: &f64| {
        let Some(gamma) = gamma else { return 1.0 };
        let snr = alpha / (1.0 - alpha);
        let weight = match prediction {
            // The limit where no signal is left, too.
            PredictionType::Epsilon | PredictionType::ScaledScore => (gamma / snr).min(1.0),
            PredictionType::Score => (gamma / snr).min(1.0) * (1.0 - alpha),
            PredictionType::Sample => snr.min(gamma),
            PredictionType::VPrediction => snr.min(gamma) / (snr + 1.0),
            PredictionType::Flow => snr.min(gamma) / (snr.sqrt() + 1.0).powi(2),
        };
        weight as f32
    };
    schedule.alphas_cumprod().iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A squared error of epsilon is `snr` times one of the image, one of v `snr + 1` times, one of the
    /// velocity `(sqrt(snr) + 1)^2` times.
    #[test]
    fn every_prediction_weighs_the_error_of_the_image_alike() {
        let weights = |prediction, gamma| {
            let schedule = Schedule::linear(1000, 1e-4, 0.02);
            let weights = min_snr_weights(&schedule, prediction, gamma);
            let alphas = schedule.alphas_cumprod().to_vec();
            alphas.into_iter().map(|alpha| alpha / (1.0 - alpha)).zip(weights).collect::<Vec<_>>()
        };
        type OfImage = fn(f64) -> f64;
        for (prediction, of_image) in [
            (PredictionType::Epsilon, (|snr| snr) as OfImage),
            (PredictionType::Sample, |_| 1.0),
            (PredictionType::VPrediction, |snr| snr + 1.0),
            (PredictionType::Flow, |snr: f64| (snr.sqrt() + 1.0).powi(2)),
        ] {
            for (snr, weight) in weights(prediction, Some(5.0)) {
                let (got, want) = (f64::from(weight) * of_image(snr), snr.min(5.0));
                assert!(
                    (got - want).abs() < 1e-6 * want,
                    "{prediction} at {snr}: {got} for {want}"
                );
            }
            assert!(weights(prediction, None).iter().all(|(_, weight)| *weight == 1.0));
        }
    }
}
