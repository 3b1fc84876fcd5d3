//! Runs the jobs.
use super::{
    jobs::{Experiment, Job, Noise, Sizes},
    record::Row,
};
use crate::{encode::error_per_dimension, failure::Failure, progress::Progress};
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
    sampling::{Reached, SamplingRequest},
};
use std::time::Instant;

/// Images at a time: of the MNIST model, more no longer fit a core's cache.
const BATCH: usize = 32;

/// A share of the classifier's belief above which it is sure.
const SURE: f32 = 0.9;

/// Everything that jobs are made with.
pub struct Runner<'a> {
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

impl<'a> Runner<'a> {
    /// Nothing is done yet.
    pub fn new(
        gpu: &'a Gpu,
        pipeline: &'a Pipeline,
        classifier: Classifier,
        [training, test]: [&'a Dataset; 2],
        sizes: &'a Sizes,
        seed: u64,
        progress: Progress,
    ) -> Self {
        let (done, real) = (0, None);
        Self { gpu, pipeline, classifier, training, test, sizes, seed, progress, done, real }
    }

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
    fn unclipped_table(&self, noise: Noise, steps: usize) -> Result<Table, Failure> {
        self.along(noise, steps, &self.unclipped())
    }

    /// The run with this noise as `ddim sample` takes it: clipped, if the model's scheduler says so.
    pub fn table(&self, noise: Noise, steps: usize) -> Result<Table, Failure> {
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

    /// A request for `count` images.
    fn request<'t>(&self, table: &'t Table, count: usize) -> SamplingRequest<'t> {
        let [height, width, _] = self.shape();
        SamplingRequest::new(table, [height, width], count, self.seed)
    }

    /// `count` images from noise.
    pub fn sample(&mut self, table: &Table, count: usize) -> Result<Vec<f32>, Failure> {
        Ok(self.timed(self.request(table, count))?.0)
    }

    /// The images of a request, and the seconds on the device.
    pub fn timed(&mut self, request: SamplingRequest) -> Result<(Vec<f32>, f64), Failure> {
        let request = SamplingRequest { batch: Some(BATCH.min(request.count)), ..request };
        let mut sampling = request.open(self.gpu, self.pipeline)?;
        let steps = request.table.steps.len();
        let (clock, before) = (Instant::now(), self.done);
        let hear = |reached: Reached| {
            let done = reached.first * steps + reached.images * reached.steps;
            self.done = before + done as u64;
            self.progress.update(self.done, "");
        };
        let images = sampling.images(&[], hear, |_, _| Ok::<_, Failure>(()))?;
        Ok((images, clock.elapsed().as_secs_f64()))
    }

    /// Images from these x_T.
    pub fn sample_from(&mut self, table: &Table, noise: &[f32]) -> Result<Vec<f32>, Failure> {
        let count = noise.len() / self.shape().iter().product::<usize>();
        let request = SamplingRequest { start: Some(noise), ..self.request(table, count) };
        Ok(self.timed(request)?.0)
    }

    /// The noise that the first images start from.
    pub fn noise(&self, table: &Table, count: usize) -> Result<Vec<f32>, Failure> {
        let request = SamplingRequest { batch: Some(count), ..self.request(table, count) };
        Ok(request.open(self.gpu, self.pipeline)?.noise()?)
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
        let start = Some(images);
        let request = SamplingRequest { labels, start, ..self.request(&encoding, count) };
        let (latents, there) = self.timed(request)?;
        let decoding = self.unclipped_table(Noise::Eta(0.0), steps)?;
        let start = Some(&latents[..]);
        let request = SamplingRequest { labels, start, ..self.request(&decoding, count) };
        let (again, back) = self.timed(request)?;
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

    /// Measures a job of numbers: its rows, in the order of [`Job::rows`].
    pub fn measure(&mut self, job: &Job) -> Result<Vec<Row>, Failure> {
        let Job { experiment, steps, images, .. } = *job;
        let (values, images, seconds) = match experiment {
            Experiment::Distance(noise) => {
                let table = self.unclipped_table(noise, steps)?;
                let (sampled, seconds) = self.timed(self.request(&table, images))?;
                (vec![self.distance(&sampled)?], images, seconds)
            }
            Experiment::Reconstruction => {
                let real = self.some_real(images);
                let (again, seconds) = self.there_and_back(&real, steps)?;
                (vec![error_per_dimension(&real, &again)], images.min(self.test.len()), seconds)
            }
            Experiment::Judged => {
                let table = self.table(Noise::Eta(0.0), steps)?;
                let (sampled, seconds) = self.timed(self.request(&table, images))?;
                (self.shares(&sampled)?, images, seconds)
            }
            Experiment::Picture(_) => (Vec::new(), 0, 0.0),
        };
        let (experiment, settings) = job.rows(self.classifier.network().classes);
        let row = |(setting, value)| Row {
            experiment: experiment.to_owned(),
            setting,
            steps,
            value,
            images,
            seconds,
        };
        Ok(settings.into_iter().zip(values).map(row).collect())
    }

    /// The share of images that the classifier is sure of, then that of each class.
    fn shares(&mut self, images: &[f32]) -> Result<Vec<f64>, Failure> {
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
