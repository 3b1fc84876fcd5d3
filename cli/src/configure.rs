//! `ddim config`: the configuration of a U-Net, to be edited and trained.
use crate::{cli, console::say, failure::Failure, files, presets};
use ddim::models::unet2d::{UNet, UNetConfig};

/// No file is known as this command's own: a configuration is edited by hand.
const SIGN: &str = "\0";

/// Writes a configuration, or says it.
pub fn run(arguments: &cli::Config) -> Result<(), Failure> {
    let shape = [arguments.size, arguments.size, arguments.channels];
    let unet = match (arguments.small, arguments.cifar) {
        (true, _) => presets::small(shape),
        (_, true) => presets::cifar(shape),
        _ => presets::of(shape).unet,
    };
    let unet = UNetConfig { num_class_embeds: arguments.classes, ..unet };
    let text = UNet::new(unet)?.config().to_json();
    let Some(path) = &arguments.out else {
        say!("{}", text.trim_end());
        return Ok(());
    };
    files::prepare_file(path, SIGN, arguments.existing.overwrite)?;
    files::write(path, text)
}
