//! The table of a sampling run from the arguments that name it.
use crate::{
    cli::{Guided, Trajectory},
    failure::Failure,
};
use ddim::{
    diffusion::{
        Guidance,
        samplers::{SamplerKind, SamplerOptions, Table},
        schedule::SchedulerConfig,
    },
    nn::Model,
    pipeline::Pipeline,
};
use std::path::Path;

/// Why a model takes no class.
const NO_CLASSES: &str = "the model has no classes: ddim train --conditional makes one that has";

impl Trajectory {
    /// The run that these arguments describe, with the schedule of a model.
    pub fn table(&self, scheduler: &SchedulerConfig) -> Result<Table, Failure> {
        if self.eta != 0.0 && self.sampler != SamplerKind::Ddim {
            return Err(Failure::Usage("--eta is of the sampler ddim".into()));
        }
        let listed =
            self.spacing.is_some() || self.timestep_list.is_some() || self.respacing.is_some();
        if listed && !self.sampler.takes_timesteps() {
            let text = "the samplers vp-sde and vp-flow spread their own times: give --steps alone";
            return Err(Failure::Usage(text.into()));
        }
        let options = SamplerOptions {
            steps: self.steps,
            eta: self.eta,
            spacing: self.spacing,
            timesteps: self.timestep_list.clone(),
            respacing: self.respacing.clone(),
            unclipped: self.no_clip_sample,
        };
        Ok(self.sampler.table(scheduler, &options)?)
    }

    /// Whether the same start always gives the same image.
    pub fn is_deterministic(&self) -> bool {
        self.sampler.is_deterministic(self.eta)
    }
}

impl Guided {
    /// The class that is asked for: by its name, else by its number.
    pub fn class(&self, pipeline: &Pipeline) -> Result<Option<u32>, Failure> {
        let Some(asked) = &self.class else { return Ok(None) };
        if pipeline.unet.label_type(1).is_none() {
            return Err(Failure::Usage(format!("--class: {NO_CLASSES}")));
        }
        let (names, number) = (&pipeline.class_names, asked.parse().ok());
        let named = names.iter().position(|name| name == asked).map(|label| label as u32);
        let Some(classes) = pipeline.classes() else {
            // Labels of another kind, which the library refuses.
            return Ok(number.or(Some(0)));
        };
        let known = match (named.or(number), &names[..]) {
            (Some(class), _) if (class as usize) < classes => return Ok(Some(class)),
            (_, []) => format!("{classes} classes, counted from 0"),
            (_, names) => format!("the classes {}, counted from 0", names.join(", ")),
        };
        Err(Failure::Usage(format!("--class {asked}: the model has {known}")))
    }

    /// Guidance of the model in `folder`, which must have a label that stands for none.
    pub fn guidance(
        &self,
        pipeline: &Pipeline,
        folder: &Path,
    ) -> Result<Option<Guidance>, Failure> {
        let rescale = self.guidance_rescale;
        let (number, formula): (f64, fn(f64, u32) -> Guidance) =
            match (self.guidance_scale, self.guidance_weight) {
                (Some(scale), _) => (scale, Guidance::of_scale),
                (None, Some(weight)) => (weight, Guidance::ho_salimans),
                (None, None) if rescale == 0.0 => return Ok(None),
                (None, None) => {
                    let text = "--guidance-rescale goes with --guidance-scale or --guidance-weight";
                    return Err(Failure::Usage(text.into()));
                }
            };
        if pipeline.unet.label_type(1).is_none() {
            return Err(Failure::Usage(format!("guidance: {NO_CLASSES}")));
        }
        match pipeline.null_label {
            Some(null_label) => Ok(Some(Guidance { rescale, ..formula(number, null_label) })),
            None => {
                let text = "label_drop: guidance expects a model that was trained with \
                            --label-drop, so that a label stands for none; found none dropped";
                Err(Failure::file(folder.join("training/settings.json"), text))
            }
        }
    }
}
