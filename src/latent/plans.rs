//! What a request runs, network by network, without a device.
use super::{Half, PictureRequest, codec_plan, text_plan};
use crate::{
    diffusion::SamplingGraph,
    error::Error,
    models::{autoencoder_kl::Autoencoder, clip_text::ClipText, unet2d_condition::TextUNet},
    plan::{Plan, Target},
};

/// The networks of a latent pipeline.
///
/// ```
/// use ddim::latent::{LatentNetworks, NetworkPlan, PictureRequest, PlannedNetwork};
/// # use ddim::models::autoencoder_kl::{Autoencoder, AutoencoderConfig};
/// # use ddim::models::unet2d_condition::{TextUNet, TextUNetConfig};
/// # use ddim::{diffusion::schedule::SchedulerConfig, plan::Target};
/// # let unet = TextUNet::new(TextUNetConfig::parse(r#"{
/// #     "block_out_channels": [64, 128], "cross_attention_dim": 64,
/// #     "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
/// #     "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]
/// # }"#)?)?;
/// # let vae = Autoencoder::new(AutoencoderConfig::default())?;
/// # let (target, table) = (Target::default(), SchedulerConfig::default().ddim(50, 0.0)?);
///
/// let networks = LatentNetworks { text: &[], unet: &unet, vae: &vae };
/// let request = PictureRequest::new(&table, [8, 8], 1, 0);
/// let plans: Vec<NetworkPlan> = networks.plans(&target, &request)?;
/// assert_eq!([&plans[0].name, &plans[1].name], ["U-Net step", "decoder"]);
/// let each: Vec<PlannedNetwork> = networks.each_plan(&target, &request)?;
/// assert!(each.iter().all(|network| network.plan.is_ok()));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LatentNetworks<'a> {
    /// Its text encoders; none if the embeddings come from elsewhere.
    pub text: &'a [ClipText],
    /// The U-Net.
    pub unet: &'a TextUNet,
    /// The autoencoder.
    pub vae: &'a Autoencoder,
}

/// The plan of a network for one picture.
///
/// Example: [`LatentNetworks`].
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// What it does.
    pub name: String,
    /// One run.
    pub plan: Plan,
}

/// A network and its plan for one picture, or why the target cannot run it.
///
/// Example: [`LatentNetworks`].
#[derive(Debug)]
pub struct PlannedNetwork {
    /// What it does.
    pub name: String,
    /// One run.
    pub plan: Result<Plan, Error>,
}

impl LatentNetworks<'_> {
    /// The plans of a request, in the order in which they are on the device, one at a time.
    ///
    /// # Errors
    /// If the request does not fit the networks, or the target cannot run one.
    pub fn plans(
        &self,
        target: &Target,
        request: &PictureRequest,
    ) -> Result<Vec<NetworkPlan>, Error> {
        let each = self.each_plan(target, request)?.into_iter();
        each.map(|PlannedNetwork { name, plan }| Ok(NetworkPlan { name, plan: plan? })).collect()
    }

    /// As [`LatentNetworks::plans`], of networks too that the target cannot run.
    ///
    /// # Errors
    /// If the request does not fit the networks.
    pub fn each_plan(
        &self,
        target: &Target,
        request: &PictureRequest,
    ) -> Result<Vec<PlannedNetwork>, Error> {
        let [height, width] = request.latent_size(self.unet, self.vae)?;
        let (mut plans, texts) = (Vec::new(), 1 + usize::from(request.is_guided()));
        let mut add = |name: &str, plan| plans.push(PlannedNetwork { name: name.into(), plan });
        let two = self.text.len() > 1;
        for (number, network) in self.text.iter().enumerate() {
            let name =
                if two { format!("text encoder {}", number + 1) } else { "text encoder".into() };
            add(&name, text_plan(target, network, texts, two));
        }
        let half = |half| codec_plan(target, self.vae, half, request.size, request.tile);
        if request.start.is_some() {
            add("encoder", half(Half::Encoder));
        }
        let (table, options) = (request.steps()?, request.options());
        let step = SamplingGraph::new(target, self.unet, [1, height, width], &table, &options)?;
        add("U-Net step", step.plan(target));
        add("decoder", half(Half::Decoder));
        Ok(plans)
    }
}
