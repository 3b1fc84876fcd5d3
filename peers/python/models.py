"""The models, written once: a builder for each engine supplies the layers.

A builder has conv(name, x, inputs, outputs, size, stride, padding), linear(name, x, inputs,
outputs), norm(name, x, channels, groups, epsilon), silu, add, add_embedding(h, e), concat,
upsample, attention(q, k, v), tokens (pixels to rows) and pixels (back).
"""

import json
import math
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[2] / "benches/models/cifar10.json"
SYMMETRIC = (1, 1, 1, 1)
FAR_SIDES = (0, 1, 0, 1)


def timestep_embedding(t, width):
    """The sinusoids of Ho et al. 2020, sines first; `freq_shift` is 1."""
    half = width // 2
    angles = [t * math.exp(-math.log(10000) * i / (half - 1)) for i in range(half)]
    return [math.sin(a) for a in angles] + [math.cos(a) for a in angles]


def attention(b, name, x, channels, groups, epsilon, projections, norm="group_norm"):
    h = b.tokens(b.norm(f"{name}.{norm}", x, channels, groups, epsilon))
    q, k, v = (b.linear(f"{name}.{p}", h, channels, channels) for p in projections[:3])
    h = b.linear(f"{name}.{projections[3]}", b.attention(q, k, v), channels, channels)
    return b.add(b.pixels(h, x), x)


def blocks(b, x, channels, layers):
    """Residual blocks without a time embedding, then attention."""
    for layer in range(layers):
        h = x
        for half in (1, 2):
            h = b.silu(b.norm(f"{layer}.norm{half}", h, channels, 32, 1e-5))
            h = b.conv(f"{layer}.conv{half}", h, channels, channels, 3, 1, SYMMETRIC)
        x = b.add(x, h)
    return attention(b, "attention", x, channels, 32, 1e-5, ("q", "k", "v", "out"), "norm")


def unet(b, x, embedding):
    """The CIFAR-10 DDPM U-Net; `embedding` is the sinusoids of the timestep."""
    config = json.loads(CONFIG.read_text())
    widths = config["block_out_channels"]
    groups, epsilon = config["norm_num_groups"], config["norm_eps"]
    layers = config["layers_per_block"]
    wide = 4 * widths[0]
    e = b.linear("time_embedding.linear_1", embedding, widths[0], wide)
    e = b.silu(b.linear("time_embedding.linear_2", b.silu(e), wide, wide))

    def resnet(name, x, inputs, outputs):
        h = b.silu(b.norm(f"{name}.norm1", x, inputs, groups, epsilon))
        h = b.conv(f"{name}.conv1", h, inputs, outputs, 3, 1, SYMMETRIC)
        h = b.add_embedding(h, b.linear(f"{name}.time_emb_proj", e, wide, outputs))
        h = b.silu(b.norm(f"{name}.norm2", h, outputs, groups, epsilon))
        h = b.conv(f"{name}.conv2", h, outputs, outputs, 3, 1, SYMMETRIC)
        if inputs != outputs:
            x = b.conv(f"{name}.conv_shortcut", x, inputs, outputs, 1, 1, (0, 0, 0, 0))
        return b.add(x, h)

    def attend(name, x, channels):
        projections = ("to_q", "to_k", "to_v", "to_out.0")
        return attention(b, name, x, channels, groups, epsilon, projections)

    h = b.conv("conv_in", x, config["in_channels"], widths[0], 3, 1, SYMMETRIC)
    skips, channels = [(h, widths[0])], widths[0]
    for level, width in enumerate(widths):
        name = f"down_blocks.{level}"
        for layer in range(layers):
            h = resnet(f"{name}.resnets.{layer}", h, channels, width)
            channels = width
            if config["down_block_types"][level].startswith("Attn"):
                h = attend(f"{name}.attentions.{layer}", h, width)
            skips.append((h, width))
        if level + 1 < len(widths):
            sides = SYMMETRIC if config["downsample_padding"] else FAR_SIDES
            h = b.conv(f"{name}.downsamplers.0.conv", h, width, width, 3, 2, sides)
            skips.append((h, width))
    h = resnet("mid_block.resnets.0", h, channels, channels)
    h = attend("mid_block.attentions.0", h, channels)
    h = resnet("mid_block.resnets.1", h, channels, channels)
    for level, width in enumerate(reversed(widths)):
        name = f"up_blocks.{level}"
        for layer in range(layers + 1):
            skip, more = skips.pop()
            h = resnet(f"{name}.resnets.{layer}", b.concat(h, skip), channels + more, width)
            channels = width
            if config["up_block_types"][level].startswith("Attn"):
                h = attend(f"{name}.attentions.{layer}", h, width)
        if level + 1 < len(widths):
            h = b.conv(f"{name}.upsamplers.0.conv", b.upsample(h), width, width, 3, 1, SYMMETRIC)
    h = b.silu(b.norm("conv_norm_out", h, channels, groups, epsilon))
    return b.conv("conv_out", h, channels, config["out_channels"], 3, 1, SYMMETRIC)
