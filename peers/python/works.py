"""What is measured, the most telling first: what the time does not reach is at the end."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    title: str
    arguments: str
    # Runs of a round, the same for every engine.
    repeats: int
    flop: float = 0
    # Of like size in each engine, not the same: results are not compared.
    other_model: bool = False
    # Measured only where `--pipeline` names a folder: minutes, and gigabytes.
    latent: bool = False


def conv(n, c, h, w, k, size, kind="conv"):
    titles = {"conv": "", "conv_input_gradient": "input gradient of ", "conv_weight_gradient": "weight gradient of "}
    title = f"{titles[kind]}conv {size}x{size}, {n}x{c}x{h}x{w} -> {k}"
    return Work(title, f"{kind} {n} {c} {h} {w} {k} {size}", 3, 2.0 * n * c * h * w * k * size * size)


def product(n):
    return Work(f"matrix product {n}^3", f"product {n}", 3, 2.0 * n**3)


def attention(n, tokens, channels, heads):
    title = f"attention, {n} x {tokens} tokens x {channels} channels, heads: {heads}"
    return Work(title, f"attention {n} {tokens} {channels} {heads}", 3, 4.0 * n * tokens**2 * channels)


UNET = "unet 1"

WORKS = [
    conv(8, 128, 32, 32, 128, 3),
    conv(8, 256, 16, 16, 256, 3),
    conv(8, 256, 8, 8, 512, 3),
    conv(8, 128, 32, 32, 128, 3, "conv_input_gradient"),
    conv(8, 128, 32, 32, 128, 3, "conv_weight_gradient"),
    conv(8, 256, 16, 16, 256, 1),
    product(512),
    product(1024),
    Work("group norm (32) + SiLU, 8x128x32x32", "norm 8 128 32 32 32", 5),
    Work("two plain copies of 8x128x32x32", "copies 8 128 32 32", 5),
    attention(8, 256, 256, 1),
    attention(8, 256, 256, 4),
    Work("CIFAR-10 U-Net forward, batch 1", UNET, 1, 12.44e9),
    Work("fresh process to first U-Net forward, caches warm", f"start {UNET}", 1),
    Work("fresh process to first U-Net forward, caches off", f"cold {UNET}", 1),
    Work("4 residual blocks + attention, batch 4, training step", "blocks_training 4 128 32 4", 1),
    Work("tiny latent U-Net, batch 1, training step", "tiny_training 1", 1, 0, True),
    Work("CIFAR-10 U-Net, batch 4, training step", "unet_training 4", 1),
    Work("latent pipeline, both prompts encoded", "latent_text 256", 1, latent=True),
    Work("latent pipeline, guided U-Net step, 256x256", "latent_unet 256", 1, latent=True),
    Work("latent pipeline, picture decoded, 256x256", "latent_decoder 256", 1, latent=True),
]
