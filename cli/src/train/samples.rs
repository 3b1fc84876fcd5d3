//! Pictures of what a model in training samples.
use super::{run::Run, watch::Watch};
use crate::{failure::Failure, files, progress::Progress, sampling::sample};
use ddim::{
    diffusion::samplers::{SamplerKind, SamplerOptions},
    files::read,
    pictures::{Picture, animation, columns, comfortable_scale},
    pipeline::Pipeline,
    sampling::SamplingRequest,
};
use std::{fs, path::Path};

/// Steps of the scheduler's sampler, if the model was trained on as many.
const STEPS: usize = 50;

/// Largest picture that is read for the film, in bytes.
const LARGEST: u64 = 1 << 30;

/// Pixels of an image up to which a picture has 64 of them unasked; of larger ones it has 16.
const SMALL: usize = 16 * 16;

/// A picture of images that a model of the run samples, always from the same noise, and their number.
pub fn picture(run: &Run, model: &Pipeline) -> Result<(Picture, usize), Failure> {
    let (data, trainer) = (&run.data, &run.trainer);
    let steps = Some(STEPS.min(model.scheduler.num_train_timesteps));
    let options = SamplerOptions { steps, ..SamplerOptions::default() };
    let table = SamplerKind::usual(&model.scheduler)?.table(&model.scheduler, &options)?;
    let shape @ [height, width, _] = data.shape();
    let usual = if height * width <= SMALL { 64 } else { 16 };
    let count = run.notes.samples.map_or(usual, |count| count as usize);
    let request = SamplingRequest::new(&table, [height, width], count, trainer.options().seed);
    let images = sample(trainer.gpu(), model, request)?;
    let scale = comfortable_scale(height, width);
    Ok((Picture::grid(&images, shape, columns(count), scale)?, count))
}

/// Writes such a picture to `samples/` in the run's folder. A model that cannot be sampled yet is no
/// reason to end its training.
pub fn write(
    run: &mut Run,
    out: &Path,
    progress: &Progress,
    watch: &mut Watch,
) -> Result<(), Failure> {
    let steps = run.trainer.steps();
    let model = run.pipeline()?;
    let folder = out.join("samples");
    match picture(run, &model) {
        Ok((picture, _)) => {
            let png = picture.png()?;
            watch.samples(steps, &png, picture.size());
            files::prepare_folder(&folder)?;
            files::write(&folder.join(format!("step-{steps:07}.png")), png)
        }
        Err(failure) => {
            progress.line(&format!("step {steps}: no samples: {}", failure.line()));
            Ok(())
        }
    }
}

/// The film, below the run's folder.
pub const FILM: &str = "film.png";

/// Milliseconds between two pictures of the film.
const BETWEEN: u16 = 200;

/// Writes `film.png`, an animation of the pictures of a run in the order of their steps, if there are two.
pub fn film(out: &Path) -> Result<(), Failure> {
    let folder = out.join("samples");
    let names = fs::read_dir(&folder).into_iter().flatten();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let of_step = |name: &String| name.starts_with("step-") && name.ends_with(".png");
    let mut names: Vec<String> = names.filter(of_step).collect();
    names.sort();
    let read = |name: &String| -> Result<Picture, Failure> {
        let path = folder.join(name);
        let bytes = read(&path, LARGEST).map_err(|error| Failure::file(&path, error))?;
        Ok(Picture::of_png(&bytes)?)
    };
    let pictures = names.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    // One that somebody put there is of another size.
    let same = |picture: &&Picture| Some(picture.size()) == pictures.last().map(Picture::size);
    let pictures: Vec<Picture> = pictures.iter().filter(same).cloned().collect();
    if pictures.len() < 2 {
        return Ok(());
    }
    files::write(&out.join(FILM), animation(&pictures, BETWEEN)?)
}
