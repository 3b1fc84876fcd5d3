//! A trained classifier, whose features and accuracy measure the quality of sampled images.
//!
//! Its 64 features stand in for those of the Inception network in a Frechet distance, for images
//! that Inception never saw: handwritten digits. [`InceptionFeatures`] are those of Inception itself.
//!
//! ```no_run
//! use ddim::{classifier::Classifier, data::digits, models::classifier::ConvClassifier};
//! # use ddim::gpu::{Gpu, GpuOptions};
//!
//! let gpu = Gpu::new(&GpuOptions::default())?;
//! let (train, test) = digits().split(0.2, 0)?;
//! let (network, options) = (ConvClassifier { size: [8, 8, 1], classes: 10 }, Classifier::options(0));
//! let (mut judge, _) = Classifier::train(&gpu, network, &train, &options, 400, None, |step, loss| {
//!     println!("step {step}: loss {loss:.3}");
//! })?;
//! println!("{:.1}% are right", 100.0 * judge.accuracy(&test)?);
//! assert_eq!(judge.features(&test.images())?.len(), test.len() * ConvClassifier::FEATURES);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `examples/guided_digits.rs`.
mod inception;
mod training;

pub use inception::{InceptionFeatures, Resizing};
pub use training::Checkpoints;

use crate::{
    data::Dataset,
    error::{Error, TrainingError},
    gpu::{Executor, Gpu},
    graph::Graph,
    models::classifier::ConvClassifier,
    nn::{Arenas, Layers, Weights},
    passes,
    value::{TensorType, Value},
    weights::{self, Precision},
};
use std::path::Path;

/// Images that are looked at together.
const BATCH: usize = 128;

/// A trained classifier on a device.
///
/// Example: [`crate::classifier`].
pub struct Classifier {
    network: ConvClassifier,
    weights: Weights,
    executor: Executor,
    x: Value,
    features: Value,
    logits: Value,
}

impl Classifier {
    fn new(gpu: &Gpu, network: ConvClassifier, weights: Weights) -> Result<Self, Error> {
        let arenas = Arenas::new(network.parameters()?, gpu.target().max_binding);
        let [height, width, channels] = network.size;
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[BATCH, height, width, channels]));
        let inputs = arenas.inputs(&mut graph);
        let views = arenas.views(&mut graph, &inputs)?;
        let [features, logits] = network.build(&mut Layers::new(&mut graph, &views, None), x)?;
        graph.outputs = vec![features, logits];
        let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        for (&arena, pieces) in inputs.iter().zip(arenas.pieces(&weights)?) {
            executor.write_pieces(arena, pieces)?;
        }
        Ok(Self { network, weights, executor, x, features, logits })
    }

    /// Reads the classifier that [`Classifier::save`] wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is of another network.
    pub fn load(gpu: &Gpu, network: ConvClassifier, path: &Path) -> Result<Self, Error> {
        Self::new(gpu, network, weights::read(path, &network.parameters()?)?)
    }

    /// Writes the weights as safetensors, with PyTorch's order of axes.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        Ok(weights::write(path, &self.weights, Precision::F32)?)
    }

    /// Its network.
    pub fn network(&self) -> ConvClassifier {
        self.network
    }

    /// Features of `images [count, height, width, channels]`, -1 to 1 (what lies outside is
    /// clipped, as in a picture): `[count, 64]`.
    ///
    /// # Errors
    /// If the numbers are no whole images, or the device is lost.
    pub fn features(&mut self, images: &[f32]) -> Result<Vec<f32>, Error> {
        self.run(images, self.features)
    }

    /// The probability of each class for `images` as in [`Classifier::features`]:
    /// `[count, classes]`.
    ///
    /// # Errors
    /// As [`Classifier::features`].
    pub fn probabilities(&mut self, images: &[f32]) -> Result<Vec<f32>, Error> {
        let mut logits = self.run(images, self.logits)?;
        for row in logits.chunks_exact_mut(self.network.classes) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers = row.iter().map(|logit| f64::from(logit - largest).exp());
            let sum: f64 = powers.sum();
            for logit in row {
                *logit = (f64::from(*logit - largest).exp() / sum) as f32;
            }
        }
        Ok(logits)
    }

    /// The share of a data set's images whose most probable class is their label.
    ///
    /// # Errors
    /// If the data do not fit the network, or the device is lost.
    pub fn accuracy(&mut self, data: &Dataset) -> Result<f64, Error> {
        let labels = labels(&self.network, data)?;
        let probabilities = self.probabilities(&data.images())?;
        let rows = probabilities.chunks_exact(self.network.classes);
        let right =
            rows.zip(labels).filter(|(row, label)| likeliest(row).0 == usize::from(**label));
        Ok(right.count() as f64 / labels.len() as f64)
    }

    fn run(&mut self, images: &[f32], at: Value) -> Result<Vec<f32>, Error> {
        let elements: usize = self.network.size.iter().product();
        if !images.len().is_multiple_of(elements) {
            let expected = format!("{:?}", self.network.size);
            let found = format!("{} numbers, which are no whole images", images.len());
            return Err(TrainingError::Images { expected, found }.into());
        }
        let mut rows = Vec::new();
        for some in images.chunks(BATCH * elements) {
            let mut batch: Vec<f32> = some.iter().map(|x| x.clamp(-1.0, 1.0)).collect();
            batch.resize(BATCH * elements, 0.0);
            self.executor.write(self.x, &batch)?;
            self.executor.run(1)?;
            let found = self.executor.read(at)?;
            rows.extend(&found[..some.len() / elements * (found.len() / BATCH)]);
        }
        Ok(rows)
    }
}

/// The class of the largest of an image's probabilities, and that probability.
///
/// ```
/// assert_eq!(ddim::classifier::likeliest(&[0.1, 0.7, 0.2]), (1, 0.7));
/// ```
pub fn likeliest(probabilities: &[f32]) -> (usize, f32) {
    let classes = probabilities.iter().copied().enumerate();
    classes.fold((0, f32::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best })
}

/// The labels of a data set, if its images and classes are the network's.
fn labels<'a>(network: &ConvClassifier, data: &'a Dataset) -> Result<&'a [u8], TrainingError> {
    let found = [data.height(), data.width(), data.channels()];
    if found != network.size {
        let (expected, found) = (format!("{:?}", network.size), format!("{found:?}"));
        return Err(TrainingError::Images { expected, found });
    }
    let fits = |classes: &usize| *classes <= network.classes;
    match (data.labels(), data.classes().filter(fits)) {
        (Some(labels), Some(_)) => Ok(labels),
        _ => Err(TrainingError::Classes { expected: network.classes, found: data.classes() }),
    }
}
