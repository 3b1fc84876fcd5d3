"""ncnn's Vulkan backend in f32. Its Python interface uploads and reads back in the call that
computes; a net that does nothing else is timed right before, and its time is taken off."""

import tempfile
import time

import ncnn
import numpy as np
from protocol import parameter, serve, uniform

# Results of a chain of one layer, the first of them the layer's own.
LINKS = ["y", *(f"y{link}" for link in range(1, 8))]
NARROW = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")


def net(layers, weights):
    """A net of these lines of ncnn's text format, over inputs that are its first lines."""
    built = ncnn.Net()
    built.opt.use_vulkan_compute = True
    for name in NARROW:
        setattr(built.opt, f"use_{name}", False)
    blobs = {name for line in layers for name in line.split()[4:] if "=" not in name}
    text = f"7767517\n{len(layers)} {len(blobs)}\n" + "\n".join(layers) + "\n"
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(weights))
        file.flush()
        if built.load_param_mem(text) or built.load_model(file.name):
            raise RuntimeError("ncnn refused the net")
    return built


def extract(built, inputs, output="y"):
    extractor = built.create_extractor()
    for name, mat in inputs.items():
        extractor.input(name, mat)
    status, y = extractor.extract(output)
    if status:
        raise RuntimeError(f"ncnn ended with {status}")
    return y


def raw(array):
    """A weight without ncnn's tag."""
    return np.ascontiguousarray(array, dtype="<f4").tobytes()


def tagged(array):
    """A weight that ncnn may store otherwise, tagged as f32."""
    return bytes(4) + raw(array)


def convolution(n, c, h, w, k, size):
    weight = uniform(2, (k, c, size, size), (3 / (c * size * size)) ** 0.5)
    layers = [
        "Input in 0 1 x",
        f"Convolution c 1 1 x y 0={k} 1={size} 4={size // 2} 5=0 6={weight.size}",
    ]
    return layers, [tagged(weight)], {"x": uniform(1, (n, c, h, w))}, (n, k, h, w)


def product(n):
    weight = uniform(2, (n, n), (3 / n) ** 0.5)
    layers = ["Input in 0 1 x", f"Gemm c 1 1 x y 5=1 6=1 8={n} 9={n} 10=-1"]
    return layers, [tagged(weight)], {"x": uniform(1, (n, n))}, (n, n)


def norm(n, c, h, w, groups):
    # A chain, since one is faster than the way there and back.
    layers = ["Input in 0 1 x"]
    for link, x in enumerate(["x", *LINKS[:-1]]):
        layers.append(f"GroupNorm c{link} 1 1 {x} z{link} 0={groups} 1={c} 2=1e-5")
        layers.append(f"Swish s{link} 1 1 z{link} {LINKS[link]}")
    weights = [raw(parameter("norm.weight", (c,))), raw(parameter("norm.bias", (c,)))]
    return layers, weights * len(LINKS), {"x": uniform(1, (n, c, h, w))}, (n, c, h, w)


def attention(n, tokens, channels, heads):
    # Images and heads together are ncnn's heads; they come split, which costs ncnn nothing.
    split = (n, tokens, heads, channels // heads)
    given = [uniform(seed, (n, tokens, channels), 1.7).reshape(split) for seed in (1, 2, 3)]
    apart = [x.transpose(0, 2, 1, 3).reshape(n * heads, tokens, -1) for x in given]
    layers = ["Input q 0 1 x", "Input k 0 1 k", "Input v 0 1 v", "SDPA c 3 1 x k v y"]
    return layers, [], dict(zip("xkv", map(np.ascontiguousarray, apart))), apart[0].shape


def together(y, n, tokens, channels, heads):
    """The heads of each image side by side again."""
    return y.reshape(n, heads, tokens, channels // heads).transpose(0, 2, 1, 3)


def mat(array):
    # Four axes are a batch of images. Cloned, since a Mat over numpy's memory does not keep it.
    return (ncnn.Mat(array, 0) if array.ndim == 4 else ncnn.Mat(array)).clone()


def build(kind, n):
    works = {"conv": convolution, "product": product, "norm": norm, "attention": attention}
    if kind not in works:
        return None
    if ncnn.get_gpu_count() == 0:
        raise RuntimeError("ncnn finds no Vulkan device")
    layers, weights, arrays, shape = works[kind](*n)
    computing = net(layers, weights)
    # Dropout that drops nothing: an operation on the device that costs nothing.
    moving = net(["Input in 0 1 x", "Dropout d 1 1 x y"], [])
    inputs = {name: mat(array) for name, array in arrays.items()}
    back = mat(np.ones(shape, dtype=np.float32))
    links = LINKS if kind == "norm" else LINKS[:1]

    def seconds(built, *given):
        start = time.perf_counter()
        extract(built, *given)
        return time.perf_counter() - start

    def run():
        # Half of there and back for each operand, half of it for the result.
        moved = sum(seconds(moving, {"x": moved}) for moved in (*inputs.values(), back)) / 2
        return (seconds(computing, inputs, links[-1]) - moved) / len(links)

    def result():
        y = extract(computing, inputs)
        whole = np.array(y) if y.n == 1 else np.stack([np.array(y.batch(b)) for b in range(y.n)])
        return together(whole, *n) if kind == "attention" else whole

    return ncnn.get_gpu_info(ncnn.get_default_gpu_index()).device_name(), run, result


serve(build)
