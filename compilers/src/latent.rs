//! The networks of Stable Diffusion 1.5, as a guided picture of 512x512 runs them.
use ddim::{
    Error,
    diffusion::{
        samplers::{SamplerKind, SamplerOptions},
        schedule::SchedulerConfig,
    },
    latent::{LatentNetworks, NetworkPlan, PictureRequest},
    models::{
        PerLevel,
        autoencoder_kl::{Autoencoder, AutoencoderConfig, DecoderBlock, EncoderBlock},
        clip_text::{ClipText, ClipTextConfig},
        unet2d_condition::{TextUNet, TextUNetConfig},
    },
    nn::ElementTypes,
    plan::{Plan, Target},
    value::ElementType,
};

/// Plans of the text encoder, of a step of the U-Net, and of the decoder. The U-Net's weights are stored in f16. The text
/// encoder's table is cut into parts that the target can bind.
///
/// # Errors
/// If the target cannot run one.
pub fn plans(target: &Target) -> Result<Vec<(String, Plan)>, Error> {
    let text = ClipText::new(ClipTextConfig {
        hidden_size: 768,
        intermediate_size: 3072,
        num_attention_heads: 12,
        projection_dim: 768,
        ..ClipTextConfig::default()
    })?;
    let text = text.within(target.max_binding);
    let unet = TextUNet::new(TextUNetConfig {
        cross_attention_dim: PerLevel::All(768),
        ..TextUNetConfig::default()
    })?;
    let vae = Autoencoder::new(AutoencoderConfig {
        down_block_types: vec![EncoderBlock::DownEncoderBlock2D; 4],
        up_block_types: vec![DecoderBlock::UpDecoderBlock2D; 4],
        block_out_channels: vec![128, 256, 512, 512],
        layers_per_block: 2,
        ..AutoencoderConfig::default()
    })?;
    let table = SamplerKind::Ddim.table(&SchedulerConfig::default(), &SamplerOptions::default())?;
    let types = ElementTypes { weights: ElementType::F16, ..ElementTypes::default() };
    let request = PictureRequest { types, ..PictureRequest::new(&table, [512; 2], 1, 0) };
    let networks = LatentNetworks { text: &[text], unet: &unet, vae: &vae };
    let plans = networks.plans(target, &request)?.into_iter();
    Ok(plans.map(|NetworkPlan { name, plan }| (format!("sd15 {name}"), plan)).collect())
}
