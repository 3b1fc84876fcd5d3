//! Naming schemes of parameters: each is a function from the names of today of diffusers, and of
//! transformers for a text encoder.
use super::{adm::Adm, clip, ddim, diffusers::canonical_name, origin::Origin};

/// Whose names the tensors of a file have, with the numbers that these depend on.
///
/// ```
/// use ddim::weights::{Adm, Heads, Names};
///
/// // guided-diffusion's model of 256x256 images: the three coarsest levels have attention.
/// let names = Names::Adm(Adm {
///     layers: 2,
///     attention: vec![true, true, true, false, false, false],
///     interleaved: Some(Heads::Channels(64)),
/// });
/// assert_ne!(names, Names::Diffusers);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Names {
    /// diffusers' `UNet2DModel`, of today or of 2022.
    Diffusers,
    /// The DDIM release.
    Ddim {
        /// Number of resolutions.
        levels: usize,
    },
    /// improved-diffusion and guided-diffusion.
    Adm(Adm),
    /// transformers' text encoders, with `text_model.` before the names or without.
    ClipText,
    /// OpenCLIP's text encoders.
    OpenClip {
        /// Layers that are run; the file may have one more.
        layers: usize,
        /// Whether the pooled text is projected.
        projects: bool,
    },
    /// The U-Net of Stable Diffusion: ADM's names, with transformers.
    LatentUnet(Adm),
    /// The autoencoder of Stable Diffusion: those of the DDIM release in each half.
    Autoencoder {
        /// Number of resolutions.
        levels: usize,
    },
}

impl Names {
    /// The name by which a stored tensor is found.
    pub(crate) fn key(&self, stored: &str) -> String {
        match self {
            Self::Diffusers => canonical_name(stored),
            Self::ClipText => clip::key(stored),
            _ => stored.to_owned(),
        }
    }

    /// Where the parameter `name` of `outputs` channels lies.
    pub(crate) fn origin(&self, name: &str, outputs: usize) -> Origin {
        match self {
            Self::Diffusers | Self::ClipText => Origin::whole(name.to_owned()),
            Self::Ddim { levels } => Origin::whole(ddim::stored_name(name, *levels)),
            Self::Adm(adm) => adm.origin(name, outputs),
            Self::OpenClip { .. } => clip::origin(name),
            Self::LatentUnet(adm) => Origin::whole(adm.stored_name(name)),
            Self::Autoencoder { levels } => Origin::whole(match name.split_once('.') {
                Some((half @ ("encoder" | "decoder"), rest)) => {
                    format!("{half}.{}", ddim::stored_name(rest, *levels))
                }
                _ => name.to_owned(),
            }),
        }
    }

    /// Whether a stored tensor is no parameter and known not to be one.
    pub(crate) fn ignores(&self, stored: &str) -> bool {
        match *self {
            Self::ClipText => clip::ignores(stored),
            Self::OpenClip { layers, projects } => clip::open_ignores(stored, layers, projects),
            // The losses of its training.
            Self::Autoencoder { .. } => stored.starts_with("loss."),
            Self::Diffusers | Self::Ddim { .. } | Self::Adm(_) | Self::LatentUnet(_) => false,
        }
    }
}
