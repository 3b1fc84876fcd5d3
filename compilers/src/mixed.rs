//! The U-Net of DDPM for CIFAR-10, stored in f16, where the caller allows products in f16.
use ddim::{
    Error,
    diffusion::{SamplingGraph, SamplingOptions, schedule::SchedulerConfig},
    models::unet2d::{UNet, UNetConfig},
    nn::ElementTypes,
    passes,
    plan::{Arithmetic, Plan, Target},
    value::ElementType,
};

const STEPS: usize = 50;

/// Plans of a sampling step of few images and of many.
///
/// # Errors
/// If the target cannot run one.
pub fn plans(target: &Target) -> Result<Vec<(String, Plan)>, Error> {
    let target = Target { arithmetic: Arithmetic::Mixed, ..target.clone() };
    let unet = UNet::new(UNetConfig::parse(include_str!("../../benches/models/cifar10.json"))?)?;
    let table = SchedulerConfig::default().ddim(STEPS, 0.0)?;
    let types = ElementTypes::of(ElementType::F16);
    let options = SamplingOptions { types, ..SamplingOptions::default() };
    let plan = |batch: usize| -> Result<_, Error> {
        let step = SamplingGraph::new(&target, &unet, [batch, 32, 32], &table, &options)?;
        let plan = passes::compile(&step.graph, &target)?;
        Ok((format!("cifar10-b{batch} sampling, mixed"), plan))
    };
    [1, 8, 64].into_iter().map(plan).collect()
}
