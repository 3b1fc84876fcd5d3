//! Pictures of what a model in training samples.
use super::run::Run;
use crate::{failure::Failure, files, progress::Progress, sampling::sample};
use ddim::{
    diffusion::samplers::{SamplerKind, SamplerOptions},
    pictures::{Picture, columns, comfortable_scale},
    pipeline::Pipeline,
    sampling::SamplingRequest,
};
use std::path::Path;

/// Steps of the scheduler's sampler, if the model was trained on as many.
const STEPS: usize = 50;

/// Pixels of an image up to which a picture has 64 of them; of larger ones it has 16.
const SMALL: usize = 16 * 16;

/// A PNG of images that a model of the run samples, always from the same noise, and their number.
pub fn picture(run: &Run, model: &Pipeline) -> Result<(Vec<u8>, usize), Failure> {
    let (data, trainer) = (&run.data, &run.trainer);
    let steps = Some(STEPS.min(model.scheduler.num_train_timesteps));
    let options = SamplerOptions { steps, ..SamplerOptions::default() };
    let table = SamplerKind::usual(&model.scheduler)?.table(&model.scheduler, &options)?;
    let shape @ [height, width, _] = [data.height(), data.width(), data.channels()];
    let count = if height * width <= SMALL { 64 } else { 16 };
    let request = SamplingRequest::new(&table, [height, width], count, trainer.options().seed);
    let images = sample(trainer.gpu(), model, request)?;
    let scale = comfortable_scale(height, width);
    Ok((Picture::grid(&images, shape, columns(count), scale)?.png()?, count))
}

/// Writes such a picture to `samples/` in the run's folder. A model that cannot be sampled yet is no
/// reason to end its training.
pub fn write(run: &mut Run, out: &Path, progress: &Progress) -> Result<(), Failure> {
    let steps = run.trainer.steps();
    let model = run.pipeline()?;
    let folder = out.join("samples");
    match picture(run, &model) {
        Ok((png, _)) => {
            files::prepare_folder(&folder)?;
            files::write(&folder.join(format!("step-{steps:07}.png")), png)
        }
        Err(failure) => {
            progress.line(&format!("step {steps}: no samples: {}", failure.line()));
            Ok(())
        }
    }
}
