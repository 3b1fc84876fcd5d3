//! Runs the cells.
use super::cells::{Cell, Noise, Sizes};
use super::record::Row;
use crate::{
    draw::{Request, sampler},
    encode::error_per_dimension,
    failure::Failure,
    progress::Progress,
};
use ddim::{
    classifier::{Classifier, likeliest},
    data::{Dataset, Moments},
    diffusion::{
        samplers::{DdimOptions, EncodeRule, Table, ddim_table, encode_table},
        schedule::{Prediction, Spacing},
    },
    gpu::Gpu,
    models::classifier::ConvClassifier,
    pipeline::Pipeline,
};
use std::time::Instant;

/// Images at a time: of the MNIST model, more no longer fit a core's cache.
const BATCH: usize = 32;

/// Steps between two words about the progress.
const WORDS: usize = 25;

/// A share of the classifier's belief above which it is sure.
const SURE: f32 = 0.9;

/// Everything that cells are made with.
pub struct Laboratory<'a> {
    pub gpu: &'a Gpu,
    pub pipeline: &'a Pipeline,
    pub classifier: Classifier,
    /// What the samples should be like.
    pub training: &'a Dataset,
    /// What is encoded.
    pub test: &'a Dataset,
    pub sizes: &'a Sizes,
    pub seed: u64,
    pub progress: Progress,
    /// Image steps done.
    pub done: u64,
    /// Features of the training images, once they were wanted.
    pub real: Option<Moments>,
}

