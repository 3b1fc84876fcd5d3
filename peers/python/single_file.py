"""A latent pipeline's folder as the one file that other engines read, in the names of CompVis' latent-diffusion."""

import re
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
VAE = {
    "mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2", "mid_block.attentions.0": "mid.attn_1",
    "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
}  # fmt: skip


def replaced(name, table):
    for old, new in table.items():
        name = re.sub(rf"(^|\.){re.escape(old)}(?=\.)", rf"\1{new}", name)
    return name


def unet_name(name, attends):
    """`attends` has the up blocks with attention. Three layers a level: two blocks of a residual layer, and one that resizes."""
    block = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    if not block:
        name = re.sub(r"mid_block\.attentions\.0", "middle_block.1", name)
        if middle := re.match(r"mid_block\.resnets\.(\d)\.(.*)", name):
            return f"middle_block.{2 * int(middle[1])}.{replaced(middle[2], RESNET)}"
        return replaced(name, UNET)
    way, level, kind, layer, rest = block[1], int(block[2]), block[3], int(block[4]), block[5]
    side, first = ("input_blocks", 1) if way == "down" else ("output_blocks", 0)
    if kind == "resnets":
        return f"{side}.{first + 3 * level + layer}.0.{replaced(rest, RESNET)}"
    if kind == "attentions":
        return f"{side}.{first + 3 * level + layer}.1.{rest}"
    if kind == "downsamplers":
        return f"{side}.{3 * level + 3}.0.{rest.replace('conv', 'op', 1)}"
    return f"{side}.{3 * level + 2}.{2 if level in attends else 1}.{rest}"


def vae_name(name):
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda found: f"up.{3 - int(found[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{3 - int(found[1])}.upsample", name)
    return replaced(name, VAE)


def tensors(path):
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def write(folder, out):
    """Writes the pipeline of `folder`, Stable Diffusion 1.x, to the file `out`."""
    folder, found = Path(folder), {}
    unet = tensors(folder / "unet/diffusion_pytorch_model.safetensors")
    attends = {int(name.split(".")[1]) for name in unet if name.startswith("up_blocks") and "attentions" in name}
    for name, tensor in unet.items():
        found["model.diffusion_model." + unet_name(name, attends)] = tensor
    for name, tensor in tensors(folder / "vae/diffusion_pytorch_model.safetensors").items():
        if re.search(r"attentions\.0\.to_.*weight", name):
            tensor = tensor[:, :, None, None].contiguous()
        found["first_stage_model." + vae_name(name)] = tensor
    for name, tensor in tensors(folder / "text_encoder/model.safetensors").items():
        found["cond_stage_model.transformer." + name] = tensor
    save_file(found, out)
