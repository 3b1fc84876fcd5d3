//! Guidance by a classifier on MNIST, judged by another network: the share of samples that it takes for the class that they
//! were guided to, and the Frechet distance to the training images in its features. `scripts/guided-mnist` trains all three.
use std::{env, error::Error, path::Path};

use ddim::{
    classifier::{Classifier, likeliest},
    data::{Dataset, Moments},
    diffusion::{
        ClassifierGuidance,
        samplers::{SamplerKind, SamplerOptions},
    },
    gpu::{Gpu, GpuOptions},
    models::classifier::ConvClassifier,
    pipeline::{self, NoisyClassifier},
    sampling::SamplingRequest,
};

/// Without guidance, as the joint distribution says, and sharper.
const SCALES: [f64; 3] = [0.0, 1.0, 4.0];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [data, model, guide, judge, count, steps] = &arguments[..] else {
        return Err("give MNIST's folder, the model, the classifier that guides, that of ddim experiments, \
                    the number of samples and of steps"
            .into());
    };
    let gpu = Gpu::new(&GpuOptions::default())?;
    let (training, test) = Dataset::open_mnist(Path::new(data))?;
    let pipeline = pipeline::open(Path::new(model))?;
    let NoisyClassifier { network, weights, .. } = NoisyClassifier::read(Path::new(guide), None)?;
    let size = [training.height(), training.width(), training.channels()];
    let classes = training.classes().unwrap_or(0).max(test.classes().unwrap_or(0));
    let judge_network = ConvClassifier { size, classes };
    let mut judge = Classifier::load(&gpu, judge_network, Path::new(judge))?;
    let moments = |judge: &mut Classifier, images: &[f32]| -> Result<Moments, Box<dyn Error>> {
        let features = judge.features(images)?.into_iter().map(f64::from).collect();
        Ok(Moments::of_vectors(features, ConvClassifier::FEATURES)?)
    };
    let real = moments(&mut judge, &training.images())?;
    println!("| sampler | scale | taken for their class | Frechet distance |");
    println!("|---|---|---|---|");
    for kind in [SamplerKind::Ddpm, SamplerKind::Ddim] {
        let options =
            SamplerOptions { steps: Some(steps.parse()?), classifier: true, ..Default::default() };
        let table = kind.table(&pipeline.scheduler, &options)?;
        for scale in SCALES {
            let guidance = ClassifierGuidance { classifier: &network, weights: &*weights, scale };
            let request = SamplingRequest {
                classifier: Some(guidance),
                ..SamplingRequest::new(&table, [size[0], size[1]], count.parse()?, 0)
            };
            let images = request.open(&gpu, &pipeline)?.images(
                &[],
                |_| {},
                |_, _| Ok::<_, ddim::Error>(()),
            )?;
            // Image number i is of class i modulo the number of classes.
            let probabilities = judge.probabilities(&images)?;
            let rows = probabilities.chunks_exact(classes).enumerate();
            let right = rows.filter(|(image, row)| likeliest(row).0 == image % classes).count();
            let share = 100.0 * right as f64 / (probabilities.len() / classes) as f64;
            let distance = moments(&mut judge, &images)?.distance(&real);
            println!("| {kind} | {scale} | {share:.1}% | {distance:.1} |");
        }
    }
    Ok(())
}
