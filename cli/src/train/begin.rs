//! A run's trainer, or which batch would fit the device.
use crate::{failure::Failure, memory};
use ddim::{
    Error,
    diffusion::schedule::SchedulerConfig,
    gpu::Gpu,
    models::unet2d::UNet,
    passes,
    training::{Given, Trainer, TrainingGraph, TrainingOptions},
};

/// What is trained, at which size.
pub struct Training {
    pub unet: UNet,
    pub scheduler: SchedulerConfig,
    pub size: [usize; 2],
}

impl Training {
    /// A trainer with new weights.
    pub fn begin(self, gpu: &Gpu, options: TrainingOptions) -> Result<Trainer, Failure> {
        let Self { unet, scheduler, size } = &self;
        Trainer::new(gpu, unet.clone(), scheduler.clone(), *size, options.clone())
            .map_err(|error| self.advise(error, gpu, &options))
    }

    /// The error of a trainer that was not made, with the batch that fits.
    pub fn advise(&self, error: Error, gpu: &Gpu, options: &TrainingOptions) -> Failure {
        let Self { unet, scheduler, size } = self;
        let target = gpu.target();
        memory::advise(error, options.batch, *size, |batch| {
            let options = TrainingOptions { batch, ..options.clone() };
            let step = TrainingGraph::new(target, unet, *size, scheduler, &options, Given::Nothing);
            step.is_ok_and(|step| passes::compile(&step.graph, target).is_ok())
        })
    }
}
