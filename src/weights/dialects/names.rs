//! Naming schemes of a U-Net's parameters: each is a function from diffusers' names of today.
use super::{adm::Adm, ddim, diffusers::canonical_name, origin::Origin};

/// Whose names the tensors of a file have, with the numbers that these depend on.
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
}

impl Names {
    /// The name by which a stored tensor is found.
    pub(crate) fn key(&self, stored: &str) -> String {
        match self {
            Self::Diffusers => canonical_name(stored),
            _ => stored.to_owned(),
        }
    }

    /// Where the parameter `name` of `outputs` channels lies.
    pub(crate) fn origin(&self, name: &str, outputs: usize) -> Origin {
        let whole = |tensor| Origin { tensor, third: None };
        match self {
            Self::Diffusers => whole(name.to_owned()),
            Self::Ddim { levels } => whole(ddim::stored_name(name, *levels)),
            Self::Adm(adm) => adm.origin(name, outputs),
        }
    }
}
