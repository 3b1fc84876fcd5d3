//! The plans of a latent pipeline, network by network, from its configurations alone.
use super::{
    predicted::{launches, predicted},
    summary,
};
use crate::{cli, console::say, failure::Failure};
use ddim::{
    diffusion::samplers::{SamplerKind, SamplerOptions},
    latent::{LatentNetworks, PictureRequest},
    nn::ElementTypes,
    pipeline::{LatentModel, Opening, TextEncoders},
    plan::Target,
    value::ElementType,
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
    let request = PictureRequest::new(&table, size, 1, 0);
    let halves = PictureRequest { types: ElementTypes::of(ElementType::F16), ..request };
    let [height, width] = size;
    say!("a guided picture of {width}x{height}, sampler {sampler}\nfor {adapter}");
    let in_halves = networks.each_plan(target, &halves)?;
    for (network, halves) in networks.each_plan(target, &request)?.iter().zip(in_halves) {
        say!("\n{}", network.name);
        let plan = match &network.plan {
            Ok(plan) => plan,
            Err(error) => {
                say!("does not run there: {error}");
                continue;
            }
        };
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
        // The other networks compute in f32 whatever the precision.
        match halves.plan {
            Ok(halves) if halves.hash() != plan.hash() => {
                say!("with --precision f16 or bf16: {}", summary(&halves));
            }
            Ok(_) => {}
            Err(error) => say!("with --precision f16 or bf16 it does not run there: {error}"),
        }
    }
    Ok(())
}
