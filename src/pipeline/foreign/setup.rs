//! A model of another project in this crate's words.
use crate::{diffusion::schedule::SchedulerConfig, models::unet2d::UNetConfig, weights::Names};

/// What a configuration of another project says, in this crate's words.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub unet: UNetConfig,
    pub scheduler: SchedulerConfig,
    pub names: Names,
}
