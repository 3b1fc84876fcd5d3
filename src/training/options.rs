//! The numbers and choices that decide a training run.
use super::{
    averages::Average,
    buckets::BUCKET,
    choices::{Loss, RateSchedule, Timesteps},
    objectives::TrainingObjective,
};
use crate::{
    data::AUGMENT_LABELS,
    diffusion::schedule::{SchedulerConfig, Variance},
    error::{TrainingError, Unexpected},
    nn::Model,
    ops::{Fall, RateDecay, TrainingRow},
    pipeline::channels,
    value::{ElementType, TensorType},
};
use serde::{Deserialize, Serialize};

/// Numbers that decide a training run, beside the model and its schedule.
///
/// Example: [`crate::training`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingOptions {
    /// Images of a step, or of each of its micro-batches.
    pub batch: usize,
    /// Micro-batches of a step: their mean gradient is that of one batch of all their images, up to
    /// rounding, and takes the memory of one of them.
    pub accumulate: usize,
    /// Ranks that take a step together, each of them `accumulate` micro-batches: see
    /// [`Trainer::join`](super::Trainer::join).
    pub ranks: usize,
    /// Most bytes that a step may take of the device: activations are dropped and recomputed where it would
    /// take more. Without, where the device gives less. No bit depends on it.
    pub memory: Option<u64>,
    /// Most bytes of gradients that ranks add up at once, while the backward pass goes on; a parameter that takes
    /// more is added up alone. No bit depends on it, and no file records it.
    #[serde(skip)]
    pub bucket: u64,
    /// Storage of weights and activations in a step: f32, f16, which has a [`LossScale`](super::LossScale), or bf16.
    /// Masters of the weights, moments, averages, gradients of weights and sums are f32.
    pub precision: ElementType,
    /// Learning rate after the warm-up.
    pub learning_rate: f64,
    /// Steps in which it grows to that.
    pub warmup: u32,
    /// Steps at whose end it has fallen to zero, from the warm-up on; `None` keeps it. By the inverse of a root it
    /// falls from then on, and never to zero.
    pub decay_steps: Option<u32>,
    /// How the learning rate falls.
    pub rate_schedule: RateSchedule,
    /// Adam's decays of the moments.
    pub betas: (f64, f64),
    /// Adam's epsilon.
    pub epsilon: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// AdamW: the decay shrinks the parameter instead of entering the gradient.
    pub decoupled: bool,
    /// Largest norm of all gradients together; `None` never clips.
    pub clip: Option<f64>,
    /// Decay of the moving average of the weights.
    pub ema_decay: f64,
    /// Whether that decay is `min(ema_decay, (1 + i) / (10 + i))` in step `i`.
    pub ema_warmup: bool,
    /// More moving averages of the weights.
    pub averages: Vec<Average>,
    /// Sum over each image instead of the mean over every element, in the simple loss.
    pub sum_loss: bool,
    /// What the network is trained for.
    pub objective: TrainingObjective,
    /// The loss.
    pub loss: Loss,
    /// Weight of the bound in [`Loss::Hybrid`].
    pub hybrid_lambda: f64,
    /// Largest signal-to-noise ratio that counts in the simple loss; `None` counts all timesteps
    /// alike. In terms of the image's error the weight is `min(snr, gamma)`, so it is
    /// `min(snr, gamma) / snr` for a network that predicts epsilon and `min(snr, gamma) / (snr + 1)`
    /// for v: Hang et al. 2023, *Efficient Diffusion Training via Min-SNR Weighting Strategy*.
    pub min_snr_gamma: Option<f64>,
    /// Sampling of timesteps in a batch.
    pub timesteps: Timesteps,
    /// Probability that a class label gives way to the null label, the last row of the table of
    /// classes, so that the network learns to do without: Ho and Salimans 2021.
    pub label_drop: f64,
    /// Karras et al.'s augmentations of the images, each with this probability: the model is told what was done, so it is
    /// one of [`UNet::augmented`](crate::models::unet2d::UNet::augmented).
    pub augment: Option<f64>,
    /// Storage of the weights that stay as they are beside adapters: kernels, matrices and tables. A model without
    /// adapters has none.
    pub frozen: ElementType,
    /// Seed of the weights, the order of the data, timesteps, noise and dropout.
    pub seed: u64,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            batch: 64,
            accumulate: 1,
            ranks: 1,
            memory: None,
            bucket: BUCKET,
            precision: ElementType::F32,
            learning_rate: 2e-4,
            warmup: 0,
            decay_steps: None,
            rate_schedule: RateSchedule::Linear,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            clip: Some(1.0),
            ema_decay: 0.9999,
            ema_warmup: true,
            averages: Vec::new(),
            sum_loss: false,
            objective: TrainingObjective::Betas,
            loss: Loss::Simple,
            hybrid_lambda: 1e-3,
            min_snr_gamma: None,
            timesteps: Timesteps::Uniform,
            label_drop: 0.0,
            augment: None,
            frozen: ElementType::F32,
            seed: 0,
        }
    }
}

