//! A model with its weights: sampled, written, read.
use crate::{Gpu, rgba, training};
use ddim::{
    diffusion::{
        Sampler,
        samplers::{SamplerKind, SamplerOptions, Table},
        schedule::SchedulerConfig,
        slerp,
    },
    models::unet2d::{UNet, UNetConfig},
    nn::{self, Model as _, Weights},
    pipeline,
    weights::{FileWeights, NonFinite, Precision},
};
use js_sys::{Function, Uint8Array};
use std::{
    io::{Cursor, Read, Write},
    mem,
    path::Path,
};
use wasm_bindgen::prelude::*;
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

/// Bytes that are read of a file in an archive.
const LARGEST: u64 = 1 << 30;

/// Where the files of a folder of diffusers lie.
const UNET: &str = "unet/config.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

/// A U-Net, its noise schedule and its weights.
#[wasm_bindgen]
pub struct Model {
    unet: UNet,
    scheduler: SchedulerConfig,
    weights: Weights,
}

impl Model {
    /// A model of these parts.
    pub fn new(unet: UNet, scheduler: SchedulerConfig, weights: Weights) -> Self {
        Self { unet, scheduler, weights }
    }

    fn sampler(
        &self,
        gpu: &Gpu,
        count: usize,
        table: &Table,
        seed: u32,
    ) -> Result<Sampler, JsError> {
        let size = [count, self.height(), self.width()];
        Ok(Sampler::new(&gpu.0, &self.unet, &self.weights, size, table, None, seed.into())?)
    }

    fn sides(&self) -> (usize, usize) {
        sides(self.unet.config())
    }

    fn of_files(mut files: Vec<(String, Vec<u8>)>) -> Result<Self, JsError> {
        let paths: Vec<String> = files.iter().map(|(path, _)| path.clone()).collect();
        let mut file = |wanted: &str| {
            let found = files.iter_mut().find(|(path, _)| path.ends_with(wanted));
            let missing = || format!("expected a file {wanted}, found {}", paths.join(", "));
            found.map(|(_, bytes)| mem::take(bytes)).ok_or_else(|| JsError::new(&missing()))
        };
        let text = |wanted: &str, bytes| {
            String::from_utf8(bytes).map_err(|error| JsError::new(&format!("{wanted}: {error}")))
        };
        let unet = UNet::new(UNetConfig::parse(&text(UNET, file(UNET)?)?)?)?;
        let config = unet.config();
        if (config.in_channels, config.out_channels, unet.classes()) != (1, 1, None) {
            let message = "expected a model of grey images without labels, found one of";
            let found = format!("{} channels, classes {:?}", config.in_channels, unet.classes());
            return Err(JsError::new(&format!("{message} {found}")));
        }
        let scheduler = SchedulerConfig::parse(&text(SCHEDULER, file(SCHEDULER)?)?)?;
        let (height, width) = sides(config);
        let expected = nn::parameters(&unet, [1, height, width])?;
        let (name, bytes) = (Path::new(WEIGHTS), file(WEIGHTS)?);
        let weights = FileWeights::from_bytes(name, bytes, &expected, NonFinite::Refuse)?.read()?;
        Ok(Self { unet, scheduler, weights })
    }
}

/// Height and width of a model's images; of one that does not say, those of the digits.
fn sides(config: &UNetConfig) -> (usize, usize) {
    config.sample_size.map_or((8, 8), |size| size.sides())
}

#[wasm_bindgen]
impl Model {
    /// The digits model before any training, as its weights are drawn from a seed.
    ///
    /// # Errors
    /// None for this model.
    pub fn untrained(seed: u32) -> Result<Self, JsError> {
        let unet = training::unet()?;
        let weights = Weights::initial(&nn::parameters(&unet, [1, 8, 8])?, seed.into());
        Ok(Self::new(unet, SchedulerConfig::default(), weights))
    }

    /// Reads a folder of diffusers from its files: their paths, and their bytes.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the model takes labels or images that are not grey.
    pub fn read(paths: Vec<String>, contents: Vec<Uint8Array>) -> Result<Self, JsError> {
        let bytes = contents.iter().map(Uint8Array::to_vec);
        Self::of_files(paths.into_iter().zip(bytes).collect())
    }

