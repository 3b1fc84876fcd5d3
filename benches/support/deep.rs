//! U-Nets of any depth, planned from the configuration to the printed plan.
use ddim::{
    Error,
    diffusion::{SamplingGraph, SamplingOptions, schedule::SchedulerConfig},
    graph::Graph,
    models::unet2d::{UNet, UNetConfig},
    passes,
    plan::Target,
    training::{Given, TrainingGraph, TrainingOptions},
};

/// A step of sampling or training of a U-Net with this many layers a block.
fn graph(layers: usize, trains: bool, target: &Target) -> Result<Graph, Error> {
    let config = format!(
        r#"{{"sample_size": 16, "block_out_channels": [4, 8], "layers_per_block": {layers},
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
            "norm_num_groups": 2, "attention_head_dim": 4}}"#
    );
    let unet = UNet::new(UNetConfig::parse(&config)?)?;
    let scheduler = SchedulerConfig::default();
    if trains {
        let options = TrainingOptions { batch: 1, ..TrainingOptions::default() };
        let size = [16, 16];
        Ok(TrainingGraph::new(target, &unet, size, &scheduler, &options, Given::Nothing)?.graph)
    } else {
        let (table, options) = (scheduler.ddim(50, 0.0)?, SamplingOptions::default());
        Ok(SamplingGraph::new(target, &unet, [1, 16, 16], &table, &options)?.graph)
    }
}

/// The layers a block that give about this many equations.
pub fn layers(equations: usize, trains: bool, target: &Target) -> Result<usize, Error> {
    let [one, two] = [1, 2].map(|layers| graph(layers, trains, target));
    let (one, two) = (one?.equations.len(), two?.equations.len());
    Ok(1 + equations.saturating_sub(one) / (two - one).max(1))
}

/// Builds, compiles and prints the plan, and returns how many equations and dispatches it has.
pub fn plan(layers: usize, trains: bool, target: &Target) -> Result<[usize; 2], Error> {
    let graph = graph(layers, trains, target)?;
    let plan = passes::compile(&graph, target)?;
    std::hint::black_box(format!("{graph}{plan}"));
    Ok([graph.equations.len(), plan.dispatches().count()])
}
