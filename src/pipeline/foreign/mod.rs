//! Other projects' models: whose names a file has, and what its configuration says in this crate's words.
mod adm;
mod ddim;
mod latent;
mod latent_weights;
mod scalar;
pub(crate) mod settings;
mod setup;
mod shapes;
mod stable_diffusion;
mod yml;

pub(crate) use setup::Setup;
pub(crate) use stable_diffusion::StableDiffusion;

use crate::{
    diffusion::schedule::SchedulerConfig, error::ConfigError, models::unet2d::UNetConfig,
    weights::Names,
};
use serde_json::Value as Json;
use shapes::{Shapes, Told};
use std::{fmt, path::Path};

/// Whose names the tensors of a file have.
///
/// Example: [`crate::pipeline::inspect()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// diffusers' `UNet2DModel`.
    Diffusers,
    /// The DDIM release: ermongroup/ddim.
    Ddim,
    /// improved-diffusion and guided-diffusion, which share their names.
    Adm,
    /// Stable Diffusion 1.x and 2.x: CompVis, Stability AI.
    StableDiffusion,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diffusers => "diffusers",
            Self::Ddim => "DDIM release",
            Self::Adm => "improved-diffusion or guided-diffusion",
            Self::StableDiffusion => "Stable Diffusion",
        })
    }
}

/// A tensor that each dialect has, in every model.
const SIGNS: [(Dialect, &str); 4] = [
    (Dialect::StableDiffusion, "model.diffusion_model.input_blocks.0.0."),
    (Dialect::Ddim, "temb.dense.0."),
    (Dialect::Adm, "time_embed.0."),
    (Dialect::Diffusers, "time_embedding.linear_1."),
];

/// Where the weights lie in a file that holds more, the ones to take first: the averages of a training
/// list, its model, and what other dicts call it. `module.` is a wrapper for several devices.
const PLACES: [&str; 8] =
    ["", "module.", "4/", "4/module.", "0/module.", "0/", "state_dict/", "state_dict/module."];

impl Dialect {
    /// The dialect of a file's tensors, and what the names of its weights begin with.
    pub(crate) fn of(shapes: &Shapes) -> Option<(Self, &'static str)> {
        PLACES.into_iter().find_map(|place| {
            let has = |sign: &str| {
                let begin = format!("{place}{sign}");
                let next = shapes.range(begin.clone()..).next();
                next.is_some_and(|(name, _)| name.starts_with(&begin))
            };
            let (dialect, _) = SIGNS.into_iter().find(|(_, sign)| has(sign))?;
            Some((dialect, place))
        })
    }

    /// The model by the settings beside its file, where there are any; `shapes` are those of its weights.
    pub(crate) fn setup(
        self,
        path: &Path,
        settings: Option<&Json>,
        shapes: &Shapes,
    ) -> Result<Setup, ConfigError> {
        let told = Told::of(shapes);
        match (self, settings) {
            (Self::Ddim, Some(settings)) => ddim::setup(settings),
            (Self::Adm, Some(settings)) => adm::setup(settings, &told),
            (Self::Diffusers, Some(settings)) => {
                let unet = UNetConfig::parse(&settings.to_string())?;
                Ok(Setup { unet, scheduler: SchedulerConfig::default(), names: Names::Diffusers })
            }
            _ => Err(ConfigError::NotGiven {
                path: path.into(),
                dialect: self.to_string(),
                missing: match self {
                    Self::Ddim => ddim::MISSING,
                    Self::Adm => adm::MISSING,
                    Self::Diffusers | Self::StableDiffusion => "its config.json",
                }
                .into(),
                told: self.told(shapes),
            }),
        }
    }

    /// The U-Net that the shapes tell, where they tell enough of one: heads are guessed.
    pub(crate) fn guess(self, shapes: &Shapes) -> Option<UNetConfig> {
        let setup = match self {
            Self::Adm => adm::setup(&adm::guess(&Told::of(shapes)), &Told::of(shapes)),
            Self::Ddim => ddim::setup(&ddim::guess(shapes)),
            Self::Diffusers | Self::StableDiffusion => return None,
        };
        setup.ok().map(|setup| UNetConfig { sample_size: None, ..setup.unet })
    }

    /// What the shapes tell, in the project's words.
    pub(crate) fn told(self, shapes: &Shapes) -> String {
        match self {
            Self::Ddim => ddim::told(shapes),
            Self::Adm => adm::told(&Told::of(shapes)),
            Self::Diffusers | Self::StableDiffusion => format!("{} tensors", shapes.len()),
        }
    }
}
