//! What the commands that sample share: opening a model, a progress bar, moments on the way.
use crate::{cli, failure::Failure, files, memory, progress::Progress};
use ddim::{
    diffusion::{Sampler, SamplingGraph},
    gpu::Gpu,
    pictures::Grid,
    pipeline::{Pipeline, open_with},
    sampling::{Reached, Sampling, SamplingRequest},
    weights::NonFinite,
};

impl cli::Model {
    /// Opens the pipeline.
    pub fn read(&self) -> Result<Pipeline, Failure> {
        let non_finite = if self.allow_non_finite { NonFinite::Allow } else { NonFinite::Refuse };
        Ok(open_with(&self.path, &self.beside.opening(non_finite))?)
    }

    /// Height and width of the images of the model, unless the user says otherwise.
    pub fn sides(&self, pipeline: &Pipeline, asked: Option<usize>) -> Result<[usize; 2], Failure> {
        match (asked, pipeline.unet.config().sample_size) {
            (Some(size), _) => Ok([size; 2]),
            (None, Some(size)) => Ok(size.sides().into()),
            (None, None) => {
                let path = self.path.display();
                let text = format!("{path}: the model names no sample_size: give --size");
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
    watched(&mut open(gpu, pipeline, request)?, &[], |_, _| Ok(()))
}

/// Prepares to sample. If that does not fit the device, the error says which batch does.
pub fn open<'a>(
    gpu: &Gpu,
    pipeline: &'a Pipeline,
    request: SamplingRequest<'a>,
) -> Result<Sampling<'a>, Failure> {
    let SamplingRequest { size: size @ [height, width], table, .. } = request;
    let batch = request.batch.unwrap_or(1).min(request.count);
    request.open(gpu, pipeline).map_err(|error| {
        memory::advise(error, batch, size, |batch| {
            let (target, options) = (gpu.target(), request.options());
            let size = [batch, height, width];
            let graph = SamplingGraph::new(target, &pipeline.unet, size, table, &options);
            graph.is_ok_and(|graph| graph.plan(target).is_ok())
        })
    })
}

/// Samples with a bar of the network's evaluations: [`Sampling::images`].
pub fn watched(
    sampling: &mut Sampling,
    stops: &[usize],
    stop: impl FnMut(&mut Sampler, Reached) -> Result<(), Failure>,
) -> Result<Vec<f32>, Failure> {
    let (batch, batches, steps) = (sampling.batch(), sampling.batches(), sampling.steps());
    let mut progress = Progress::new("sampling", 0, (batches * steps) as u64, "evaluations");
    let hear = |reached: Reached| {
        let before = reached.first / batch;
        let note = match batches {
            1 => String::new(),
            _ => format!("batch {} of {batches}", before + 1),
        };
        progress.update((before * steps + reached.steps) as u64, &note);
    };
    sampling.images(stops, hear, stop)
}

/// Images at moments of sampling, a row for each image: all images at a moment come first.
pub fn strips(moments: &[Vec<f32>], images: usize, elements: usize) -> Vec<f32> {
    let row = |image: usize| {
        moments.iter().flat_map(move |moment| &moment[image * elements..][..elements])
    };
    (0..images).flat_map(row).copied().collect()
}
