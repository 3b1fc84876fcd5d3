//! The table of a sampling run from the arguments that name it.
use crate::{
    cli::{Guided, Trajectory},
    failure::Failure,
};
use ddim::{
    diffusion::{
        ClassifierGuidance, Guidance,
        samplers::{Churn, SamplerKind, SamplerOptions, Table},
        schedule::SchedulerConfig,
    },
    nn::Model,
    pipeline::{NoisyClassifier, Pipeline},
};
use std::path::Path;

/// Why a model takes no class.
const NO_CLASSES: &str = "the model has no classes: ddim train --conditional makes one that has";

impl Trajectory {
    /// The sampler: the one that is named, or else that of a model's scheduler.
    pub fn sampler(&self, scheduler: &SchedulerConfig) -> Result<SamplerKind, Failure> {
        let usual = || SamplerKind::usual(scheduler);
        self.sampler.map_or_else(usual, Ok).map_err(|error| {
            Failure::Usage(format!("{error}: choose another by --sampler (ddim sample --list)"))
        })
    }

    /// The run that these arguments describe, with the schedule of a model.
    pub fn table(&self, scheduler: &SchedulerConfig) -> Result<Table, Failure> {
        self.guided_table(scheduler, false)
    }

    /// The same, where perhaps a `classifier` guides.
    pub fn guided_table(
        &self,
        scheduler: &SchedulerConfig,
        classifier: bool,
    ) -> Result<Table, Failure> {
        let sampler = self.sampler(scheduler)?;
        if self.eta != 0.0 && sampler != SamplerKind::Ddim {
            return Err(Failure::Usage("--eta is of the sampler ddim".into()));
        }
        let churns = [SamplerKind::Euler, SamplerKind::Heun, SamplerKind::Edm];
        if self.churn.is_some() && !churns.contains(&sampler) {
            return Err(Failure::Usage("--churn is of the samplers euler, heun and edm".into()));
        }
        let listed =
            self.spacing.is_some() || self.timestep_list.is_some() || self.respacing.is_some();
        if listed && !sampler.takes_timesteps() {
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
            sigmas: self.sigmas,
            churn: self.churn(sampler)?,
            classifier,
        };
        let table = sampler.table(scheduler, &options)?;
        if classifier && !table.takes_classifier() {
            let text = format!("--classifier: expected --sampler ddim or ddpm, found {sampler}");
            return Err(Failure::Usage(text));
        }
        Ok(table)
    }

    /// The churn that is asked for, the rest of it as the sampler has it.
    fn churn(&self, sampler: SamplerKind) -> Result<Option<Churn>, Failure> {
        let usual = if sampler == SamplerKind::Edm { Churn::IMAGENET } else { Churn::NONE };
        let Some(amount) = self.churn else { return Ok(None) };
        let range = match self.churn_range.as_deref() {
            None => usual.range,
            Some(&[least, most]) => [least, most],
            Some(_) => {
                return Err(Failure::Usage("--churn-range takes two sigmas: MIN,MAX".into()));
            }
        };
        Ok(Some(Churn { amount, range, noise: self.churn_noise.unwrap_or(usual.noise) }))
    }
}

impl Guided {
    /// The class that is asked for: by its name, else by its number. A model without classes has those of
    /// the classifier.
    pub fn class(
        &self,
        pipeline: &Pipeline,
        classifier: Option<&NoisyClassifier>,
    ) -> Result<Option<u32>, Failure> {
        let Some(asked) = &self.class else { return Ok(None) };
        let takes_labels = pipeline.unet.label_type(1).is_some();
        let (who, names, classes) = match classifier {
            Some(of) if !takes_labels => {
                ("classifier", &of.class_names, Some(of.network.config().num_classes))
            }
            None if !takes_labels => {
                return Err(Failure::Usage(format!("--class: {NO_CLASSES}")));
            }
            _ => ("model", &pipeline.class_names, pipeline.classes()),
        };
        let number = asked.parse().ok();
        let named = names.iter().position(|name| name == asked).map(|label| label as u32);
        let Some(classes) = classes else {
            // Labels of another kind, which the library refuses.
            return Ok(number.or(Some(0)));
        };
        let known = match (named.or(number), &names[..]) {
            (Some(class), _) if (class as usize) < classes => return Ok(Some(class)),
            (_, []) => format!("{classes} classes, counted from 0"),
            (_, names) => format!("the classes {}, counted from 0", names.join(", ")),
        };
        Err(Failure::Usage(format!("--class {asked}: the {who} has {known}")))
    }

    /// Guidance by a classifier.
    pub fn by<'a>(&self, classifier: &'a NoisyClassifier) -> ClassifierGuidance<'a> {
        let NoisyClassifier { network, weights, .. } = classifier;
        ClassifierGuidance {
            classifier: network,
            weights: &**weights,
            scale: self.classifier_scale,
        }
    }

    /// Opens the classifier that guides, if there is one, for images of `[height, width]` of the model.
    pub fn read_classifier(
        &self,
        pipeline: &Pipeline,
        [height, width]: [usize; 2],
    ) -> Result<Option<NoisyClassifier>, Failure> {
        let Some(path) = &self.classifier else { return Ok(None) };
        let read = NoisyClassifier::read(path, self.classifier_flags.as_deref())?;
        let refuse =
            |text: String| Failure::Usage(format!("--classifier {}: {text}", path.display()));
        let shape = [height, width, pipeline.unet.channels()];
        read.network.config().check_images(&shape).map_err(|error| refuse(error.to_string()))?;
        let betas = |of: &SchedulerConfig| of.schedule().map(|schedule| schedule.betas().to_vec());
        if let Some(own) = &read.scheduler
            && betas(own)? != betas(&pipeline.scheduler)?
        {
            let text = "it was trained on another noise schedule than the model's";
            return Err(refuse(text.into()));
        }
        Ok(Some(read))
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
