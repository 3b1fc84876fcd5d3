"""The engines: how each is built and started."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
TARGET = HERE / "target"


@dataclass
class Engine:
    name: str
    version: str
    command: list
    # Tells its adapter, a GPU, which has to be ours.
    driver: bool = True
    # Why it cannot be started.
    missing: str = ""
    # Its prompts and noise: nothing to compare.
    own_numbers: bool = False


def build(package):
    """Why a Rust worker cannot be built; the empty text if it was."""
    log = TARGET / f"build-{package}.log"
    print(f"building {package} (log: {log})", flush=True)
    with open(log, "wb") as file:
        command = ["cargo", "build", "--release", "--locked", "--package", package]
        code = subprocess.run(command, cwd=HERE, stdout=file, stderr=file, check=False).returncode
    return f"its build failed, see {log}" if code else ""


def locked(package):
    """The version in Cargo.lock."""
    lines = (HERE / "Cargo.lock").read_text().splitlines()
    name = lines.index(f'name = "{package}"')
    return lines[name + 1].split('"')[1]


def python():
    """The interpreter of the Python workers: $PYTHON, or a virtual environment made here."""
    if os.environ.get("PYTHON"):
        return os.environ["PYTHON"]
    folder = TARGET / "venv"
    wanted = HERE / "python/requirements.txt"
    installed = folder / "requirements.txt"
    if not installed.exists() or installed.read_text() != wanted.read_text():
        print(f"installing {wanted} in {folder}", flush=True)
        # What the system has, such as PyTorch, stays visible.
        subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", "--requirement", wanted], check=True)
        installed.write_text(wanted.read_text())
    return str(folder / "bin/python")


PROBE = """
import importlib.metadata as m, json
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
found = {n: version(n) for n in ("ncnn", "onnxruntime-webgpu", "torch", "diffusers", "transformers", "cyllama-vulkan")}
try:
    import torch
    found["cuda"] = torch.cuda.is_available()
except ImportError:
    found["cuda"] = False
print(json.dumps(found))
"""


def single_file(interpreter):
    """The pipeline as one file, made once."""
    folder = os.environ["PEERS_PIPELINE"]
    out = TARGET / "single-files" / f"{Path(folder).name}.safetensors"
    if not out.exists():
        out.parent.mkdir(exist_ok=True)
        program = "import sys, single_file; single_file.write(sys.argv[1], sys.argv[2])"
        part = out.with_suffix(".part")
        subprocess.run([interpreter, "-c", program, folder, part], cwd=HERE / "python", check=True)
        part.rename(out)
    os.environ["PEERS_SINGLE_FILE"] = str(out)


def all_engines(latent):
    """All engines, or those that run the networks of a latent pipeline."""
    TARGET.mkdir(exist_ok=True)
    interpreter = python()
    probed = subprocess.run([interpreter, "-c", PROBE], capture_output=True, text=True, check=True)
    found = json.loads(probed.stdout.splitlines()[-1])

    def rust(name, package, version):
        command = [str(TARGET / "release" / package)]
        return Engine(name, version, command, missing=build(package))

    def worker(name, distribution, script, *arguments, driver=True):
        command = [interpreter, str(HERE / "python" / script), *arguments]
        missing = "" if found[distribution] else "not installed"
        return Engine(name, found[distribution] or "", command, driver, missing)

    if latent:
        if missing := [name for name in ("torch", "diffusers", "transformers") if not found[name]]:
            raise SystemExit(f"--pipeline: {interpreter} has no {', '.join(missing)}; PYTHON=... names another")
        single_file(interpreter)
        stable_diffusion = worker("stable-diffusion.cpp Vulkan", "cyllama-vulkan", "sd_worker.py", driver=False)
        stable_diffusion.own_numbers = True
        torch = worker("PyTorch CPU", "torch", "torch_worker.py", "cpu", driver=False)
        return [rust("ddim", "peer-ddim", locked("ddim")), torch, stable_diffusion]
    engines = [
        rust("ddim", "peer-ddim", locked("ddim")),
        worker("ncnn", "ncnn", "ncnn_worker.py"),
        worker("ONNX Runtime WebGPU", "onnxruntime-webgpu", "ort_worker.py", driver=False),
        rust("burn", "peer-burn", locked("burn")),
        rust("meganeura", "peer-meganeura", locked("meganeura")),
        worker("PyTorch CPU", "torch", "torch_worker.py", "cpu", driver=False),
    ]
    if found["cuda"]:
        engines.append(worker("PyTorch CUDA", "torch", "torch_worker.py", "cuda", driver=False))
    return engines
