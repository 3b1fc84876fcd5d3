//! Averages beside the optimizer's own, and learning rates that fall: in training, through checkpoints, and against the
//! numbers computed on the host.
use crate::common::{support, tiny};
use ddim::{
    data::Images,
    data::{Loader, Loading},
    diffusion::schedule::SchedulerConfig,
    gpu::Gpu,
    nn::{Model, Weights},
    training::{AVERAGES, Average, RateSchedule, Trainer, TrainingOptions, read_average},
};
use std::ops::ControlFlow;

fn trainer(gpu: &Gpu, options: TrainingOptions) -> Trainer {
    let scheduler = SchedulerConfig::default();
    Trainer::new(gpu, tiny::unet(None), scheduler, [8, 8], options).expect("a small model")
}

fn options() -> TrainingOptions {
    let averages = vec![Average::Decay(0.9), Average::Power(0.1), Average::Decay(0.5)];
    TrainingOptions { averages, ..tiny::options() }
}

/// Trains to a step on a few digits.
fn advance(trainer: &mut Trainer, steps: u64) {
    let images = Images::from(tiny::few_digits());
    let (options, first) = (trainer.options(), trainer.steps());
    let mut loader = Loader::new(&images, options.batch, options.seed, Loading::default(), first);
    trainer.train_on(&mut loader, steps, |_| ControlFlow::Continue(())).expect("good steps");
}

fn numbers(weights: &Weights) -> Vec<f32> {
    weights.iter().flat_map(|(_, of)| of.data.clone()).collect()
}

