//! `ddim train-lora`: adapters of a text-to-picture model.
use crate::{
    check::{self, Seen},
    cli::{self, Device, Layers},
    console::say,
    devices::describe,
    failure::Failure,
    files,
    lock::Lock,
    paths,
    plan::summary,
    progress::{Progress, counted, thousands},
    shell,
    smoothing::smoothed,
    train::{self, Notes, Sides, absolute, listen},
    training,
};
use ddim::{
    data::CaptionedPictures,
    diffusion::schedule::SchedulerConfig,
    files::MAX_PIXELS,
    gpu::Gpu,
    models::unet2d_condition::TextUNet,
    nn::{AdaptedWeights, Adapters, Model, ParameterSource},
    pipeline::{LatentPipeline, Opening, RunFolder, TextEncoders},
    training::{ADAPTER_FILE, LatentData, Losses, Settings, Trainer, TrainingOptions},
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

/// What a run writes beside `training/`.
const WRITTEN: [&str; 2] = [ADAPTER_FILE, "check.safetensors"];

/// Steps unless the user says otherwise.
const STEPS: u32 = 1000;

/// What the checkpoint keeps beside the library's settings.
#[derive(Serialize, Deserialize)]
struct LoraNotes {
    #[serde(with = "paths")]
    model: PathBuf,
    variant: Option<String>,
    tokenizer: Option<PathBuf>,
    rank: usize,
    alpha: f64,
    layers: Layers,
    #[serde(flatten)]
    notes: Notes,
}

/// What a run is about: a model with adapters, and encoded pictures.
struct Subject {
    unet: TextUNet,
    scheduler: SchedulerConfig,
    size: [usize; 2],
    pipeline: LatentPipeline,
    data: LatentData,
}

/// A run that is about to begin or to go on.
struct Run {
    trainer: Trainer<TextUNet>,
    /// The model's own weights.
    base: Arc<dyn ParameterSource>,
    /// Height and width of latents.
    size: [usize; 2],
    notes: LoraNotes,
    data: LatentData,
    losses: Losses,
}

/// Trains, with checkpoints.
pub fn run(device: &Device, arguments: &cli::TrainLora) -> Result<(), Failure> {
    let out = &arguments.out;
    let _lock = Lock::of(out)?;
    let folder = RunFolder::open(out)?;
    if !arguments.resume && !arguments.existing.overwrite {
        train::refuse_other_run(&folder, out, &WRITTEN)?;
    }
    let gpu = device.open()?;
    let mut run = match arguments.resume {
        true => resume(&gpu, arguments, &folder)?,
        false => begin(&gpu, arguments)?,
    };
    files::prepare_own_folder(out)?;
    let stop = listen()?;
    describe_run(&gpu, &run);
    let total = u64::from(run.notes.notes.steps);
    let mut progress = Progress::new("training", run.trainer.steps(), total, "steps");
    while run.trainer.steps() < total && !stop.load(Ordering::Relaxed) {
        let Run { trainer, notes, data, losses, .. } = &mut run;
        let until = notes.notes.next_stop(trainer.steps());
        trainer.train_latents(data, until, training::listener(losses, &mut progress, &stop))?;
        let beside = training::beside(losses, &[])?;
        let beside: Vec<_> = beside.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        trainer.save_adapters(out, notes.to_json(), &beside)?;
    }
    drop(progress);
    finish(&gpu, run, out)
}

fn begin(gpu: &Gpu, arguments: &cli::TrainLora) -> Result<Run, Failure> {
    let (Some(model), Some(source)) = (&arguments.model, &arguments.data) else {
        return Err(Failure::Usage("--model or --data is missing".into()));
    };
    let cli::TrainLora { variant, rank, layers, .. } = arguments;
    let notes = Notes {
        data: absolute(source),
        size: arguments.size.map(Sides::Square),
        max_pixels: arguments.max_pixels,
        steps: arguments.steps.unwrap_or(STEPS),
        save_every: arguments.save_every,
        ..Notes::default()
    };
    let mut notes = LoraNotes {
        model: absolute(model),
        variant: variant.clone(),
        tokenizer: arguments.tokenizer.as_deref().map(absolute),
        rank: *rank,
        alpha: arguments.alpha.unwrap_or(*rank as f64),
        layers: *layers,
        notes,
    };
    // As diffusers' script of the kind has it.
    let options = TrainingOptions {
        batch: arguments.batch,
        learning_rate: arguments.learning_rate,
        weight_decay: 1e-2,
        decoupled: true,
        ema_decay: 0.0,
        ema_warmup: false,
        frozen: arguments.precision.into(),
        seed: arguments.seed,
        ..TrainingOptions::default()
    };
    let Subject { unet, scheduler, size, pipeline, data } = notes.open(gpu)?;
    let mut trainer = Trainer::new(gpu, unet, scheduler, size, options)?;
    trainer.load_frozen(&*pipeline.unet_weights)?;
    let (base, losses) = (pipeline.unet_weights, Losses::default());
    Ok(Run { trainer, base, size, notes, data, losses })
}

/// Opens the run in a folder; only its length may be another.
fn resume(gpu: &Gpu, arguments: &cli::TrainLora, folder: &RunFolder) -> Result<Run, Failure> {
    if !folder.holds_checkpoint() {
        let text = "holds no checkpoint to go on from: begin a run, without --resume";
        return Err(Failure::file(&arguments.out, text));
    }
    let path = folder.path("training/settings.json");
    let recorded = Settings::read(&path)?.notes;
    let mut notes: LoraNotes = serde_json::from_value(recorded.clone())
        .map_err(|error| Failure::file(&path, format!("notes: {error}")))?;
    let Subject { unet, scheduler, size, pipeline, data } = notes.open(gpu)?;
    let of = (unet, &*pipeline.unet_weights);
    let (trainer, resumed) = Trainer::resume_adapters(gpu, folder, of, scheduler, recorded)?;
    for difference in resumed.differences {
        say!("but    not with the bits of a run without a break: {difference}");
    }
    notes.notes.steps = arguments.steps.unwrap_or(notes.notes.steps);
    let losses = training::read_losses(folder, trainer.steps())?;
    Ok(Run { trainer, base: pipeline.unet_weights, size, notes, data, losses })
}

impl LoraNotes {
    fn to_json(&self) -> Json {
        serde_json::to_value(self).expect("text and numbers are JSON")
    }

    /// Opens the model and the pictures, and encodes these.
    fn open(&mut self, gpu: &Gpu) -> Result<Subject, Failure> {
        let how = Opening { variant: self.variant.clone(), ..Opening::default() };
        let pipeline = LatentPipeline::open(&self.model, &how)?;
        let text = TextEncoders::read(&self.model, gpu.target().max_binding)?;
        let config = pipeline.unet.config();
        let usual = config.sample_size.map(|size| size.sides().0 * pipeline.vae.config().factor());
        let known = self.notes.size.map(|size| <[usize; 2]>::from(size)[0]);
        let Some(side) = known.or(usual) else {
            return Err(Failure::Usage("the model does not say its size: give --size".into()));
        };
        self.notes.size = Some(Sides::Square(side));
        let max_pixels = self.notes.max_pixels.unwrap_or(MAX_PIXELS);
        let CaptionedPictures { pictures, captions } =
            CaptionedPictures::open(&self.notes.data, side, max_pixels)?;
        let pictures = pictures.with_channels(pipeline.vae.config().in_channels);
        let captions: Vec<&str> = captions.iter().map(|caption| &caption[..]).collect();
        let ids = text.tokens(self.tokenizer.as_deref(), &captions)?;
        let tokens = text.encoders[0].network.config().max_position_embeddings;
        let mut progress: Option<Progress> = None;
        let hear = |done: usize, total: usize| {
            let new = || Progress::new("encoding", 0, total as u64, "pictures and captions");
            progress.get_or_insert_with(new).update(done as u64, "");
        };
        let data = LatentData::encode(gpu, &pipeline, &text, (&pictures, &ids), hear)?;
        let parameters = pipeline.unet.parameters()?;
        let adapters =
            Adapters::of(&parameters, |name| self.layers.has(name), self.rank, self.alpha);
        let unet = pipeline.unet.clone().with_tokens(tokens).with_adapters(adapters);
        let size = [side / pipeline.vae.config().factor(); 2];
        let scheduler = pipeline.scheduler.clone();
        Ok(Subject { unet, scheduler, size, pipeline, data })
    }
}

/// Says what is trained on what.
fn describe_run(gpu: &Gpu, run: &Run) {
    let Run { trainer, data, notes, .. } = run;
    let LoraNotes { rank, alpha, layers, .. } = notes;
    let side = notes.notes.size.map_or(0, |size| <[usize; 2]>::from(size)[0]);
    say!("{}", describe(gpu));
    let (pictures, texts) = (data.posteriors.len() as u64, data.texts.len() as u64);
    let (pictures, texts) = (counted(pictures, "picture"), counted(texts, "caption"));
    say!("data   {}: {pictures} of {side}x{side}, {texts}", notes.notes.data.display());
    let parameters = thousands(trainer.arenas().elements() as u64);
    let frozen = trainer.graph().frozen.as_ref().map_or(0, |of| of.arenas.elements());
    let frozen = thousands(frozen as u64);
    let layers = layers.name();
    say!(
        "model  {frozen} parameters that stay, {parameters} that learn: rank {rank}, alpha {alpha}, {layers}"
    );
    say!("plan   {}", summary(trainer.plan()));
    let options = trainer.options();
    let (next, batch, rate) = (trainer.steps() + 1, options.batch, options.learning_rate);
    say!("run    steps {next} to {}, batch {batch}, learning rate {rate}", notes.notes.steps);
}

fn finish(gpu: &Gpu, run: Run, out: &Path) -> Result<(), Failure> {
    let steps = run.trainer.steps();
    if steps < u64::from(run.notes.notes.steps) {
        let (ddim, word) = (shell::program(), shell::path(out));
        say!("stopped after step {steps}; go on with: {ddim} train-lora --resume --out {word}");
        return Ok(());
    }
    let Run { mut trainer, base, size: [height, width], data, losses, .. } = run;
    let weights = AdaptedWeights { base, adapters: trainer.averaged_weights()? };
    let model = trainer.model().clone();
    // Else its plan and the network below are on the device together.
    drop(trainer);
    let shape = [height, width, model.channels()];
    // The first picture's mean latents, twice, and its caption.
    let images = data.autoencoder.scaled(&data.posteriors[0].mean).repeat(2);
    let text = data.text_of[0];
    let context = Some(data.texts[text].repeat(2));
    let vector = data.vectors.get(text).map(|told| told.repeat(2));
    let seen = Seen { shape, images, labels: None, context, vector };
    check::write_seen(gpu, &model, &weights, &seen, out)?;
    let loss = smoothed(&losses.steps).map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    say!("{}: {}{loss}", out.display(), counted(steps, "step"));
    say!("{} opens in Python: pipeline.load_lora_weights", out.join(ADAPTER_FILE).display());
    Ok(())
}
