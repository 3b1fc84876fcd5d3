//! The page of a run: what each step predicted, times and memory.
use crate::{
    cli,
    failure::Failure,
    progress::clock,
    report::{data_uri, escape, figure, fill, row},
};
use ddim::{
    diffusion::samplers::SamplerKind,
    gpu::Gpu,
    latent::{Codec, DenoisingProgress, NetworkPlan, PictureRequest, PromptEmbeddings},
    pictures::Picture,
    pipeline::LatentPipeline,
};
use std::time::{Duration, Instant};

/// The page with holes like `{{pictures}}`.
const TEMPLATE: &str = include_str!("page.html");

/// Longest side of a step's picture in latents, where these can be averaged to it.
const PREVIEW: usize = 16;

/// Pictures `[count, height, width, channels]` as PNG files.
pub fn encoded(pictures: &[f32], shape: [usize; 3]) -> Result<Vec<Vec<u8>>, Failure> {
    let pictures = pictures.chunks_exact(shape.iter().product());
    let files = pictures.map(|picture| Picture::single(picture, shape).png());
    Ok(files.collect::<Result<_, _>>()?)
}

/// A run as far as it is.
pub struct Run {
    /// What the texts became.
    pub embeddings: PromptEmbeddings,
    /// Height and width of the latents.
    pub latent_size: [usize; 2],
    /// Steps of a picture.
    pub steps: usize,
    /// Time that decoding took.
    pub decoding: Duration,
    encoding: Duration,
    since: Instant,
    /// When each step of the first picture was done, and what it predicted; none unless predictions are asked for.
    predicted: Vec<(Duration, Vec<f32>)>,
    /// When the last step was done.
    last: Duration,
}

impl Run {
    /// With texts that took so long to encode.
    pub fn new(embeddings: PromptEmbeddings, encoding: Duration) -> Self {
        let zero = Duration::ZERO;
        Self {
            embeddings,
            latent_size: [0; 2],
            steps: 0,
            decoding: zero,
            encoding,
            since: Instant::now(),
            predicted: Vec::new(),
            last: zero,
        }
    }

    /// The first step begins.
    pub fn begin(&mut self, latent_size: [usize; 2], steps: usize) {
        (self.latent_size, self.steps) = (latent_size, steps);
        self.since = Instant::now();
    }

    /// A step is done.
    pub fn hear(&mut self, reached: &DenoisingProgress) {
        self.last = self.since.elapsed();
        if let (0, Some(predicted)) = (reached.image, reached.predicted) {
            self.predicted.push((self.last, predicted.to_vec()));
        }
    }

    /// What the steps of the first picture predicted, decoded small, as PNG files.
    pub fn previews(&self, gpu: &Gpu, pipeline: &LatentPipeline) -> Result<Vec<Vec<u8>>, Failure> {
        let (network, [height, width]) = (&pipeline.vae, self.latent_size);
        let config = network.config();
        let fits = |by: &usize| {
            height.is_multiple_of(*by)
                && width.is_multiple_of(*by)
                && height.max(width) / by >= PREVIEW
        };
        let by = (0..).map(|power| 1 << power).take_while(fits).last().unwrap_or(1);
        let size = [height, width];
        let predicted: Vec<f32> = self
            .predicted
            .iter()
            .flat_map(|(_, latents)| averaged(latents, size, config.latent_channels, by))
            .collect();
        let [height, width] = size.map(|side| side / by);
        let images = predicted.len() / (height * width * config.latent_channels).max(1);
        let codec = Codec { gpu, network, weights: &*pipeline.vae_weights, tile: None };
        let decoded = codec.decode(&config.unscaled(&predicted), [images, height, width])?;
        let [height, width] = [height, width].map(|side| side * config.factor());
        let shape = [height, width, config.out_channels];
        encoded(&decoded, shape)
    }
}

/// Latents `[height, width, channels]`, of which squares of `by` are averaged.
fn averaged(latents: &[f32], [height, width]: [usize; 2], channels: usize, by: usize) -> Vec<f32> {
    let mut small = vec![0.0; latents.len() / (by * by)];
    for (index, x) in latents.iter().enumerate() {
        let (pixel, channel) = (index / channels, index % channels);
        let (row, column) = (pixel / width % height / by, pixel % width / by);
        small[(row * (width / by) + column) * channels + channel] += x / (by * by) as f32;
    }
    small
}

