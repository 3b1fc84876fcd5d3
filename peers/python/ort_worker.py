"""ONNX Runtime's WebGPU backend: operands and result stay on the device while it runs."""

import numpy as np
import onnx_models
import onnxruntime as ort
from protocol import serve, timed

PROVIDER = "WebGpuExecutionProvider"


def build(kind, n):
    built = onnx_models.work(kind, n)
    if built is None:
        return None
    model, shape, name, arrays = built
    session = ort.InferenceSession(model, providers=[PROVIDER])
    if session.get_providers()[0] != PROVIDER:
        raise RuntimeError("ONNX Runtime's WebGPU backend does not accept this driver")
    kept = {}

    def once():
        # Reading back is the only wait there is: it is on the clock.
        kept["y"] = session.run([name], arrays)[0]

    # The interface does not tell the adapter: it takes the system's first.
    return "first WebGPU adapter", timed(once), lambda: np.asarray(kept["y"]).reshape(shape)


serve(build)
