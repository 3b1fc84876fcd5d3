"""What every Python worker shares: the numbers that all engines compute with, and the
conversation with `peers/run`. `common/src/lib.rs` says the same in Rust."""

import math
import sys
import time

import numpy as np


def uniform(seed, shape, scale=1.0):
    """Numbers in [-1, 1) that depend on the seed and the place alone: splitmix64."""
    with np.errstate(over="ignore"):
        z = np.arange(math.prod(shape), dtype=np.uint64)
        z += np.uint64(seed) * np.uint64(0xD1290DDB53C43E49) + np.uint64(1)
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    numbers = (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return (numbers * np.float32(scale)).reshape(shape)


def parameter(name, shape):
    """A model's parameter by its name, in PyTorch's shape: weights with unit gain, norms near one."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % (1 << 64)
    if len(shape) > 1:
        return uniform(seed, shape, math.sqrt(3 / math.prod(shape[1:])))
    numbers = uniform(seed, shape, 0.1)
    return numbers + np.float32(1) if "norm" in name and name.endswith("weight") else numbers


def say(*words):
    print(*words, flush=True)


def serve(build):
    """Serves the work that the command line names. `build` returns the adapter's name, a function
    that runs the work once and returns its seconds, and one that returns the result; or nothing
    where the engine has no such work."""
    try:
        built = build(sys.argv[1], [int(argument) for argument in sys.argv[2:]])
        if built is None:
            return say("absent")
        adapter, run, result = built
        say("adapter", adapter)
        run()
        say("first")
        for line in sys.stdin:
            command, argument = line.split(maxsplit=1)
            if command == "run":
                say("times", *[run() for _ in range(int(argument))])
            elif command == "dump":
                np.ascontiguousarray(result(), dtype="<f4").tofile(argument.strip())
                say("dumped")
    except Exception as error:
        say("failed", f"{type(error).__name__}: {error}".replace("\n", " "))
        raise SystemExit(1) from error


def timed(once):
    """`once` on a clock: what it does includes the wait for the device."""

    def run():
        start = time.perf_counter()
        once()
        return time.perf_counter() - start

    return run
