//! Tunings in a folder: a file for each adapter, driver and version of the kernels.
use crate::{
    error::{Error, FileError},
    files::{self, write_file},
    gpu::Gpu,
    plan::{Arithmetic, Target, Tuning},
    shaders,
};
use serde::{Deserialize, Serialize};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

/// What a tuning is of: where one of these differs, times do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Measurable {
    /// The adapter's name and API.
    adapter: String,
    /// Its driver and the driver's version, and what kernels may multiply by and in.
    driver: String,
    /// The version of this crate.
    version: String,
    /// A hash of all kernels.
    kernels: String,
}

#[derive(Serialize, Deserialize)]
struct TuningFile {
    of: Measurable,
    tuning: Tuning,
}

impl Measurable {
    fn new(gpu: &Gpu) -> Self {
        let info = gpu.info();
        let Target { cooperative_matrices, arithmetic, .. } = gpu.target();
        let matrices = cooperative_matrices.map(|of| format!(", matrices of {of}"));
        let products =
            (*arithmetic != Arithmetic::F32).then(|| format!(", products in {arithmetic}"));
        let allowed = [matrices, products].into_iter().flatten().collect::<String>();
        let mut kernels = DefaultHasher::new();
        shaders::ALL.iter().for_each(|shader| shader.source.hash(&mut kernels));
        Self {
            adapter: format!("{} ({})", info.name, info.backend),
            driver: format!("{} {}{allowed}", info.driver, info.driver_info),
            version: env!("CARGO_PKG_VERSION").into(),
            kernels: format!("{:016x}", kernels.finish()),
        }
    }

    fn path(&self, folder: &Path) -> PathBuf {
        let mut name = DefaultHasher::new();
        (&self.adapter, &self.driver).hash(&mut name);
        folder.join(format!("tuning-{:016x}.json", name.finish()))
    }
}

/// Writes the tuning of a device into `folder`, in the place of an older one, and returns the file's path.
///
/// # Errors
/// If the folder or the file cannot be written.
///
/// Example: [`crate::tuner`].
pub fn save(gpu: &Gpu, folder: &Path, tuning: &Tuning) -> Result<PathBuf, Error> {
    let of = Measurable::new(gpu);
    let path = of.path(folder);
    std::fs::create_dir_all(folder).map_err(FileError::at(folder))?;
    let file = TuningFile { of, tuning: tuning.clone() };
    let text = serde_json::to_string_pretty(&file).expect("text with string keys is JSON") + "\n";
    write_file(&path, text.as_bytes()).map_err(FileError::at(&path))?;
    Ok(path)
}

/// The tuning of a device that [`save`] wrote into `folder`. A file that is damaged, or of other kernels, is
/// none, and told in a warning.
///
/// Example: [`crate::tuner`].
pub fn load(gpu: &Gpu, folder: &Path) -> Option<Tuning> {
    let of = Measurable::new(gpu);
    let path = of.path(folder);
    if !path.exists() {
        return None;
    }
    let ignored = |why: &dyn std::fmt::Display| {
        log::warn!("{}: ignored: {why}; `ddim tune` writes it anew", path.display());
    };
    let text = files::read_json(&path).map_err(|error| ignored(&error)).ok()?;
    let read = serde_json::from_str(&text);
    let file: TuningFile = read.map_err(|error| ignored(&error)).ok()?;
    if file.of != of {
        ignored(&"it is of another version of the kernels or of another device");
        return None;
    }
    Some(file.tuning)
}
