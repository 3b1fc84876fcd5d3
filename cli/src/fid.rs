//! `ddim evaluate --fid`: how far a model's samples are from images, in the features of a network.
use crate::{
    cli,
    console::say,
    devices::describe,
    failure::Failure,
    progress::{Progress, thousands},
    sampling::sample,
};
use ddim::{
    classifier::{Classifier, InceptionFeatures, Resizing},
    data::{Dataset, Moments, PrecisionRecall},
    diffusion::samplers::{SamplerKind, SamplerOptions},
    gpu::Gpu,
    models::{classifier::ConvClassifier, inception::Inception},
    pipeline::Pipeline,
    sampling::SamplingRequest,
    weights,
};
use std::path::Path;

/// Images that InceptionV3 looks at together: more take more memory than they save time.
const BATCH: usize = 4;

/// Fewest images or samples: of fewer none has the third neighbour that precision and recall look at.
const FEWEST: usize = 4;

/// A tensor that a classifier of this crate has, by the name in its file.
const CLASSES: &str = "classes.weight";

/// The network whose features are compared.
enum Network {
    Classifier(Classifier),
    Inception(InceptionFeatures, Resizing),
}

impl Network {
    /// Opens a file of either, told by its tensors, for images of a shape.
    fn open(gpu: &Gpu, path: &Path, size: [usize; 3], resizing: Resizing) -> Result<Self, Failure> {
        let tensors = weights::open(path)?.tensors();
        let Some((_, shape)) = tensors.iter().find(|(name, _)| name == CLASSES) else {
            return Ok(Self::Inception(InceptionFeatures::open(gpu, path, BATCH)?, resizing));
        };
        let classes = shape.first().copied().unwrap_or_default();
        Ok(Self::Classifier(Classifier::load(gpu, ConvClassifier { size, classes }, path)?))
    }

    /// Numbers in an image's features.
    fn width(&self) -> usize {
        match self {
            Self::Classifier(_) => ConvClassifier::FEATURES,
            Self::Inception(..) => Inception::FEATURES,
        }
    }

    /// The features of images of a shape.
    fn features(
        &mut self,
        what: &'static str,
        images: &[f32],
        shape: [usize; 3],
    ) -> Result<Vec<f32>, Failure> {
        match self {
            Self::Classifier(network) => Ok(network.features(images)?),
            Self::Inception(network, resizing) => {
                let count = images.len() / shape.iter().product::<usize>();
                let mut progress = Progress::new(what, 0, count as u64, "images");
                let hear = |done| progress.update(done as u64, "");
                Ok(network.features(images, shape, *resizing, hear)?)
            }
        }
    }
}

/// Samples as many images as there are, or as are asked for, and says how far they are from the data.
pub fn run(
    gpu: &Gpu,
    arguments: &cli::Evaluate,
    pipeline: &Pipeline,
    data: &Dataset,
    weights: &Path,
) -> Result<(), Failure> {
    let images = arguments.images.unwrap_or(data.len());
    let samples = arguments.samples.unwrap_or(images);
    if images.min(samples) < FEWEST {
        let found = format!("found {images} and {samples}");
        return Err(Failure::Usage(format!(
            "--fid: expected {FEWEST} images and samples or more, {found}"
        )));
    }
    let shape @ [height, width, _] = [data.height(), data.width(), data.channels()];
    let mut network = Network::open(gpu, weights, shape, arguments.fid_resizing.into())?;
    let steps = Some(arguments.sampling_steps.min(pipeline.scheduler.num_train_timesteps));
    let options = SamplerOptions { steps, ..SamplerOptions::default() };
    let table = SamplerKind::usual(&pipeline.scheduler)?.table(&pipeline.scheduler, &options)?;
    say!("{}", describe(gpu));
    let [shown, made] = [images, samples].map(|number| thousands(number as u64));
    say!("data   {}: {shown} images, and {made} samples", data.name());
    let request = SamplingRequest {
        batch: Some(arguments.batch.min(samples)),
        ..SamplingRequest::new(&table, [height, width], samples, arguments.seed)
    };
    let sampled = sample(gpu, pipeline, request)?;
    let real: Vec<f32> = (0..images).flat_map(|index| data.image(index)).collect();
    let real = network.features("features of images", &real, shape)?;
    let sampled = network.features("features of samples", &sampled, shape)?;
    let width = network.width();
    say_distances(&real, &sampled, width)?;
    if images.min(samples) <= width {
        let width = thousands(width as u64);
        say!("of {width} images or fewer a distance is larger: compare it with those of as many");
    }
    Ok(())
}

/// Says how far features are from each other.
fn say_distances(real: &[f32], sampled: &[f32], width: usize) -> Result<(), Failure> {
    let moments = |features: &[f32]| {
        let numbers = features.iter().map(|number| f64::from(*number)).collect();
        Moments::of_vectors(numbers, width)
    };
    let distance = moments(real)?.distance(&moments(sampled)?);
    say!("Frechet distance {distance:.4}");
    let PrecisionRecall { precision, recall } = PrecisionRecall::of_vectors(real, sampled, width)?;
    say!("precision        {precision:.4}");
    say!("recall           {recall:.4}");
    Ok(())
}
