//! Which pictures to make of a prompt, and how.
use super::picture::partial;
use crate::{
    diffusion::{Guidance, SamplingOptions, samplers::Table},
    error::{ConfigError, DataError, Error, Unexpected},
    models::{autoencoder_kl::Autoencoder, unet2d_condition::TextUNet},
    nn::ElementTypes,
};

/// Which pictures to make of a prompt, and how. One is made at a time, so that a picture follows from the seed and its
/// number alone.
///
/// ```
/// use ddim::{diffusion::schedule::SchedulerConfig, latent::{PictureRequest, PictureStart}};
///
/// let table = SchedulerConfig::default().ddim(50, 0.0)?;
/// let picture = vec![0.0_f32; 512 * 512 * 3];
/// let start = Some(PictureStart { picture: &picture, strength: 0.6, mask: None });
/// let request = PictureRequest { start, ..PictureRequest::new(&table, [512, 512], 4, 7) };
/// assert!(request.is_guided());
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PictureRequest<'a> {
    /// The steps of a run from noise.
    pub table: &'a Table,
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// Number of pictures.
    pub count: usize,
    /// Keys the noise.
    pub seed: u64,
    /// Guidance `u + scale (c - u)` away from the negative prompt; 1 is none.
    pub guidance_scale: f64,
    /// Where to start instead of noise.
    pub start: Option<PictureStart<'a>>,
    /// Side of the autoencoder's tiles in pixels: see [`Codec::tile`](super::Codec::tile).
    pub tile: Option<usize>,
    /// Storage of the U-Net's numbers.
    pub types: ElementTypes,
    /// Whether the caller is told what picture each step predicts: that waits for the device after each.
    pub predictions: bool,
}

/// A picture to start from, and what of it to keep.
///
/// Example: [`PictureRequest`].
#[derive(Clone, Copy, Debug)]
pub struct PictureStart<'a> {
    /// `[height, width, channels]`, -1 to 1.
    pub picture: &'a [f32],
    /// Share of the steps that are run: 1 leaves nothing of the picture.
    pub strength: f64,
    /// `[height, width]`: what is 0.5 or more is painted anew, the rest of the picture stays.
    pub mask: Option<&'a [f32]>,
}

impl<'a> PictureRequest<'a> {
    /// A guidance of 7.5, as in diffusers.
    pub const GUIDANCE: f64 = 7.5;

    /// Height and width in pixels of the pictures that a model was made for; of 64 latents a side, as Stable
    /// Diffusion, if its configuration does not say.
    pub fn usual_size(unet: &TextUNet, vae: &Autoencoder) -> [usize; 2] {
        let latents: [usize; 2] =
            unet.config().sample_size.map_or([64; 2], |size| size.sides().into());
        latents.map(|side| side * vae.config().factor())
    }

    /// `count` pictures from noise.
    pub fn new(table: &'a Table, size: [usize; 2], count: usize, seed: u64) -> Self {
        let (start, tile) = (None, None);
        let (guidance_scale, predictions) = (Self::GUIDANCE, false);
        let types = ElementTypes::default();
        Self { table, size, count, seed, guidance_scale, start, tile, types, predictions }
    }

    /// Whether a negative prompt is read.
    pub fn is_guided(&self) -> bool {
        self.guidance_scale != 1.0
    }

    /// What a sampling step has besides its table.
    pub(super) fn options(&self) -> SamplingOptions<'static> {
        let guidance = self.is_guided().then(|| Guidance::of_scale(self.guidance_scale, 0));
        SamplingOptions { guidance, types: self.types, ..SamplingOptions::default() }
    }

    /// The steps that are run.
    pub(super) fn steps(&self) -> Result<Table, Error> {
        let table = self.table.clone();
        match self.start {
            Some(start) => Ok(partial(table, start.strength)?),
            None => Ok(table),
        }
    }

    /// Height and width of the latents.
    pub(super) fn latent_size(
        &self,
        unet: &TextUNet,
        vae: &Autoencoder,
    ) -> Result<[usize; 2], Error> {
        let [height, width] = self.size;
        let (unet, vae) = (unet.config(), vae.config());
        // Each level but the last halves: those of the autoencoder, then those of the U-Net.
        ConfigError::check_image(vae.levels() + unet.levels() - 1, height, width)?;
        Ok(self.size.map(|side| side / vae.factor()))
    }

    /// Checks the picture to start from and its mask.
    pub(super) fn check_start(&self, vae: &Autoencoder) -> Result<(), Error> {
        let Some(PictureStart { picture, mask, .. }) = self.start else { return Ok(()) };
        let [height, width] = self.size;
        let channels = vae.config().in_channels;
        for (name, found, channels) in
            [("init", Some(picture.len()), channels), ("mask", mask.map(<[f32]>::len), 1)]
        {
            let Some(found) = found else { continue };
            let expected = format!("{channels} channels of {height}x{width} pixels");
            let fits = found == height * width * channels;
            let found = format!("{found} numbers");
            Unexpected::check(fits, name, expected, found).map_err(DataError::from)?;
        }
        Ok(())
    }
}
