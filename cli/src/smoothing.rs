//! The smoothed loss: one number for curves, progress and reports.
use ddim::training::Metrics;

/// Most steps of a window.
const WINDOW: usize = 50;

/// A window is at most this part of the steps so far: at the beginning the loss falls too fast for
/// a longer one.
const PART: usize = 5;

/// The loss after the last of these steps: the mean of the last 50 losses, before step 250 of the
/// last fifth of them. It lies between the least and the largest loss of its window.
pub fn smoothed(steps: &[Metrics]) -> Option<f32> {
    let window = steps.len().div_ceil(PART).min(WINDOW);
    let last = &steps[steps.len() - window..];
    let sum: f64 = last.iter().map(|metrics| f64::from(metrics.loss)).sum();
    (window > 0).then(|| (sum / window as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(loss: impl Fn(u64) -> f32, steps: u64) -> Vec<Metrics> {
        let of = |step| Metrics { step, loss: loss(step), gradient_norm: 1.0, loss_scale: None };
        (1..=steps).map(of).collect()
    }

    #[test]
    fn it_lies_within_the_losses_of_its_window() {
        // A fast fall with spikes, and losses that are all one number.
        let falling = |step: u64| 1.3 / step as f32 + 0.02 * ((step * 37) % 11) as f32;
        for steps in [metrics(falling, 700), metrics(|_| 0.1, 700)] {
            for count in 1..=steps.len() {
                let window = &steps[count - count.div_ceil(5).min(50)..count];
                let losses = || window.iter().map(|of| of.loss);
                let (low, high) = (losses().fold(f32::MAX, f32::min), losses().fold(0.0, f32::max));
                let smooth = smoothed(&steps[..count]).expect("there are steps");
                assert!((low..=high).contains(&smooth), "step {count}: {smooth}");
            }
        }
    }

    #[test]
    fn it_follows_a_fall_without_the_weight_of_its_beginning() {
        // Like 1 / step: the mean of [0.8 n, n] is ln(1.25) / 0.2 = 1.12 times the last loss; whole
        // steps make it more where they are few.
        let steps = metrics(|step| 1.0 / step as f32, 250);
        for count in [1, 5, 20, 100, 250] {
            let ratio = smoothed(&steps[..count]).expect("there are steps") * count as f32;
            assert!((1.0..1.15).contains(&ratio), "step {count}: {ratio}");
        }
    }

    #[test]
    fn it_is_the_mean_of_fifty() {
        assert_eq!(smoothed(&[]), None);
        // The mean of 951 to 1000.
        assert_eq!(smoothed(&metrics(|step| step as f32, 1000)), Some(975.5));
        assert_eq!(smoothed(&metrics(|step| step as f32, 11)), Some(10.0));
    }
}