/// What the page says beside the run.
pub struct Page<'a> {
    /// The arguments.
    pub arguments: &'a cli::Generate,
    /// The sampler.
    pub sampler: SamplerKind,
    /// What was asked for.
    pub request: &'a PictureRequest<'a>,
    /// What computed.
    pub device: String,
}

impl Page<'_> {
    /// The page.
    pub fn html(
        &self,
        run: &Run,
        plans: &[NetworkPlan],
        pictures: &[Vec<u8>],
        previews: &[Vec<u8>],
    ) -> String {
        let seconds = |of: Duration| format!("{:.2} s", of.as_secs_f64());
        let count = (self.request.count * run.steps).max(1) as u32;
        let figures = [
            ("text encoder", seconds(run.encoding)),
            ("a step", seconds(run.last / count)),
            ("all steps", clock(run.last.as_secs_f64())),
            ("decoding", seconds(run.decoding)),
        ];
        let memory = |NetworkPlan { name, plan }: &NetworkPlan| {
            let mib = plan.peak_bytes() as f64 / f64::from(1 << 20);
            row(name, [format!("{mib:.1} MiB"), plan.dispatches().count().to_string()])
        };
        let picture = |png: &Vec<u8>| {
            format!("<figure><img src=\"{}\" alt=\"\"></figure>", data_uri("image/png", png))
        };
        let holes = [
            ("title", escape(self.arguments.prompt.as_deref().unwrap_or("Embeddings of a file"))),
            ("figures", figures.iter().map(|(name, value)| figure(name, value)).collect()),
            ("pictures", pictures.iter().map(picture).collect()),
            ("steps", self.steps(run, previews)),
            ("memory", plans.iter().map(memory).collect()),
            (
                "settings",
                self.settings(run).iter().map(|(name, of)| row(name, [escape(of)])).collect(),
            ),
        ];
        fill(TEMPLATE, &holes)
    }

    /// A figure for each step of the first picture.
    fn steps(&self, run: &Run, previews: &[Vec<u8>]) -> String {
        let table = &self.request.table.steps;
        let skipped = table.len() - run.steps.min(table.len());
        let mut before = Duration::ZERO;
        let figures = run.predicted.iter().zip(previews).zip(&table[skipped..]).map(|((step, png), of)| {
            let taken = (step.0 - before).as_secs_f64();
            before = step.0;
            format!(
                "<figure><img src=\"{}\" alt=\"\"><figcaption>t = {}, {taken:.2} s</figcaption></figure>",
                data_uri("image/png", png),
                (of.timestep * 10.0).round() / 10.0,
            )
        });
        figures.collect()
    }

    fn settings(&self, run: &Run) -> Vec<(&'static str, String)> {
        let (arguments, request) = (self.arguments, self.request);
        let [height, width] = request.size;
        let path = |of: &std::path::PathBuf| of.display().to_string();
        let strength = request.start.map(|start| start.strength.to_string());
        let optional = [
            ("Prompt", arguments.prompt.clone()),
            ("Negative prompt", arguments.negative.clone()),
            ("Embeddings", arguments.embeddings.as_ref().map(path)),
            ("Picture to start from", arguments.init.as_ref().map(path)),
            ("Strength", strength),
            ("Mask", arguments.mask.as_ref().map(path)),
            ("Tiles of the autoencoder", request.tile.map(|side| format!("{side} pixels"))),
        ];
        let mut settings: Vec<_> =
            optional.into_iter().filter_map(|(name, of)| Some((name, of?))).collect();
        settings.extend([
            ("Model", path(&arguments.model)),
            ("Size", format!("{width}x{height}")),
            ("Sampler", self.sampler.to_string()),
            ("Evaluations of the network", run.steps.to_string()),
            ("Guidance", request.guidance_scale.to_string()),
            ("Seed", request.seed.to_string()),
            ("Device", self.device.clone()),
            ("Made by", format!("ddim {}", env!("CARGO_PKG_VERSION"))),
        ]);
        settings
    }
}
