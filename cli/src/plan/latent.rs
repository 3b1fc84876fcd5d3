//! The plans of a latent pipeline, network by network, from its configurations alone.
use super::predicted::{launches, predicted};
use crate::{cli, console::say, failure::Failure};
use ddim::{
    diffusion::samplers::{SamplerKind, SamplerOptions},
    latent::{LatentNetworks, NetworkPlan, PictureRequest},
    pipeline::{LatentModel, Opening, TextEncoders},
    plan::Target,
};
use std::path::Path;

/// Prints what one guided picture of the model at `path` runs.
pub fn run(
    target: &Target,
    adapter: &str,
    path: &Path,
    arguments: &cli::Plan,
) -> Result<(), Failure> {
    if arguments.step.train {
        let text = "--train: a latent pipeline is planned for generating alone";
        return Err(Failure::Usage(text.into()));
    }
    let LatentModel { unet, vae, scheduler } = LatentModel::read(path, &Opening::default())?;
    let text = TextEncoders::networks(path, target.max_binding).unwrap_or_else(|error| {
        say!("without a text encoder: {error}");
        Vec::new()
    });
    let usual = PictureRequest::usual_size(&unet, &vae);
    let size = arguments.step.size.map_or(usual, |side| [side; 2]);
    let sampler = SamplerKind::usual(&scheduler)?;
    let table = sampler.table(&scheduler, &SamplerOptions::default())?;
    let networks = LatentNetworks { text: &text, unet: &unet, vae: &vae };
    let plans = networks.plans(target, &PictureRequest::new(&table, size, 1, 0))?;
    let [height, width] = size;
    say!("a guided picture of {width}x{height}, sampler {sampler}\nfor {adapter}");
    for NetworkPlan { name, plan } in &plans {
        say!("\n{name}");
        match arguments.summary {
            true => say!("{}", plan.totals()),
            false => say!("{plan}"),
        }
        if let (Some(launches), false) = (launches(plan), arguments.summary) {
            say!("\n{launches}");
        }
        if let Some(predicted) = predicted(plan) {
            say!("{predicted}");
        }
    }
    Ok(())
}