    /// Reads a folder of diffusers from a zip archive.
    ///
    /// # Errors
    /// As [`Model::read`], or if the archive is damaged.
    pub fn unzip(bytes: Vec<u8>) -> Result<Self, JsError> {
        let mut archive = ZipArchive::new(Cursor::new(bytes))?;
        let mut files = Vec::new();
        for at in 0..archive.len() {
            let file = archive.by_index(at)?;
            let path = file.name()?.into_owned();
            let mut bytes = Vec::new();
            file.take(LARGEST).read_to_end(&mut bytes)?;
            files.push((path, bytes));
        }
        Self::of_files(files)
    }

    /// The folder of diffusers, as a zip archive.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn zip(&self) -> Result<Vec<u8>, JsError> {
        let config = self.unet.config();
        let files =
            pipeline::files(Path::new(""), config, &self.scheduler, &self.weights, Precision::F32)?;
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, bytes) in files {
            archive.start_file(path, SimpleFileOptions::default())?;
            archive.write_all(&bytes)?;
        }
        Ok(archive.finish()?.into_inner())
    }

    /// Height of an image.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> usize {
        self.sides().0
    }

    /// Width of an image.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> usize {
        self.sides().1
    }

    /// The samplers that go with the model's schedule.
    pub fn samplers(&self) -> Vec<String> {
        let fits =
            |kind: &SamplerKind| kind.table(&self.scheduler, &SamplerOptions::default()).is_ok();
        SamplerKind::all().filter(fits).map(|kind| kind.name().to_owned()).collect()
    }

    /// Samples `count` images by a sampler; `progress` is given the steps done and how many there are.
    ///
    /// # Errors
    /// If there is no such sampler, or the device refuses.
    pub async fn sample(
        &self,
        gpu: &Gpu,
        sampler: &str,
        steps: usize,
        count: usize,
        seed: u32,
        progress: &Function,
    ) -> Result<Vec<u8>, JsError> {
        let kind: SamplerKind = sampler.parse()?;
        let options = SamplerOptions { steps: Some(steps), ..SamplerOptions::default() };
        let table = kind.table(&self.scheduler, &options)?;
        let mut sampler = self.sampler(gpu, count, &table, seed)?;
        sampler.begin(0)?;
        finish(sampler, progress).await
    }

    /// Samples `count` images by DDIM from noise on the arc between the noise of two images.
    ///
    /// # Errors
    /// If the device refuses.
    pub async fn interpolate(
        &self,
        gpu: &Gpu,
        steps: usize,
        count: usize,
        seed: u32,
        progress: &Function,
    ) -> Result<Vec<u8>, JsError> {
        let table = self.scheduler.ddim(steps, 0.0)?;
        let mut sampler = self.sampler(gpu, count, &table, seed)?;
        sampler.begin(0)?;
        let noise = sampler.images_async().await?;
        let elements = noise.len() / count.max(1);
        let (from, to) = (&noise[..elements], &noise[noise.len() - elements..]);
        let last = count.saturating_sub(1).max(1) as f64;
        let arc: Vec<f32> = (0..count).flat_map(|at| slerp(from, to, at as f64 / last)).collect();
        sampler.begin_from(0, &arc)?;
        finish(sampler, progress).await
    }

    /// What the network predicts for one image of given numbers at the schedule's last timestep.
    ///
    /// # Errors
    /// If the image has another size, or the device refuses.
    pub async fn predict(&self, gpu: &Gpu, image: Vec<f32>) -> Result<Vec<f32>, JsError> {
        let mut sampler = self.sampler(gpu, 1, &self.scheduler.ddim(1, 0.0)?, 0)?;
        sampler.begin_from(0, &image)?;
        sampler.advance_async(1, |_| ()).await?;
        Ok(sampler.prediction_async().await?)
    }
}

async fn finish(mut sampler: Sampler, progress: &Function) -> Result<Vec<u8>, JsError> {
    let steps = sampler.steps();
    let tell = |done: usize| {
        // What the page does with it is its own affair.
        let _ = progress.call2(&JsValue::NULL, &done.into(), &steps.into());
    };
    sampler.advance_async(steps, tell).await?;
    Ok(rgba(&sampler.images_async().await?))
}
