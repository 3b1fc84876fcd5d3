"""The works as ONNX models, built node by node."""

import math

import models
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from protocol import parameter, uniform


class Builder:
    def __init__(self):
        self.nodes, self.weights, self.shapes, self.inputs = [], {}, {}, []

    def input(self, name, shape):
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        self.shapes[name] = tuple(shape)
        return name

    def weight(self, name, array):
        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def numbers(self, values):
        return self.weight("numbers_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def push(self, op, inputs, shape, domain="", **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], domain=domain, **attributes))
        self.shapes[name] = tuple(shape)
        return name

    def conv(self, name, x, inputs, outputs, size, stride, padding):
        top, bottom, left, right = padding
        n, _, h, w = self.shapes[x]
        weight = self.weight(f"{name}.weight", parameter(f"{name}.weight", (outputs, inputs, size, size)))
        bias = self.weight(f"{name}.bias", parameter(f"{name}.bias", (outputs,)))
        shape = (n, outputs, (h + top + bottom - size) // stride + 1, (w + left + right - size) // stride + 1)
        return self.push("Conv", [x, weight, bias], shape, pads=[top, left, bottom, right], strides=[stride] * 2)

    def linear(self, name, x, inputs, outputs):
        weight = self.weight(f"{name}.weight", parameter(f"{name}.weight", (outputs, inputs)).T)
        bias = self.weight(f"{name}.bias", parameter(f"{name}.bias", (outputs,)))
        shape = (*self.shapes[x][:-1], outputs)
        return self.push("Add", [self.push("MatMul", [x, weight], shape), bias], shape)

    def norm(self, name, x, channels, groups, epsilon):
        # As PyTorch exports it: each group as one channel of an instance norm.
        shape = self.shapes[x]
        one = self.weight(f"ones_{groups}", np.ones(groups, dtype=np.float32))
        zero = self.weight(f"zeros_{groups}", np.zeros(groups, dtype=np.float32))
        flat = (shape[0], groups, math.prod(shape[1:]) // groups)
        h = self.push("Reshape", [x, self.numbers(flat)], flat)
        h = self.push("InstanceNormalization", [h, one, zero], flat, epsilon=epsilon)
        h = self.push("Reshape", [h, self.numbers(shape)], shape)
        columns = (channels, 1, 1)
        for op, part in (("Mul", "weight"), ("Add", "bias")):
            own = self.weight(f"{name}.{part}", parameter(f"{name}.{part}", (channels,)).reshape(columns))
            h = self.push(op, [h, own], shape)
        return h

    def silu(self, x):
        shape = self.shapes[x]
        return self.push("Mul", [x, self.push("Sigmoid", [x], shape)], shape)

    def add(self, a, b):
        return self.push("Add", [a, b], self.shapes[a])

    def add_embedding(self, h, e):
        shape = (*self.shapes[e], 1, 1)
        return self.add(h, self.push("Reshape", [e, self.numbers(shape)], shape))

    def concat(self, a, b):
        n, c, h, w = self.shapes[a]
        return self.push("Concat", [a, b], (n, c + self.shapes[b][1], h, w), axis=1)

    def upsample(self, x):
        n, c, h, w = self.shapes[x]
        scales = self.weight("scales", np.array([1, 1, 2, 2], dtype=np.float32))
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.push("Resize", [x, "", scales], (n, c, 2 * h, 2 * w), **modes)

    def attention(self, q, k, v, heads=1):
        return self.push("MultiHeadAttention", [q, k, v], self.shapes[q], "com.microsoft", num_heads=heads)

    def tokens(self, x):
        n, c, h, w = self.shapes[x]
        flat = self.push("Reshape", [x, self.numbers((n, c, h * w))], (n, c, h * w))
        return self.push("Transpose", [flat], (n, h * w, c), perm=[0, 2, 1])

    def pixels(self, h, x):
        n, tokens, c = self.shapes[h]
        turned = self.push("Transpose", [h], (n, c, tokens), perm=[0, 2, 1])
        return self.push("Reshape", [turned, self.numbers(self.shapes[x])], self.shapes[x])

    def model(self, y):
        shape = self.shapes[y]
        output = helper.make_tensor_value_info(y, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "work", self.inputs, [output], list(self.weights.values()))
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString(), shape


def work(kind, n):
    """A model, the shape of its result, and its inputs; nothing where there is no such work."""
    b, arrays = Builder(), {}

    def given(name, array):
        arrays[name] = np.ascontiguousarray(array, dtype=np.float32)
        return b.input(name, array.shape)

    if kind == "conv":
        batch, c, h, w, k, size = n
        x = given("x", uniform(1, (batch, c, h, w)))
        weight = b.weight("w", uniform(2, (k, c, size, size), (3 / (c * size * size)) ** 0.5))
        y = b.push("Conv", [x, weight], (batch, k, h, w), pads=[size // 2] * 4)
    elif kind == "product":
        a = given("x", uniform(1, (n[0], n[0])))
        y = b.push("MatMul", [a, b.weight("w", uniform(2, (n[0], n[0]), (3 / n[0]) ** 0.5))], (n[0], n[0]))
    elif kind == "norm":
        y = b.silu(b.norm("norm", given("x", uniform(1, n[:4])), n[1], n[4], 1e-5))
    elif kind == "attention":
        batch, tokens, channels, heads = n
        q, k, v = (given(name, uniform(s, (batch, tokens, channels), 1.7)) for s, name in ((1, "q"), (2, "k"), (3, "v")))
        y = b.attention(q, k, v, heads)
    elif kind == "unet":
        x = given("x", uniform(1, (n[0], 3, 32, 32), 1.7))
        e = given("e", np.array([models.timestep_embedding(500, 128)] * n[0]))
        y = models.unet(b, x, e)
    else:
        return None
    return (*b.model(y), y, arrays)
