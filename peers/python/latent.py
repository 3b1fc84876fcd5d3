"""The networks of a latent pipeline in PyTorch, as `ours/src/latent.rs` runs them: weights as the folder has them, widened to
f32."""

import os
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from protocol import uniform
from transformers import CLIPTextModel

# The prompt and the negative one.
TEXTS = 2


def opened(kind, name):
    return kind.from_pretrained(Path(os.environ["PEERS_PIPELINE"]) / name).float().eval()


def torch_work(kind, side, put):
    """What one run computes."""
    if kind == "latent_text":
        text = opened(CLIPTextModel, "text_encoder")
        count = TEXTS * text.config.max_position_embeddings
        ids = torch.tensor([place * 7919 % 1000 for place in range(count)]).reshape(TEXTS, -1)
        return lambda: text(ids).last_hidden_state
    if kind == "latent_unet":
        unet = opened(UNet2DConditionModel, "unet")
        x = put(uniform(1, (TEXTS, unet.config.in_channels, side // 8, side // 8), 1.7))
        context = put(uniform(2, (TEXTS, 77, unet.config.cross_attention_dim), 1.7))
        return lambda: unet(x, torch.tensor([500.0] * TEXTS), context).sample
    vae = opened(AutoencoderKL, "vae")
    latents = put(uniform(3, (1, vae.config.latent_channels, side // 8, side // 8), 1.7))
    return lambda: vae.decode(latents).sample
