//! Arguments of the commands that train.
use super::{
    Beside, ImageArguments, OptimizerArguments, Overwrite, WatchArguments, at_least_one, below_one,
    bytes::bytes, convert::Dtype, named, not_negative, positive,
};
use crate::failure::Failure;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use ddim::{
    diffusion::schedule::{BetaSchedule, PredictionType},
    training::{Loss, Timesteps, TrainingObjective, TrainingOptions},
};
use std::path::PathBuf;

/// Train a small U-Net on handwritten digits, sample new ones, and write a report.
///
/// The 1,797 digits (8x8 pixels) are inside the program; nothing is downloaded. The model has
/// 701,345 parameters. Every number is computed by this crate's own kernels.
#[derive(Args)]
#[command(after_help = "\
Writes below --out:
  report.html     one page with all of it, pictures inside
  samples.png     64 digits that the model sampled (DDIM, 50 steps)
  denoising.png   how eight of them came out of noise
  loss.svg        the loss of every step
  numbers.json    settings and results, for programs
  pipeline/       the model: `ddim sample --model out/pipeline` makes more, `ddim train --resume`
                  goes on, and DDPMPipeline.from_pretrained of Python's diffusers opens it")]
pub struct Demo {
    /// Training steps, of 64 digits each
    #[arg(long, default_value_t = 800, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Digits to sample for the Frechet distance, 64 to 100,000: fewer take less time, and their
    /// distance is larger
    #[arg(long, default_value_t = 1797, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=100_000))]
    pub samples: u32,
    /// Folder to write to
    #[arg(long, default_value = "out", value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub existing: Overwrite,
    /// Same seed and same device, same bits
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub seed: u64,
}

