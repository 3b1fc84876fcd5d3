//! The variational bound over a data set: against a closed form, whatever the batch, and from the
//! command line.
use std::ops::ControlFlow;

use crate::common::{support, tiny};
use ddim::{
    Error,
    data::{Dataset, Split, digits},
    diffusion::{
        Vlb, VlbEvaluator, VlbOptions, VlbPair,
        schedule::{Prediction, PredictionType, Schedule, Variance},
    },
    gpu::Gpu,
    nn::{Layers, Model, ModelInputs, Weights},
    ops::Constant,
    value::Value,
};

/// Sees a grey image in everything.
struct Grey;

impl Model for Grey {
    fn channels(&self) -> usize {
        1
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let of = layers.graph.type_of(inputs.x);
        layers.push(Constant { of, number: 0.0.into() }, &[])
    }
}

fn evaluate(evaluator: &mut VlbEvaluator, data: &Dataset, images: usize, levels: usize) -> Vlb {
    let mut heard = 0;
    let bound = evaluator
        .evaluate(data, images, levels, |done| {
            assert!(done > heard);
            heard = done;
            ControlFlow::<()>::Continue(())
        })
        .expect("a device that is there");
    assert_eq!(heard, images * levels);
    match bound {
        ControlFlow::Continue(bound) => bound,
        ControlFlow::Break(()) => unreachable!("nobody broke off"),
    }
}

#[test]
fn the_divergences_of_a_grey_image_telescope() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let schedule = Schedule::linear(100, 1e-3, 0.2);
    let options = VlbOptions {
        output: Prediction { kind: PredictionType::Sample, ..Prediction::default() },
        variance: Variance::FixedSmall,
        half_bin: data.half_bin(),
    };
    let (images, height, width) = (7, data.height(), data.width());
    let size = [16, height, width];
    let mut evaluator =
        VlbEvaluator::new(&gpu, &Grey, &Weights::default(), size, &schedule, &options, 3)
            .expect("a small plan");
    let bound = evaluate(&mut evaluator, &data, images, 100);
    let squares: Vec<f64> =
        (0..images).flat_map(|i| data.image(i)).map(|x| f64::from(x).powi(2)).collect();
    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
    let snr = |t: usize| schedule.alphas_cumprod()[t] / (1.0 - schedule.alphas_cumprod()[t]);
    let want = 0.5 * (snr(0) - snr(99)) * mean / std::f64::consts::LN_2;
    // Sums of 64 terms in f32, weights rounded to f32.
    assert!((bound.divergence() / want - 1.0).abs() < 1e-5, "{} for {want}", bound.divergence());
    let prior = schedule.prior_nats(mean) / std::f64::consts::LN_2;
    assert!((bound.prior / prior - 1.0).abs() < 1e-9);
    assert!(!bound.is_estimate() && bound.standard_error > 0.0);
    for level in &bound.levels {
        assert!((level.mean.x0_error / mean - 1.0).abs() < 1e-5, "{level:?}");
        let epsilon = mean * snr(level.timestep);
        assert!((level.mean.epsilon_error / epsilon - 1.0).abs() < 1e-5, "{level:?}");
    }
    // Black pixels are far from grey: their mass is the least that counts, 1e-12.
    let most = 12.0 * 10.0_f64.log2();
    assert!(bound.decoder() > 0.0 && bound.decoder() <= most * 1.0001, "{}", bound.decoder());

    // Where the terms change little from one timestep to the next, few of them tell the sum.
    let estimate = evaluate(&mut evaluator, &data, images, 40);
    assert!(estimate.is_estimate());
    assert_eq!(estimate.decoder(), bound.decoder());
    assert!((estimate.divergence() / bound.divergence() - 1.0).abs() < 0.1, "{estimate:?}");
}

