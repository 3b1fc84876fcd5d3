//! Any model that opens, as a folder of diffusers.
use super::{
    LatentModel, LatentPipeline,
    foreign::settings,
    open::{Network, Opening},
    places::WEIGHTS,
    write_as,
};
use crate::{
    error::{Error, FileError},
    files::write_file,
    weights::{self, Precision},
};
use std::path::Path;

/// Writes a model that opens here as a folder of diffusers: a pipeline, or the model's own folder where the
/// noise schedule is not known. Weights are rounded to the precision.
///
/// ```no_run
/// use ddim::{pipeline::{self, Opening}, weights::Precision};
///
/// // DDIM's release of CIFAR-10, with its settings.
/// let how = Opening { flags: Some("cifar10.yml".into()), ..Opening::default() };
/// pipeline::convert("model-790000.ckpt".as_ref(), "cifar10".as_ref(), &how, Precision::F16)?;
/// let model = pipeline::open("cifar10".as_ref())?;
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// As [`open`](super::open), if a file cannot be written, or a weight does not fit the precision.
pub fn convert(path: &Path, out: &Path, how: &Opening, precision: Precision) -> Result<(), Error> {
    if path.is_file() && LatentModel::is_at(path) {
        return LatentPipeline::open(path, how)?.write(out, precision);
    }
    let given = how.flags.as_deref().map(settings::read).transpose()?;
    let network = Network::open(path, given.as_ref(), how.variant.as_deref())?;
    let weights = network.weights(how.non_finite)?.read()?;
    let unet = network.unet.config();
    if unet.beyond_diffusers() {
        log::warn!(
            "{}: num_attention_heads, conv_in_channels, time_proj_channels and a time_embedding_type of none are \
             no settings of diffusers: this crate alone opens the folder",
            out.display()
        );
    }
    if let Some(scheduler) = &network.scheduler {
        return write_as(out, unet, scheduler, &weights, precision);
    }
    std::fs::create_dir_all(out).map_err(FileError::at(out))?;
    let (config, file) = (out.join("config.json"), Path::new(WEIGHTS).file_name());
    let file = out.join(file.unwrap_or_default());
    weights::write(&file, &weights, precision)?;
    write_file(&config, unet.to_json().as_bytes()).map_err(FileError::at(&config))?;
    Ok(())
}
