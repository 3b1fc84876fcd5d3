//! Arguments of `ddim config`.
use super::{Overwrite, at_least_one};
use clap::Args;
use std::path::PathBuf;

/// Write the configuration of a U-Net, to edit and to train.
///
/// It is the config.json of diffusers' UNet2DModel; docs/config.md describes each key. Without --small
/// or --cifar it is the model that `ddim train` takes for images of this size.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim config --size 64 --channels 3 --out config.json
  ddim config --size 64 --channels 3 --classes 4 --small --out config.json
  ddim train --data photos --config config.json --out run")]
pub struct Config {
    /// Height and width of the images in pixels
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub size: usize,
    /// Channels of the images: 1 for grey, 3 for RGB
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one)]
    pub channels: usize,
    /// Rows of the table of classes [default: no classes; `ddim train --conditional` counts those of the
    /// images]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub classes: Option<usize>,
    /// Half as many channels in each level
    #[arg(long, conflicts_with = "cifar")]
    pub small: bool,
    /// The model that Ho et al. 2020 trained on CIFAR-10: 35.7 million parameters at 32x32 RGB
    #[arg(long)]
    pub cifar: bool,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub existing: Overwrite,
}
