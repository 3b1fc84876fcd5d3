"""PyTorch, eager, f32: on the CPU with every thread, for scale; on CUDA without TF32."""

import os
import sys

import models
import numpy as np
import torch
import torch.nn.functional as F
from protocol import parameter, serve, timed, uniform

CUDA = sys.argv.pop(1) == "cuda"
DEVICE = "cuda" if CUDA else "cpu"


class Builder:
    def __init__(self):
        self.parameters = {}

    def get(self, name, shape):
        if name not in self.parameters:
            self.parameters[name] = put(parameter(name, shape))
        return self.parameters[name]

    def affine(self, name, shape):
        return self.get(f"{name}.weight", shape), self.get(f"{name}.bias", shape[:1])

    def conv(self, name, x, inputs, outputs, size, stride, padding):
        weight, bias = self.affine(name, (outputs, inputs, size, size))
        top, bottom, left, right = padding
        if top != bottom:
            x, top = F.pad(x, (left, right, top, bottom)), 0
        return F.conv2d(x, weight, bias, stride, top)

    def linear(self, name, x, inputs, outputs):
        return F.linear(x, *self.affine(name, (outputs, inputs)))

    def norm(self, name, x, channels, groups, epsilon):
        return F.group_norm(x, groups, *self.affine(name, (channels,)), epsilon)

    def silu(self, x):
        return F.silu(x)

    def add(self, a, b):
        return a + b

    def add_embedding(self, h, e):
        return h + e[:, :, None, None]

    def concat(self, a, b):
        return torch.cat([a, b], 1)

    def upsample(self, x):
        return F.interpolate(x, scale_factor=2)

    def attention(self, q, k, v):
        return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]

    def tokens(self, x):
        return x.flatten(2).transpose(1, 2)

    def pixels(self, h, x):
        return h.transpose(1, 2).reshape(x.shape)


def put(array):
    return torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE)


def forward(compute):
    kept = {}

    def once():
        with torch.inference_mode():
            kept["y"] = compute()
        if CUDA:
            torch.cuda.synchronize()

    return timed(once), lambda: kept["y"].float().cpu().numpy()


def training(model, x, expected):
    """`model` maps a builder and x to a prediction; Adam; the result is the losses so far."""
    builder, losses = Builder(), []
    with torch.no_grad():
        model(builder, x)
    parameters = [p.requires_grad_() for p in builder.parameters.values()]
    optimizer = torch.optim.Adam(parameters, lr=1e-4)

    def once():
        optimizer.zero_grad()
        loss = F.mse_loss(model(builder, x), expected)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if CUDA:
            torch.cuda.synchronize()

    return timed(once), lambda: np.array([loss.item() for loss in losses])


def embedding(batch):
    return put(np.array([models.timestep_embedding(500, 128)] * batch, dtype=np.float32))


def work(kind, n):
    if kind.startswith("conv"):
        batch, c, h, w, k, size = n
        x = put(uniform(1, (batch, c, h, w)))
        weight = put(uniform(2, (k, c, size, size), (3 / (c * size * size)) ** 0.5))
        dy = put(uniform(3, (batch, k, h, w)))
        pad = size // 2
        if kind == "conv":
            return forward(lambda: F.conv2d(x, weight, padding=pad))
        of_input = kind == "conv_input_gradient"
        backward = torch.ops.aten.convolution_backward
        mask = [of_input, not of_input, False]
        rest = (None, [1, 1], [pad, pad], [1, 1], False, [0, 0], 1, mask)
        return forward(lambda: backward(dy, x, weight, *rest)[0 if of_input else 1])
    if kind == "product":
        a, b = put(uniform(1, (n[0], n[0]))), put(uniform(2, (n[0], n[0]), (3 / n[0]) ** 0.5))
        return forward(lambda: a @ b)
    if kind == "norm":
        x = put(uniform(1, n[:4]))
        b = Builder()
        return forward(lambda: F.silu(b.norm("norm", x, n[1], n[4], 1e-5)))
    if kind == "attention":
        batch, tokens, channels, heads = n
        split = (batch, tokens, heads, channels // heads)
        q, k, v = (put(uniform(s, (batch, tokens, channels), 1.7)).reshape(split).transpose(1, 2) for s in (1, 2, 3))
        attend = F.scaled_dot_product_attention
        return forward(lambda: attend(q, k, v).transpose(1, 2).reshape(batch, tokens, channels))
    if kind == "unet":
        b, x, e = Builder(), put(uniform(1, (n[0], 3, 32, 32), 1.7)), embedding(n[0])
        return forward(lambda: models.unet(b, x, e))
    if kind == "unet_training":
        x0, noise = (put(uniform(seed, (n[0], 3, 32, 32), 1.7)) for seed in (1, 2))
        e = embedding(n[0])
        return training(lambda b, x: models.unet(b, x, e), 0.6 * x0 + 0.8 * noise, noise)
    if kind == "blocks_training":
        batch, channels, side, layers = n
        x, expected = (put(uniform(seed, (batch, channels, side, side), 1.7)) for seed in (1, 2))
        return training(lambda b, x: models.blocks(b, x, channels, layers), x, expected)
    if kind.startswith("latent"):
        # What the other works do not need.
        from latent import torch_work

        return forward(torch_work(kind, n[0], put))
    return None


def build(kind, n):
    torch.set_num_threads(os.cpu_count())
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    built = work(kind, n)
    name = torch.cuda.get_device_name() if CUDA else f"CPU, {os.cpu_count()} threads"
    return built and (name, *built)


serve(build)
