//! `ddim evaluate --fid`: how far a model's samples are from images, in the features of InceptionV3.
use crate::{
    cli,
    console::say,
    devices::describe,
    failure::Failure,
    progress::{Progress, thousands},
    sampling::sample,
};
use ddim::{
    classifier::InceptionFeatures,
    data::{Dataset, Moments, PrecisionRecall},
    diffusion::samplers::{SamplerKind, SamplerOptions},
    gpu::Gpu,
    models::inception::Inception,
    nn::Model,
    sampling::SamplingRequest,
};
use std::path::Path;

/// Samples as many images as there are, or as are asked for, and says the distances.
pub fn run(
    gpu: &Gpu,
    arguments: &cli::Evaluate,
    data: &Dataset,
    weights: &Path,
) -> Result<(), Failure> {
    let pipeline = arguments.model.read()?;
    let resizing = arguments.fid_resizing.into();
    let mut network = InceptionFeatures::open(gpu, weights, resizing)?;
    let images = arguments.images.unwrap_or(data.len());
    let samples = arguments.samples.unwrap_or(images);
    let steps = Some(arguments.sampling_steps.min(pipeline.scheduler.num_train_timesteps));
    let options = SamplerOptions { steps, ..SamplerOptions::default() };
    let table = SamplerKind::usual(&pipeline.scheduler)?.table(&pipeline.scheduler, &options)?;
    let size = [data.height(), data.width()];
    say!("{}", describe(gpu));
    let [shown, made] = [images, samples].map(|number| thousands(number as u64));
    say!("data   {}: {shown} images, and {made} samples", data.name());
    let request = SamplingRequest::new(&table, size, samples, arguments.seed);
    let sampled = sample(gpu, &pipeline, request)?;
    let shape = [size[0], size[1], pipeline.unet.channels()];
    let mut features = |what, images: &[f32], count: usize| -> Result<Vec<f32>, Failure> {
        let mut progress = Progress::new(what, 0, count as u64, "images");
        Ok(network.features(images, shape, |done| progress.update(done as u64, ""))?)
    };
    let real = &data.images()[..images * data.image_elements()];
    let real = features("features of images", real, images)?;
    let generated = features("features of samples", &sampled, samples)?;
    let moments = |features: &[f32]| {
        let numbers = features.iter().map(|number| f64::from(*number)).collect();
        Moments::of_vectors(numbers, Inception::FEATURES)
    };
    let distance = moments(&real)?.distance(&moments(&generated)?);
    say!("Frechet distance {distance:.4}");
    let of = PrecisionRecall::of_vectors(&real, &generated, Inception::FEATURES)?;
    say!("precision        {:.4}", of.precision);
    say!("recall           {:.4}", of.recall);
    if images.min(samples) < Inception::FEATURES {
        let count = thousands(Inception::FEATURES as u64);
        say!("fewer than {count} images give a larger distance: compare such of as many alone");
    }
    Ok(())
}