#[test]
fn averages_follow_the_weights_as_the_host_computes_them() {
    let Some(gpu) = support::gpu() else { return };
    let mut trainer = trainer(&gpu, options());
    let start = numbers(&trainer.raw_weights().expect("weights"));
    let mut expected = [0, 1, 2].map(|_| start.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
    for number in 0..3 {
        assert_eq!(numbers(&trainer.average(number).expect("an average")), start);
    }
    // An average of a power function holds the weights of the first step alone after it.
    for step in 0..6u64 {
        advance(&mut trainer, step + 1);
        let weights = numbers(&trainer.raw_weights().expect("weights"));
        let (step, gamma) = (step as f64, ddim::training::gamma(0.1));
        let warmed = |decay: f64| 1.0 - decay.min((1.0 + step) / (10.0 + step));
        let rates = [warmed(0.9), 1.0 - (1.0 - 1.0 / (step + 1.0)).powf(gamma + 1.0), warmed(0.5)];
        for (number, rate) in rates.into_iter().enumerate() {
            let found = numbers(&trainer.average(number).expect("an average"));
            let mut most = 0.0f64;
            for ((average, weight), found) in expected[number].iter_mut().zip(&weights).zip(&found)
            {
                *average += rate * (f64::from(*weight) - *average);
                most = most.max((*average - f64::from(*found)).abs());
            }
            assert!(most < 1e-6, "average {number}, step {step}: {most}");
        }
    }
    // The first has the decay of the model's own.
    let own = numbers(&trainer.averaged_weights().expect("weights"));
    assert_eq!(numbers(&trainer.average(0).expect("an average")), own);
    assert_ne!(numbers(&trainer.average(1).expect("an average")), own);
}

#[test]
fn averages_go_on_after_a_break() {
    let Some(gpu) = support::gpu() else { return };
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut whole = trainer(&gpu, options());
    advance(&mut whole, 7);
    let mut broken = trainer(&gpu, options());
    advance(&mut broken, 4);
    broken.save(folder.path(), serde_json::Value::Null).expect("room");
    let (mut resumed, _) = Trainer::resume(&gpu, folder.path()).expect("a checkpoint");
    advance(&mut resumed, 7);
    for number in 0..3 {
        let [one, other] =
            [&mut whole, &mut resumed].map(|run| run.average(number).expect("an average"));
        assert!(numbers(&one) == numbers(&other), "{number}");
    }
    // Without them nothing is another: neither weights nor files.
    let mut plain = trainer(&gpu, tiny::options());
    advance(&mut plain, 4);
    plain.save(&folder.path().join("plain"), serde_json::Value::Null).expect("room");
    assert!(!folder.path().join("plain").join(AVERAGES).exists());
    for name in ["training/state.safetensors", "unet/diffusion_pytorch_model.safetensors"] {
        let [one, other] = [folder.path().to_owned(), folder.path().join("plain")]
            .map(|of| std::fs::read(of.join(name)).expect("a file"));
        assert!(one == other, "{name}");
    }
    let settings = std::fs::read_to_string(folder.path().join("plain/training/settings.json"));
    let settings = settings.expect("settings");
    for key in ["averages", "rate_schedule", "augment"] {
        assert!(!settings.contains(key), "{key}: {settings}");
    }
    // Other averages belong to another run, and a file without one is named.
    let path = folder.path().join(AVERAGES);
    let specs = tiny::unet(None).parameters().expect("a model");
    let error =
        read_average(&path, Average::Decay(0.7), &specs).expect_err("none such").to_string();
    assert!(error.contains("averages.safetensors: decay-0.7."), "{error}");
    std::fs::remove_file(folder.path().join("training/current.json")).expect("it is there");
    std::fs::remove_file(path).expect("it is there");
    let error = Trainer::resume(&gpu, folder.path()).err().expect("no averages").to_string();
    assert!(error.contains("averages.safetensors"), "{error}");
    assert!(trainer(&gpu, options()).model().classes().is_none());
}

#[test]
fn options_of_averages_are_checked() {
    let Some(gpu) = support::gpu() else { return };
    let scheduler = SchedulerConfig::default();
    for (averages, words) in [
        (vec![Average::Decay(1.0)], "a decay of 0 to 1"),
        (vec![Average::Power(0.3)], "a relative length above 0"),
        (vec![Average::Power(0.05), Average::Power(0.05)], "power-0.05 twice"),
    ] {
        let options = TrainingOptions { averages, ..tiny::options() };
        let error = Trainer::new(&gpu, tiny::unet(None), scheduler.clone(), [8, 8], options).err();
        let error = error.expect(words).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn rates_fall_as_they_are_asked_to() {
    let Some(gpu) = support::gpu() else { return };
    let of = |rate_schedule, decay_steps| TrainingOptions {
        rate_schedule,
        decay_steps: Some(decay_steps),
        warmup: 2,
        weight_decay: 0.0,
        ..tiny::options()
    };
    let cosine = of(RateSchedule::Cosine, 6);
    let expected = [0.5, 1.0, 1.0, 0.853_553_390_6, 0.5, 0.146_446_609_4, 0.0, 0.0];
    for (step, expected) in (0..).zip(expected) {
        assert!((cosine.rate(step) - 1e-3 * expected).abs() < 1e-12, "{step}");
    }
    assert_eq!(cosine.last_rate(), Some(6));
    let root = of(RateSchedule::InverseSqrt, 2);
    let expected = [0.5, 1.0, (2.0f64 / 3.0).sqrt(), 0.5f64.sqrt()];
    for (step, expected) in (0..).zip(expected) {
        assert!((root.rate(step) - 1e-3 * expected).abs() < 1e-12, "{step}");
    }
    assert_eq!((root.last_rate(), root.rate(199)), (None, 1e-4));
    // A rate of zero moves nothing; before, weights move, and otherwise than along a line.
    let mut trainer = trainer(&gpu, cosine);
    advance(&mut trainer, 6);
    let after = numbers(&trainer.raw_weights().expect("weights"));
    advance(&mut trainer, 8);
    assert!(numbers(&trainer.raw_weights().expect("weights")) == after);
    let mut linear = self::trainer(&gpu, of(RateSchedule::Linear, 6));
    advance(&mut linear, 6);
    assert!(numbers(&linear.raw_weights().expect("weights")) != after);
}
