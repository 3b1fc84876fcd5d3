//! What the driver compiled, in a file: a later process does not compile it again.
use super::Gpu;
use crate::{
    error::{Error, FileError},
    files::{self, write_file},
};
use flate2::Crc;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The largest file that is read.
const LIMIT: u64 = 1 << 30;

/// The driver's cache and its file.
#[derive(Debug)]
pub(super) struct PipelineFile {
    pub cache: wgpu::PipelineCache,
    path: PathBuf,
    /// The checksum of what the file holds.
    written: Mutex<Option<u32>>,
}

impl Gpu {
    /// Keeps the driver's compiled kernels in a file in `folder`, from the next [`Executor`](super::Executor) on, and takes
    /// those that the file has. Returns the path of the file: one for each adapter, API and driver. Returns none on a device
    /// without the feature `PIPELINE_CACHE`, which only Vulkan has, and if it keeps a file already. A file that is damaged,
    /// or whose driver is another, is ignored and written anew. Nobody but the user should be able to write to `folder`: the
    /// file is code.
    ///
    /// # Errors
    /// If the folder cannot be made. A file that cannot be written later is told in a warning.
    pub fn keep_pipelines(&self, folder: &Path) -> Result<Option<PathBuf>, Error> {
        if !self.device().features().contains(wgpu::Features::PIPELINE_CACHE) {
            return Ok(None);
        }
        std::fs::create_dir_all(folder).map_err(FileError::at(folder))?;
        let info = self.info();
        let mut of = DefaultHasher::new();
        (&info.name, info.vendor, info.device, &info.driver, &info.driver_info).hash(&mut of);
        let path = folder.join(format!("pipelines-{:016x}.bin", of.finish()));
        let known = read(&path);
        let data = known.as_ref().map(|(data, _)| data.as_slice());
        // SAFETY: the data is what `get_data` gave on a device of this name and driver: its checksum holds. wgpu compares
        // the driver's own identifier besides, and begins with an empty cache if that differs.
        let cache = unsafe {
            self.device().create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                label: Some("ddim"),
                data,
                fallback: true,
            })
        };
        let written = Mutex::new(known.map(|(_, checksum)| checksum));
        let kept = PipelineFile { cache, path: path.clone(), written };
        Ok(self.set_pipeline_file(kept).then_some(path))
    }
}

fn checksum(data: &[u8]) -> u32 {
    let mut checksum = Crc::new();
    checksum.update(data);
    checksum.sum()
}

/// The data of a file, behind four bytes with their checksum; none of one that is damaged.
fn read(path: &Path) -> Option<(Vec<u8>, u32)> {
    if !path.exists() {
        return None;
    }
    let read = files::read(path, LIMIT);
    let read = read.map_err(|error| log::warn!("{}: ignored: {error}", path.display())).ok()?;
    let (sum, data) = read.split_first_chunk()?;
    let found = checksum(data);
    if u32::from_le_bytes(*sum) != found {
        log::warn!("{}: ignored: it is damaged", path.display());
        return None;
    }
    Some((data.to_vec(), found))
}

impl PipelineFile {
    /// Writes the file, if the driver has compiled what it has not.
    pub fn save(&self) {
        let Some(data) = self.cache.get_data() else { return };
        let sum = checksum(&data);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written == Some(sum) {
            return;
        }
        match write_file(&self.path, &[&sum.to_le_bytes(), data.as_slice()].concat()) {
            Ok(()) => *written = Some(sum),
            Err(error) => log::warn!("{}: {error}", self.path.display()),
        }
    }
}
