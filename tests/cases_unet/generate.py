"""More U-Nets, for the settings that no case in `tests/cases` has: resampling inside residual blocks, scaled middles, no
middle attention, no middle at all, attention at the first level, class embeddings of every kind, a norm of its own for
the middle attention, centred input, other time widths, odd channel counts, images that are not square.

    pip install torch==2.15.0 diffusers==0.42.1 safetensors numpy
    python generate.py --out <this directory>

The format, the tolerances and the code that makes the cases are those of `tests/cases` (see its README).
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cases"))

import torch
from diffusers import UNet2DModel
from generate import ADM_STYLE, DDPM_STYLE, Out, Rng, make_model, unet_case, unet_cfg

ATTENTION = ("AttnDownBlock2D", "AttnDownBlock2D")

MODELS = {
    "unet_resampling_resnets": dict(
        unet_cfg(8, 3, (6, 12, 12), groups=3, down=(*ATTENTION, "DownBlock2D"), style=ADM_STYLE),
        attention_head_dim=3, downsample_type="resnet", upsample_type="resnet", resnet_time_scale_shift="scale_shift",
        attn_norm_num_groups=2, mid_block_scale_factor=1.5, center_input_sample=True),
    "unet_attention_first": dict(
        unet_cfg(8, 1, (8, 4), groups=2, layers=2, down=("AttnDownBlock2D", "DownBlock2D")),
        in_channels=5, out_channels=2, add_attention=False, class_embed_type="timestep", time_embedding_dim=20,
        resnet_time_scale_shift="scale_shift", upsample_type="resnet"),
    "unet_without_middle": dict(
        unet_cfg(4, 2, (9, 15), groups=3, down=ATTENTION), mid_block_type=None, class_embed_type="identity",
        mid_block_scale_factor=2.0, downsample_type="resnet"),
    "unet_one_level": dict(
        unet_cfg(5, 3, (10,), groups=5, down=("DownBlock2D",), style=ADM_STYLE), attention_head_dim=5,
        mid_block_scale_factor=1.4142135, num_class_embeds=3),
}
SIZES = {"unet_resampling_resnets": (2, 12, 8), "unet_attention_first": (2, 4, 6), "unet_without_middle": (1, 4, 4),
         "unet_one_level": (2, 7, 5)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    out, rng = Out(parser.parse_args().out, "more"), Rng(77)
    for name, config in MODELS.items():
        batch, height, width = SIZES[name]
        model, reference = make_model(out, UNet2DModel, name, config, rng)
        labels = {"timestep": torch.tensor([41, 7]), "identity": rng.n(batch, 4 * config["block_out_channels"][0]),
                  None: torch.tensor([2, 0])}[config.get("class_embed_type")]
        has_labels = config.get("class_embed_type") or config.get("num_class_embeds")
        unet_case(out, name, model, reference, config, rng.n(batch, config["in_channels"], height, width),
                  torch.tensor([617, 3][:batch]), rng.n(batch, config["out_channels"], height, width), "full",
                  extra={"class_labels": labels} if has_labels else {})
    out.finish("python generate.py --out <dir>")


if __name__ == "__main__":
    main()
