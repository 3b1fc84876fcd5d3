//! What the commands that sample share: opening a model, a progress bar, moments on the way.
use crate::{cli, failure::Failure, files, progress::Progress};
use ddim::{
    gpu::Gpu, pictures::Grid, pipeline::Pipeline, sampling::SamplingRequest, weights::NonFinite,
};

impl cli::Model {
    /// Opens the pipeline.
    pub fn read(&self) -> Result<Pipeline, Failure> {
        let non_finite = if self.allow_non_finite { NonFinite::Allow } else { NonFinite::Refuse };
        Ok(Pipeline::read_with(&self.folder, non_finite)?)
    }

    /// Height and width of the images of the model, unless the user says otherwise.
    pub fn sides(&self, pipeline: &Pipeline, asked: Option<usize>) -> Result<[usize; 2], Failure> {
        match (asked, pipeline.unet.config().sample_size) {
            (Some(size), _) => Ok([size; 2]),
            (None, Some(size)) => Ok(size.sides().into()),
            (None, None) => {
                let folder = self.folder.display();
                let text = format!("{folder}: the model names no sample_size: give --size");
                Err(Failure::Usage(text))
            }
        }
    }
}

impl cli::PictureFile {
    /// Refuses the picture if it is too large, or a file of another program is in its place.
    pub fn prepare(&self, grid: Grid) -> Result<(), Failure> {
        grid.check(1, self.max_pixels)?;
        files::prepare_picture(&self.out, self.existing.overwrite)
    }
}

/// Samples the images of a request, `[count, height, width, channels]`.
pub fn sample(
    gpu: &Gpu,
    pipeline: &Pipeline,
    request: SamplingRequest,
) -> Result<Vec<f32>, Failure> {
    let mut sampling = request.open(gpu, pipeline)?;
    let mut progress = Progress::new("sampling", 0, request.count as u64, "images");
    let images = sampling.images(&[], |_, reached| -> Result<(), Failure> {
        progress.update((reached.first + reached.images) as u64, "");
        Ok(())
    })?;
    progress.finish();
    Ok(images)
}

/// Images at moments of sampling, a row for each image: all images at a moment come first.
pub fn strips(moments: &[Vec<f32>], images: usize, elements: usize) -> Vec<f32> {
    let row = |image: usize| {
        moments.iter().flat_map(move |moment| &moment[image * elements..][..elements])
    };
    (0..images).flat_map(row).copied().collect()
}
