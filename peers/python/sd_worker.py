"""stable-diffusion.cpp's Vulkan backend on a latent pipeline: the times of the parts of a picture of one step, as it logs them.
Its prompts and noise are its own, so its results are not compared."""

import os
import queue
import re
import sys
import threading

# It takes no software driver that is not named.
os.environ.setdefault("GGML_VK_VISIBLE_DEVICES", "0")
from cyllama.sd import SDContext, SDContextParams, set_log_callback
from protocol import say

# What it logs at the end of a part, and how many of them a run is: it encodes two prompts, one after the other. The first of them
# compiles its kernels.
PARTS = {
    "latent_text": (r"condition graph completed, taking ([0-9.]+) ?(m?s)", 2),
    "latent_unet": (r"sampling completed, taking ([0-9.]+) ?(m?s)", 1),
    "latent_decoder": (r"latent \d+ decoded, taking ([0-9.]+) ?(m?s)", 1),
}


def main():
    kind, side = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if kind not in PARTS:
        return say("absent")
    (pattern, times_a_run), found_times = PARTS[kind], queue.Queue()

    def hear(_, text):
        print(text, end="", file=sys.stderr, flush=True)
        if found := re.search(pattern, text):
            found_times.put(float(found[1]) * (1e-3 if found[2] == "ms" else 1))

    def pictures():
        try:
            context = SDContext(SDContextParams(model_path=os.environ["PEERS_SINGLE_FILE"]))
            while True:
                context.generate(
                    "a lighthouse", "fog", width=side, height=side, seed=1, sample_steps=1, cfg_scale=7.5
                )
        except Exception as error:
            say("failed", str(error).splitlines()[0])

    def run():
        return times_a_run * found_times.get()

    set_log_callback(hear)
    say("adapter", "as it chooses")
    threading.Thread(target=pictures, daemon=True).start()
    run()
    say("first")
    for line in sys.stdin:
        say("times", *[run() for _ in range(int(line.split()[1]))])


main()