/// The bound of three digits by a U-Net that nobody trained.
fn untrained(gpu: &Gpu, batch: usize, seed: u64, levels: usize) -> Vlb {
    let unet = tiny::unet(None);
    let weights = tiny::untrained(&unet);
    let data = digits();
    let options = VlbOptions {
        output: Prediction { clip: Some(1.0), ..Prediction::default() },
        variance: Variance::FixedLarge,
        half_bin: data.half_bin(),
    };
    let schedule = Schedule::linear(1000, 1e-4, 0.02);
    let mut evaluator =
        VlbEvaluator::new(gpu, &unet, &weights, [batch, 8, 8], &schedule, &options, seed)
            .expect("a small plan");
    evaluate(&mut evaluator, &data, 3, levels)
}

#[test]
fn terms_do_not_depend_on_the_batch() {
    let Some(gpu) = support::gpu() else { return };
    let whole = untrained(&gpu, 15, 1, 5);
    assert_eq!(whole.levels.len(), 5);
    for level in &whole.levels {
        let numbers = [level.mean.bits, level.mean.exact_bits, level.mean.x0_error];
        assert!(numbers.iter().all(|number| number.is_finite() && *number > 0.0), "{level:?}");
    }
    // Kernels are chosen by the size of the batch, and round differently.
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-5 * b.abs();
    for batch in [1, 4] {
        let split = untrained(&gpu, batch, 1, 5);
        assert!(close(split.total(), whole.total()), "{batch}: {split:?} and {whole:?}");
        for (a, b) in split.levels.iter().zip(&whole.levels) {
            assert!(close(a.mean.x0_error, b.mean.x0_error), "{batch}: {a:?} and {b:?}");
        }
    }
    assert_ne!(untrained(&gpu, 15, 2, 5), whole, "another seed");
    // The noise of a timestep is the same whichever others are evaluated.
    let fewer = untrained(&gpu, 15, 1, 2);
    assert!(close(fewer.levels[0].mean.x0_error, whole.levels[0].mean.x0_error));
}

#[test]
fn the_model_predicts_what_the_case_of_its_labels_says() {
    let Some(gpu) = support::gpu() else { return };
    let unet = tiny::unet(Some(10));
    let weights = tiny::untrained(&unet);
    let (schedule, data) = (Schedule::linear(1000, 1e-4, 0.02), digits());
    let options = VlbOptions {
        output: Prediction::default(),
        variance: Variance::FixedSmall,
        half_bin: data.half_bin(),
    };
    let mut evaluator = VlbEvaluator::new(&gpu, &unet, &weights, [2, 8, 8], &schedule, &options, 1)
        .expect("a small plan");
    let image: Vec<f32> = data.image(0).collect();
    let pair = |label| VlbPair { image: &image, number: 0, timestep: 50, label };
    let terms = evaluator.terms(&[pair(0), pair(9), pair(0)]).expect("terms");
    assert_eq!(terms[0], terms[2]);
    assert_ne!(terms[0], terms[1]);

    let unlabelled =
        Dataset::from_pixels("made up", [8, 8, 1], vec![3; 64], None).expect("an image");
    let refused = evaluator.evaluate(&unlabelled, 1, 2, |_| ControlFlow::<()>::Continue(()));
    assert!(matches!(refused, Err(Error::Labels { found: None, .. })));
    let past = evaluator.terms(&[VlbPair { timestep: 1000, ..pair(0) }]).expect_err("past");
    assert!(past.to_string().contains("timestep: expected below 1000, found 1000"), "{past}");
    let stopped = evaluator.evaluate(&data, 4, 2, ControlFlow::Break).expect("a first batch");
    assert_eq!(stopped, ControlFlow::Break(2));
}

#[test]
fn parts_of_the_digits() {
    let open = |split| Dataset::open_part("digits".as_ref(), split, None).expect("embedded");
    let (train, test) = (open(Split::Train), open(Split::Test));
    assert_eq!((train.len(), test.len()), (1500, 297));
    let nowhere = tempfile::tempdir().expect("a folder");
    let refused = Dataset::open_part(nowhere.path(), Split::Test, None).expect_err("empty");
    assert!(refused.to_string().contains("t10k-images-idx3-ubyte"), "{refused}");
}