impl Laboratory<'_> {
    /// Height, width and channels of an image.
    pub fn shape(&self) -> [usize; 3] {
        [self.training.height(), self.training.width(), self.training.channels()]
    }

    fn timesteps(&self, steps: usize) -> Result<Vec<usize>, Failure> {
        let whole = self.pipeline.scheduler.num_train_timesteps;
        Ok(Spacing::Uniform.timesteps(whole, steps, 0)?)
    }

    /// What the network's output is; as in the paper, nothing is clipped.
    fn unclipped(&self) -> Prediction {
        self.pipeline.scheduler.prediction().unclipped()
    }

    /// The run with this noise of the paper's tables.
    fn sampling(&self, noise: Noise, steps: usize) -> Result<Table, Failure> {
        self.along(noise, steps, &self.unclipped())
    }

    /// The run with this noise as `ddim sample` takes it: clipped, if the model's scheduler says so.
    pub fn drawing(&self, noise: Noise, steps: usize) -> Result<Table, Failure> {
        self.along(noise, steps, &self.pipeline.scheduler.prediction())
    }

    fn along(&self, noise: Noise, steps: usize, output: &Prediction) -> Result<Table, Failure> {
        let options = match noise {
            Noise::Eta(eta) => DdimOptions { eta, ..DdimOptions::default() },
            Noise::SigmaHat => DdimOptions { eta: 1.0, sigma_hat: true, ..DdimOptions::default() },
        };
        let schedule = self.pipeline.scheduler.schedule()?;
        Ok(ddim_table(&schedule, &self.timesteps(steps)?, output, &options)?)
    }

    /// The run from image to noise.
    fn encoding(&self, steps: usize) -> Result<Table, Failure> {
        let schedule = self.pipeline.scheduler.schedule()?;
        let (timesteps, rule) = (self.timesteps(steps)?, EncodeRule::Leaving);
        Ok(encode_table(&schedule, &timesteps, &self.unclipped(), rule, 1.0)?)
    }

    /// `count` images from noise, or from `start`, and the seconds on the device.
    pub fn draw(
        &mut self,
        table: &Table,
        count: usize,
        start: Option<&[f32]>,
    ) -> Result<(Vec<f32>, f64), Failure> {
        self.labelled(table, count, start, None)
    }

    /// As [`Laboratory::draw`], of these classes.
    fn labelled(
        &mut self,
        table: &Table,
        count: usize,
        start: Option<&[f32]>,
        labels: Option<&[u32]>,
    ) -> Result<(Vec<f32>, f64), Failure> {
        let [height, width, channels] = self.shape();
        let request = Request {
            batch: Some(BATCH.min(count)),
            start,
            labels,
            ..Request::new(table, [height, width], count, self.seed)
        };
        let (mut sampler, batch) = sampler(self.gpu, self.pipeline, &request)?;
        let steps = sampler.steps();
        let mut images = Vec::new();
        let clock = Instant::now();
        for first in (0..count).step_by(batch) {
            request.begin(&mut sampler, self.pipeline, first, batch)?;
            let drawn = batch.min(count - first);
            let mut x = Vec::new();
            for step in (0..steps).step_by(WORDS) {
                let some = WORDS.min(steps - step);
                sampler.advance(some)?;
                x = sampler.images()?;
                self.done += (some * drawn) as u64;
                self.progress.update(self.done, "");
            }
            images.extend(x);
        }
        let seconds = clock.elapsed().as_secs_f64();
        images.truncate(count * height * width * channels);
        Ok((images, seconds))
    }

    /// The noise that the first images start from.
    pub fn noise(&self, table: &Table, count: usize) -> Result<Vec<f32>, Failure> {
        let [height, width, _] = self.shape();
        let request = Request::new(table, [height, width], count, self.seed);
        let (mut sampler, _) =
            sampler(self.gpu, self.pipeline, &Request { batch: Some(count), ..request })?;
        Ok(sampler.noise(0)?)
    }

    /// The first images of the test set.
    pub fn some_real(&self, count: usize) -> Vec<f32> {
        (0..count.min(self.test.len())).flat_map(|index| self.test.image(index)).collect()
    }

    /// The first images of the test set, encoded and decoded in so many steps, and the seconds of both.
    pub fn there_and_back(
        &mut self,
        images: &[f32],
        steps: usize,
    ) -> Result<(Vec<f32>, f64), Failure> {
        let count = images.len() / self.shape().iter().product::<usize>();
        let labels = self.pipeline.labels(self.test, count);
        let (encoding, labels) = (self.encoding(steps)?, labels.as_deref());
        let (latents, there) = self.labelled(&encoding, count, Some(images), labels)?;
        let decoding = self.sampling(Noise::Eta(0.0), steps)?;
        let (again, back) = self.labelled(&decoding, count, Some(&latents), labels)?;
        Ok((again, there + back))
    }

    /// Frechet distance to the training images in the classifier's features.
    fn distance(&mut self, images: &[f32]) -> Result<f64, Failure> {
        let real = match self.real.take() {
            Some(real) => real,
            None => self.moments(&self.training.images())?,
        };
        let distance = self.moments(images)?.distance(&real);
        // Rounding may leave a little below 0; NaN stays.
        let distance = if distance < 0.0 { 0.0 } else { distance };
        self.real = Some(real);
        Ok(distance)
    }

    fn moments(&mut self, images: &[f32]) -> Result<Moments, Failure> {
        let features = self.classifier.features(images)?.into_iter().map(f64::from).collect();
        Ok(Moments::of_vectors(features, ConvClassifier::FEATURES)?)
    }

    /// Measures a cell of numbers: its rows, in the order of [`Cell::rows`].
    pub fn measure(&mut self, cell: &Cell) -> Result<Vec<Row>, Failure> {
        let (values, images, seconds) = match *cell {
            Cell::Distance { noise, steps, images } => {
                let (drawn, seconds) = self.draw(&self.sampling(noise, steps)?, images, None)?;
                (vec![self.distance(&drawn)?], images, seconds)
            }
            Cell::Reconstruction { steps, images } => {
                let real = self.some_real(images);
                let (again, seconds) = self.there_and_back(&real, steps)?;
                (vec![error_per_dimension(&real, &again)], images.min(self.test.len()), seconds)
            }
            Cell::Judgement { steps, images } => {
                let table = self.drawing(Noise::Eta(0.0), steps)?;
                let (drawn, seconds) = self.draw(&table, images, None)?;
                (self.judge(&drawn)?, images, seconds)
            }
            Cell::Picture { .. } => (Vec::new(), 0, 0.0),
        };
        let (experiment, settings) = cell.rows(self.classifier.network().classes);
        let row = |(setting, value)| {
            let (experiment, steps) = (experiment.to_owned(), cell.steps());
            Row { experiment, setting, steps, value, images, seconds }
        };
        Ok(settings.into_iter().zip(values).map(row).collect())
    }

    /// The share of images that the classifier is sure of, then that of each class.
    fn judge(&mut self, images: &[f32]) -> Result<Vec<f64>, Failure> {
        let classes = self.classifier.network().classes;
        let probabilities = self.classifier.probabilities(images)?;
        let mut counts = vec![0_u32; 1 + classes];
        for row in probabilities.chunks_exact(classes) {
            let (class, belief) = likeliest(row);
            counts[1 + class] += 1;
            counts[0] += u32::from(belief > SURE);
        }
        let images = (probabilities.len() / classes) as f64;
        Ok(counts.into_iter().map(|count| f64::from(count) / images).collect())
    }
}
