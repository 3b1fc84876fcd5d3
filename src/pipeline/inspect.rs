//! What a path holds, told without reading a number.
use super::{
    RunFolder,
    foreign::{Dialect, StableDiffusion, settings},
    open::{Network, Opening},
    places,
};
use crate::{
    error::Error,
    models::unet2d::UNetConfig,
    weights::{self, Below, TensorFile},
};
use std::path::{Path, PathBuf};

/// What a path holds.
///
/// Example: [`crate::pipeline::inspect()`].
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The file of weights, or the index of several.
    pub file: PathBuf,
    /// Its format.
    pub format: String,
    /// Whose names its tensors have.
    pub dialect: String,
    /// What the names of the weights begin with, where the file holds more.
    pub place: &'static str,
    /// Names and extents of all tensors.
    pub tensors: Vec<(String, Vec<usize>)>,
    /// The parts' configurations by diffusers' folders, as JSON.
    pub configuration: Vec<(&'static str, String)>,
    /// What no shape tells, or why the model does not run.
    pub note: Option<String>,
}

/// Tells what a path holds: format, dialect, tensors, and the configuration that is in it, given beside it or
/// guessed from the shapes.
///
/// ```no_run
/// use ddim::pipeline::{self, Opening};
///
/// let found = pipeline::inspect("model.ckpt".as_ref(), &Opening::default())?;
/// println!("{}: {}, {} tensors", found.format, found.dialect, found.tensors.len());
/// for (part, json) in &found.configuration {
///     println!("{part}: {json}");
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If no file of weights is found, or it is damaged or of no known model.
pub fn inspect(path: &Path, how: &Opening) -> Result<Inspection, Error> {
    let given = how.flags.as_deref().map(settings::read).transpose()?;
    let file = match path.is_dir() {
        true => places::weights(&RunFolder::open(path)?, how.variant.as_deref())?,
        false => path.into(),
    };
    let opened = weights::open(&file)?;
    let (dialect, place) = Dialect::of_file(&file, &*opened)?;
    let mut found = Inspection {
        format: opened.format(),
        dialect: dialect.to_string(),
        place,
        tensors: opened.tensors(),
        configuration: Vec::new(),
        note: None,
        file,
    };
    if dialect == Dialect::StableDiffusion {
        let model = StableDiffusion::of(&*opened, place, given.as_ref())?;
        found.dialect = model.version().into();
        found.configuration.push(("unet", format!("{:#}\n", model.unet_json())));
        found.configuration.extend(model.vae_json().map(|vae| ("vae", format!("{vae:#}\n"))));
        found.note = model.check(&found.file, &*opened, place).err().map(|error| error.to_string());
        if found.note.is_none() && given.is_none() {
            let note = "no shape tells attention_head_dim, sample_size and scaling_factor: the numbers \
                        above are those of the released files";
            found.note = Some(note.into());
        }
        return Ok(found);
    }
    match Network::open(path, given.as_ref(), how.variant.as_deref()) {
        Ok(network) => {
            found.configuration.push(("unet", network.unet.config().to_json()));
            let scheduler = network.scheduler.map(|of| ("scheduler", of.to_json()));
            found.configuration.extend(scheduler);
        }
        Err(error) => {
            let shapes = Below { file: &*opened, prefix: place }.tensors().into_iter().collect();
            let guess: Option<UNetConfig> = dialect.guess(&shapes);
            found.configuration.extend(guess.map(|unet| ("unet", unet.to_json())));
            found.note = Some(error.to_string());
        }
    }
    Ok(found)
}