fn positive(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

impl TrainingOptions {
    /// The op that gives the rates of a step, and that which lowers the learning rate, if one is needed.
    pub(super) fn rates(&self) -> (TrainingRow, Option<RateDecay>) {
        let fall = match self.rate_schedule {
            RateSchedule::Linear => None,
            RateSchedule::Cosine => Some(Fall::Cosine),
            RateSchedule::InverseSqrt => Some(Fall::InverseSqrt),
        };
        let linear = if fall.is_none() { self.decay_steps } else { None };
        let row = TrainingRow {
            learning_rate: self.learning_rate.into(),
            warmup: self.warmup,
            decay_steps: linear.unwrap_or(0),
            beta1: self.betas.0.into(),
            beta2: self.betas.1.into(),
            ema_decay: self.ema_decay.into(),
            ema_warmup: self.ema_warmup,
        };
        let decay = fall.zip(self.decay_steps);
        (row, decay.map(|(fall, steps)| RateDecay { fall, warmup: self.warmup, steps }))
    }

    /// The learning rate of a step, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        let (row, decay) = self.rates();
        let step = step as f64;
        row.rate(step) * decay.map_or(1.0, |decay| decay.factor(step))
    }

    /// The step from which on the learning rate is 0, if there is one.
    pub fn last_rate(&self) -> Option<u32> {
        self.decay_steps.filter(|_| self.rate_schedule != RateSchedule::InverseSqrt)
    }

    /// Checks that the options are in range and suit model and schedule.
    ///
    /// # Errors
    /// Names the option, what it may be and what it is.
    pub fn check(
        &self,
        model: &dyn Model,
        scheduler: &SchedulerConfig,
    ) -> Result<(), TrainingError> {
        self.check_ranges()?;
        self.check_precision(model)?;
        self.objective.check()?;
        let own = self.objective != TrainingObjective::Betas;
        let plain = self.loss == Loss::Simple && self.min_snr_gamma.is_none();
        let found = format!("{:?}", self.loss);
        let expected = "simple, without min_snr_gamma, for an objective without betas";
        Unexpected::check(plain || !own, "loss", expected, found)?;
        let expected = "0, for the model has no table of a class and the null label";
        let fits = self.label_drop <= 0.0 || model.classes() > Some(1);
        Unexpected::check(fits, "label_drop", expected, self.label_drop)?;
        let told = model.vector_type(1) == Some(TensorType::f32(&[1, AUGMENT_LABELS]));
        let expected = "none, for the model is not told of it";
        let fits = told || self.augment.is_none();
        Unexpected::check(fits, "augment", expected, self.augment.unwrap_or_default())?;
        if let Some(gamma) = self.min_snr_gamma {
            Unexpected::check(positive(gamma), "min_snr_gamma", "above 0", gamma)?;
            let expected = "none, for it weights the simple loss";
            Unexpected::check(self.loss != Loss::Vlb, "min_snr_gamma", expected, gamma)?;
        }
        let learned = scheduler.variance_type == Variance::LearnedRange;
        let expected = "learned_range, for the hybrid loss";
        let fits = self.loss != Loss::Hybrid || learned;
        Unexpected::check(fits, "variance_type", expected, "a fixed one")?;
        Ok(channels(model, scheduler)?)
    }

    /// Images of a step: those of all its micro-batches.
    pub fn images(&self) -> usize {
        self.batch * self.parts()
    }

    /// Micro-batches of a step, those of all ranks.
    pub fn parts(&self) -> usize {
        self.accumulate * self.ranks
    }

    /// Checks each number against its range.
    pub(super) fn check_ranges(&self) -> Result<(), TrainingError> {
        let above = |number: f64| (positive(number), "above 0", number);
        let not_negative =
            |number: f64| (number.is_finite() && number >= 0.0, "0 or above", number);
        let share = |number: f64| ((0.0..1.0).contains(&number), "0 to 1, without 1", number);
        let (batch, ema) = (self.batch, self.ema_decay);
        let most = (1 << 24) / batch.max(1);
        let expected = format!("1 to {most}, for batches of {batch}");
        let fits = (1..=most.max(1)).contains(&self.accumulate);
        Unexpected::check(fits, "accumulate", expected, self.accumulate)?;
        let most = (most / self.accumulate).max(1);
        let expected = format!("1 to {most}, of {} batches of {batch} each", self.accumulate);
        Unexpected::check((1..=most).contains(&self.ranks), "ranks", expected, self.ranks)?;
        for (option, (fits, expected, found)) in [
            ("batch", ((1..=1 << 24).contains(&batch), "1 to 16777216", batch as f64)),
            ("learning_rate", not_negative(self.learning_rate)),
            ("betas", share(self.betas.0)),
            ("betas", share(self.betas.1)),
            ("epsilon", above(self.epsilon)),
            ("weight_decay", not_negative(self.weight_decay)),
            ("clip", self.clip.map_or((true, "", 0.0), above)),
            ("ema_decay", ((0.0..=1.0).contains(&ema), "0 to 1", ema)),
            ("hybrid_lambda", not_negative(self.hybrid_lambda)),
            ("label_drop", share(self.label_drop)),
            ("augment", self.augment.map_or((true, "", 0.0), share)),
        ] {
            Unexpected::check(fits, option, expected, found)?;
        }
        self.averages.iter().try_for_each(Average::check)?;
        for (number, average) in self.averages.iter().enumerate() {
            let again = self.averages[..number].contains(average);
            Unexpected::check(!again, "averages", "each once", format!("{average} twice"))?;
        }
        for (option, stored) in [("frozen", self.frozen), ("precision", self.precision)] {
            let fits = stored != ElementType::U32;
            Unexpected::check(fits, option, "f32, f16 or bf16", stored)?;
        }
        let steps = self.decay_steps.unwrap_or(u32::MAX);
        let expected = format!("more than the {} steps of the warm-up", self.warmup);
        let root = self.rate_schedule == RateSchedule::InverseSqrt && steps > 0;
        let fits = steps > self.warmup || root || self.decay_steps.is_none();
        Ok(Unexpected::check(fits, "decay_steps", expected, steps)?)
    }

    /// Checks that a run that began with the options `before` may go on with these. Rates, decays,
    /// clipping, batch, micro-batches, ranks, precision and moving average may change: the state is the same.
    ///
    /// # Errors
    /// Names the option, what it has to stay and what it is.
    pub fn check_change(&self, before: &Self) -> Result<(), TrainingError> {
        const OBJECTIVE: &str = "the state is that of another objective";
        const SEED: &str = "the order of the data and the images held out follow from it";
        const AVERAGES: &str = "averages count from the first step on";
        let kept = |of: &Self| -> [(&'static str, String, &'static str); 11] {
            [
                ("seed", of.seed.to_string(), SEED),
                ("objective", format!("{:?}", of.objective), OBJECTIVE),
                ("loss", format!("{:?}", of.loss), OBJECTIVE),
                ("sum_loss", of.sum_loss.to_string(), OBJECTIVE),
                ("hybrid_lambda", of.hybrid_lambda.to_string(), OBJECTIVE),
                ("min_snr_gamma", format!("{:?}", of.min_snr_gamma), OBJECTIVE),
                ("timesteps", format!("{:?}", of.timesteps), OBJECTIVE),
                ("label_drop", of.label_drop.to_string(), OBJECTIVE),
                ("averages", format!("{:?}", of.averages), AVERAGES),
                ("augment", of.augment.is_some().to_string(), "the model is told of it"),
                ("frozen", of.frozen.to_string(), "what was learned lies beside these numbers"),
            ]
        };
        for ((option, was, why), (_, found, _)) in kept(before).into_iter().zip(kept(self)) {
            if was != found {
                let expected = format!("{was} as in the steps before ({why})");
                return Err(Unexpected::new(option, expected, found).into());
            }
        }
        Ok(())
    }
}
