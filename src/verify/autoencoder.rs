//! Cases of autoencoders: images to latents and back, and the gradients of their training.
use super::{
    case_files::{Case, Results},
    case_graph::{Axes, CaseGraph},
    networks::{Parameters, read_weights},
};
use crate::{
    error::Error,
    gpu::Gpu,
    models::autoencoder_kl::{Autoencoder, AutoencoderConfig, Posterior},
    nn::{Layers, Weights},
    ops::{Constant, MeanSquaredError, Reduction},
    value::Shape,
};
use std::path::Path;

/// The autoencoder in a folder of its own, with its weights.
pub(super) fn read(folder: &Path) -> Result<(Autoencoder, Weights), Error> {
    let network = Autoencoder::new(AutoencoderConfig::read(&folder.join("config.json"))?)?;
    let weights = read_weights(folder, &network.parameters()?)?;
    Ok((network, weights))
}

/// Images and latents on their way through an autoencoder.
struct Chain<'a> {
    gpu: &'a Gpu,
    case: &'a Case,
    network: Autoencoder,
    weights: Weights,
}

impl Chain<'_> {
    /// The moments, and given their gradient those of image and parameters.
    fn encode(&self, gradient: Option<Vec<f32>>) -> Result<Results, Error> {
        let mut case_graph = CaseGraph::new(self.case);
        let image = case_graph.input("image", Axes::Image)?;
        let specs = self.network.encoder_parameters()?;
        let parameters = Parameters::new(self.gpu, &mut case_graph, specs, &self.weights)?;
        let layers = &mut Layers::new(&mut case_graph.graph, &parameters.views, None);
        let moments = self.network.encode(layers, image)?;
        let Some(gradient) = gradient else {
            case_graph.output("moments", moments, Axes::Same);
            return case_graph.run(self.gpu);
        };
        let dy = case_graph.given(case_graph.graph.type_of(moments), gradient);
        let wrt = [(image, "gimage", Axes::Image)];
        parameters.gradients(&mut case_graph, [moments, dy], &wrt)?;
        parameters.results(case_graph.run(self.gpu)?)
    }

    /// The images of latents, their error, and its gradients.
    fn decode(&self, shape: Shape, latent: Vec<f32>) -> Result<Results, Error> {
        let mut case_graph = CaseGraph::new(self.case);
        let of = crate::value::TensorType::f32(&shape);
        let latent = case_graph.given(of, latent);
        let specs = self.network.decoder_parameters()?;
        let parameters = Parameters::new(self.gpu, &mut case_graph, specs, &self.weights)?;
        let layers = &mut Layers::new(&mut case_graph.graph, &parameters.views, None);
        let decoded = self.network.decode(layers, latent)?;
        let target = case_graph.input("image", Axes::Image)?;
        let error = MeanSquaredError { reduction: Reduction::Mean };
        let loss = case_graph.graph.push(error, &[decoded, target])?;
        let one = Constant { of: case_graph.graph.type_of(loss), number: 1.0.into() };
        let seed = case_graph.graph.push(one, &[])?;
        case_graph.output("decoded", decoded, Axes::Image);
        case_graph.output("loss", loss, Axes::Same);
        parameters.gradients(&mut case_graph, [loss, seed], &[(latent, "glatent", Axes::Same)])?;
        parameters.results(case_graph.run(self.gpu)?)
    }
}

/// Kind `autoencoder_kl`. Encoder and decoder run on the device; the draw of a latent between them, and the
/// divergence from the standard normal distribution, which are no network, on the host.
pub(super) fn run(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (network, weights) = read(&case.model()?)?;
    let channels = network.config().latent_channels;
    let chain = Chain { gpu, case, network, weights };
    let narrow = |numbers: &[f64]| numbers.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let moments = narrow(&chain.encode(None)?["moments"]);
    let posterior = Posterior::of(&moments, channels);
    let (shape, noise) = case.dense("noise", Axes::Image)?;
    if shape.elements() != posterior.mean.len() {
        return Err(case.refuse("noise has not the shape of the latents"));
    }
    let latent = posterior.sample(&noise);
    let mut results = chain.decode(shape, latent.clone())?;
    let weight: f64 = case.setting("kl_weight")?;
    let divergence = Divergence { posterior: &posterior, batch: shape[0] };
    let kl = divergence.of_images();
    let mean = kl.iter().sum::<f64>() / kl.len() as f64;
    results.entry("loss".to_owned()).and_modify(|loss| loss[0] += weight * mean);
    let dlatent = results.remove("glatent").unwrap_or_default();
    let dmoments = divergence.gradient(&moments, &noise, &dlatent, weight, channels);
    results.extend(chain.encode(Some(dmoments))?);
    let stored = |data: &[f32]| {
        Axes::Image.write(&shape, data).into_iter().map(f64::from).collect::<Vec<_>>()
    };
    let scaled = chain.network.config().scaled(&latent);
    for (name, data) in [
        ("mean", &posterior.mean),
        ("logvar", &posterior.logvar),
        ("latent", &latent),
        ("scaled_latent", &scaled),
    ] {
        results.insert(name.to_owned(), stored(data));
    }
    results.insert("kl".to_owned(), kl);
    Ok(results)
}

/// The Kullback-Leibler divergence of latents from the standard normal distribution: Kingma and Welling
/// 2014, appendix B.
struct Divergence<'a> {
    posterior: &'a Posterior,
    batch: usize,
}

impl Divergence<'_> {
    /// That of each image.
    fn of_images(&self) -> Vec<f64> {
        let Posterior { mean, logvar } = self.posterior;
        let elements = mean.iter().zip(logvar).map(|(&mean, &logvar)| {
            let (mean, logvar) = (f64::from(mean), f64::from(logvar));
            0.5 * (mean * mean + logvar.exp() - 1.0 - logvar)
        });
        let elements: Vec<f64> = elements.collect();
        elements.chunks(elements.len() / self.batch).map(|image| image.iter().sum()).collect()
    }

    /// The gradient of the moments, from that of the latents and `weight` times the mean divergence.
    fn gradient(
        &self,
        moments: &[f32],
        noise: &[f32],
        dlatent: &[f64],
        weight: f64,
        channels: usize,
    ) -> Vec<f32> {
        let (Posterior { mean, logvar }, weight) = (self.posterior, weight / self.batch as f64);
        let mut gradient = vec![0.0; moments.len()];
        for (element, &d) in dlatent.iter().enumerate() {
            let (pixel, channel) = (element / channels, element % channels);
            let own = 2 * channels * pixel + channel;
            gradient[own] = (d + weight * f64::from(mean[element])) as f32;
            // A clamped logarithm passes none.
            if moments[own + channels] == logvar[element] {
                let variance = f64::from(logvar[element]).exp();
                let draw = 0.5 * d * f64::from(noise[element]) * variance.sqrt();
                gradient[own + channels] = (draw + 0.5 * weight * (variance - 1.0)) as f32;
            }
        }
        gradient
    }
}