/// Train a U-Net on images of your own.
///
/// The folder --out becomes a pipeline that `ddim sample` and Python's diffusers open
/// (DDPMPipeline.from_pretrained), with the moving average of the weights; what it takes to go on
/// lies beside it in training/. Ctrl-C ends the run with a checkpoint.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim train --data digits --out run                    the embedded digits, a few minutes on a CPU
  ddim train --data mnist --out run --steps 5000        a folder with MNIST's idx files, packed or not
  ddim train --data photos --size 32 --flip --out run   a folder of pictures, cropped to their centres
  ddim train --data pets --size 32 --conditional --out run    pets/cat/*.jpg, pets/dog/*.png: two classes
  ddim train --data photos --size 96x64 --crop random --cache decoded --out run    more pictures than memory
  ddim train --data cifar-10-binary.tar.gz --conditional --valid 0.02 --out run
  ddim train --data digits --objective ncsn --out run         a score network, sampled by Langevin dynamics
  ddim train --init downloaded --data photos --out run        fine-tune somebody's pipeline
  ddim train --resume --out run --steps 10000           go on with a run, to 10,000 steps in all
  ddim train --resume --out run --lr 1e-4               go on at another rate, as after a NaN
  ddim train --data mnist --out run --conditional --label-drop 0.1    classes, for guided samples

Defaults follow the images. Digits: block_out_channels 32,64, learning rate 2e-3, EMA 0.99, 1,500
steps. Up to 28x28 grey: 32,64,64, 1e-3, 0.999, 5,000. Others: 64,128,256,..., 2e-4, 0.9999, 50,000.
A U-Net of your own is a config.json of diffusers' UNet2DModel, given by --config; `ddim config` writes
one. With --init the learning rate is at most 1e-4.

Writes below --out: model_index.json, unet/, scheduler/, training/ (weights, optimizer, settings,
loss.csv, loss.svg), metrics.csv and report.html while it goes, samples.png, and check.safetensors for
scripts/check-diffusers.")]
pub struct Train {
    /// A folder with MNIST's idx files, with CIFAR's binary files, with pictures (PNG, JPEG, WebP, BMP, TIFF, GIF), or
    /// with a folder of pictures for each class; or a file, cifar-10-binary.tar.gz, cifar-100-binary.tar.gz or an .npz
    /// with `images` and `labels`. The bare word `digits` is the embedded digits, `./digits` a folder
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    pub data: Option<PathBuf>,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub existing: Overwrite,
    /// Training steps in all [default: by the images]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Go on with the run in --out: its data and settings, the same bits as without a break. Data,
    /// batch, micro-batches, ranks, precision, rates, clipping and --ema may be others from here on; what makes another
    /// model is refused
    #[arg(long)]
    pub resume: bool,
    /// Refuse to go on where the bits would not be those of a run without a break
    #[arg(long, requires = "resume")]
    pub exact: bool,
    /// The U-Net: a config.json of diffusers' UNet2DModel [default: by the images]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Begin with the weights, the U-Net and the noise schedule of this pipeline (of `ddim train` or
    /// diffusers), and a new optimizer. Images become its size, and classes are found by their names;
    /// where it has a null label, --label-drop is 0.1 unless given
    #[arg(long, value_name = "DIR", conflicts_with_all = ["resume", "config", "prediction", "schedule"])]
    pub init: Option<PathBuf>,
    #[command(flatten)]
    pub beside: Beside,
    #[command(flatten)]
    pub images: ImageArguments,
    /// Images of a step, or of a micro-batch of it [default: 64]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub batch: Option<usize>,
    /// Micro-batches of a step, of --batch images each: the step of a batch of them all, in the memory of
    /// one [default: 1]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub accumulate: Option<usize>,
    /// Ranks that train together, threads with a device each: every step takes --batch images of each, and
    /// is that of one rank with as many micro-batches. Under mpirun the processes are the ranks [default: 1]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub ranks: Option<usize>,
    /// Seconds that a rank waits for another one before the run ends. They wait for the first one while it samples and saves
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// Most memory of the device that a step may take, as 2GiB: activations are computed twice where it
    /// would take more, and every bit stays as it is [default: what the device gives]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub memory: Option<u64>,
    /// Storage of weights and activations in a step; masters of the weights, moments, averages and sums are f32. f16 scales
    /// the loss, and skips steps whose gradients pass its range [default: f32]
    #[arg(long, value_name = "TYPE")]
    pub precision: Option<Dtype>,
    /// Learning rate of Adam [default: by the images]
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub lr: Option<f64>,
    /// Steps in which the learning rate grows to that [default: 0]
    #[arg(long, value_name = "N")]
    pub warmup: Option<u32>,
    /// Steps at whose end the learning rate has fallen to zero, linearly unless --lr-schedule says otherwise; 0 for
    /// one that stays [default: it stays]
    #[arg(long, value_name = "N")]
    pub decay_steps: Option<u32>,
    #[command(flatten)]
    pub optimizer: OptimizerArguments,
    /// How the noise grows over the 1,000 timesteps: linear, quad (scaled_linear), cosine, const,
    /// jsd or sigmoid [default: linear]
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<BetaSchedule>,
    /// What the network predicts: epsilon, sample (x0) or v_prediction [default: epsilon]
    #[arg(long, value_name = "NAME", value_parser = named::<PredictionType>)]
    pub prediction: Option<PredictionType>,
    /// What is minimised: simple, vlb or hybrid; the last two learn the variance too, unless
    /// --config has but one output channel for each of the images' [default: simple]
    #[arg(long, value_name = "NAME", value_parser = named::<Loss>)]
    pub loss: Option<Loss>,
    /// Largest signal-to-noise ratio that counts in the simple loss (min-SNR weighting)
    #[arg(long, value_name = "GAMMA", value_parser = positive)]
    pub min_snr_gamma: Option<f64>,
    /// What the network is trained for, in the place of --prediction along --schedule: edm, flow-matching,
    /// ncsn, or a stochastic equation, ve-sde, vp-sde or sub-vp-sde; the scheduler follows from it
    #[arg(long, value_name = "NAME", value_parser = objective(), conflicts_with_all = ["init", "prediction", "schedule", "loss", "min_snr_gamma"])]
    pub objective: Option<TrainingObjective>,
    /// Weight the errors of a stochastic equation so that their sum bounds the likelihood
    #[arg(long, requires = "objective")]
    pub likelihood_weighting: bool,
    /// How the timesteps of a batch are drawn: uniform, antithetic or importance [default: uniform]
    #[arg(long, alias = "timesteps", value_name = "NAME", value_parser = named::<Timesteps>)]
    pub timestep_sampling: Option<Timesteps>,
    /// Learn the classes of labelled images
    #[arg(long)]
    pub conditional: bool,
    /// Probability that a label is dropped, so that samples can be guided [default: 0]
    #[arg(long, value_name = "P", value_parser = below_one)]
    pub label_drop: Option<f64>,
    /// Decay of the moving average of the weights, at most (1 + i) / (10 + i) in step i
    /// [default: by the images]
    #[arg(long, value_name = "DECAY", value_parser = below_one)]
    pub ema: Option<f64>,
    /// Norm that the gradient is clipped to; 0 for none [default: 1]
    #[arg(long, alias = "clip", value_name = "NORM", value_parser = not_negative)]
    pub max_grad_norm: Option<f64>,
    /// Same seed and same device, same bits [default: 0]
    #[arg(long, value_name = "K")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub watch: WatchArguments,
}

/// Reads an objective's name.
fn objective() -> impl TypedValueParser<Value = TrainingObjective> {
    let names = TrainingObjective::ALL.map(|(name, _)| name);
    PossibleValuesParser::new(names).map(|name| {
        let named = TrainingObjective::ALL.into_iter().find(|(known, _)| *known == name);
        named.map(|(_, objective)| objective).unwrap_or_default()
    })
}

impl Train {
    /// The objective with its weights.
    pub fn objective(&self) -> Result<Option<TrainingObjective>, Failure> {
        match self.objective {
            Some(objective) if self.likelihood_weighting => match objective.with_likelihood() {
                Some(objective) => Ok(Some(objective)),
                None => {
                    let text = "--likelihood-weighting is of ve-sde, vp-sde and sub-vp-sde";
                    Err(Failure::Usage(text.into()))
                }
            },
            objective => Ok(objective),
        }
    }

    /// The options with those that the arguments name, for a run of so many steps.
    pub fn options(&self, others: TrainingOptions, steps: u32) -> Result<TrainingOptions, Failure> {
        let decay_steps = self.decay_steps.map(|end| (end > 0).then_some(end));
        let clip = self.max_grad_norm.map(|norm| (norm > 0.0).then_some(norm));
        let others = TrainingOptions {
            batch: self.batch.unwrap_or(others.batch),
            accumulate: self.accumulate.unwrap_or(others.accumulate),
            ranks: self.ranks.unwrap_or(others.ranks),
            memory: self.memory.or(others.memory),
            precision: self.precision.map_or(others.precision, Into::into),
            learning_rate: self.lr.unwrap_or(others.learning_rate),
            warmup: self.warmup.unwrap_or(others.warmup),
            decay_steps: decay_steps.unwrap_or(others.decay_steps),
            clip: clip.unwrap_or(others.clip),
            ema_decay: self.ema.unwrap_or(others.ema_decay),
            seed: self.seed.unwrap_or(others.seed),
            objective: self.objective.unwrap_or(others.objective),
            loss: self.loss.unwrap_or(others.loss),
            min_snr_gamma: self.min_snr_gamma.or(others.min_snr_gamma),
            timesteps: self.timestep_sampling.unwrap_or(others.timesteps),
            label_drop: self.label_drop.unwrap_or(others.label_drop),
            augment: self.images.augment.or(others.augment),
            ..others
        };
        self.optimizer.options(others, steps)
    }
}
