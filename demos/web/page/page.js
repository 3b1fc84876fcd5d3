// The page: buttons to calls of the module, and canvases from what comes back.
import init, { Gpu, Model, Training } from "./pkg/ddim_web.js";

const id = (name) => document.getElementById(name);
const buttons = ["train", "sample", "interpolate", "download", "load", "unzip"].map(id);
const BETWEEN = 16;
// Milliseconds of training between two updates of the page.
const BURST = 300;

let gpu;
let training;
let model;
let running = false;
let between = [];
const losses = [];

function say(error) {
  id("message").textContent = error ? (error.message ?? String(error)) : "";
}

// Images beside each other in as many rows as fit, each pixel a square.
function draw(canvas, pixels, width, height) {
  const count = pixels.length / (4 * width * height);
  const columns = Math.min(count, Math.floor(canvas.width / (width * 5)) || 1);
  // A pixel between two of them.
  const scale = Math.floor(canvas.width / (columns * (width + 1)));
  const context = canvas.getContext("2d");
  canvas.height = Math.ceil(count / columns) * (height + 1) * scale;
  context.imageSmoothingEnabled = false;
  for (let at = 0; at < count; at++) {
    const bytes = pixels.subarray(at * 4 * width * height, (at + 1) * 4 * width * height);
    const image = new OffscreenCanvas(width, height);
    image.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(bytes), width, height), 0, 0);
    const [x, y] = [(at % columns) * (width + 1) * scale, Math.floor(at / columns) * (height + 1) * scale];
    context.drawImage(image, x, y, width * scale, height * scale);
  }
}

// The losses, and their mean over the last twentieth, from 0 to 1.2.
function drawLosses() {
  const canvas = id("losses");
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const x = (step) => (step / Math.max(losses.length - 1, 1)) * width;
  const y = (loss) => height * (1 - Math.min(loss, 1.2) / 1.2);
  context.clearRect(0, 0, width, height);
  context.fillStyle = "#88888880";
  losses.forEach((loss, step) => context.fillRect(x(step) - 1, y(loss) - 1, 2, 2));
  const span = Math.max(1, Math.ceil(losses.length / 20));
  context.strokeStyle = "#3377dd";
  context.lineWidth = 2;
  context.beginPath();
  let sum = 0;
  losses.forEach((loss, step) => {
    sum += loss - (losses[step - span] ?? 0);
    context.lineTo(x(step), y(sum / Math.min(step + 1, span)));
  });
  context.stroke();
}

// Does one thing on the device at a time; an error is said, and the page goes on.
async function use(work) {
  buttons.forEach((button) => (button.disabled = true));
  say();
  try {
    await work();
  } catch (error) {
    say(error);
  }
  buttons.forEach((button) => (button.disabled = false));
}

function choose(next) {
  model?.free();
  model = next;
  const select = id("sampler");
  const names = model.samplers();
  const chosen = names.includes(select.value) ? select.value : "ddim";
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
}

async function sample() {
  const progress = (done, of) => (id("sampled").textContent = `step ${done} of ${of}`);
  const [steps, seed] = [id("count").valueAsNumber, id("seed").valueAsNumber];
  const pixels = await model.sample(gpu, id("sampler").value, steps, Number(id("images").value), seed, progress);
  draw(id("samples"), pixels, model.width, model.height);
}

async function train() {
  running = true;
  id("train").textContent = "Pause";
  id("train").disabled = false;
  training ??= new Training(gpu, Number(id("batch").value), 0);
  id("batch").disabled = true;
  let burst = 1;
  let told = 0;
  while (running) {
    const start = performance.now();
    losses.push(...(await training.steps(burst)));
    burst = Math.max(1, Math.min(100, Math.round((burst * BURST) / (performance.now() - start))));
    id("steps").textContent = `${losses.length} steps, loss ${losses.at(-1).toFixed(4)}`;
    drawLosses();
    // Samples after 1, 4, 16, ... steps, and then every 1000.
    if (losses.length >= Math.max(1, Math.min(4 * told, told + 1000))) {
      told = losses.length;
      choose(await training.model());
      await sample();
    }
  }
  choose(await training.model());
}

id("train").addEventListener("click", async () => {
  if (running) {
    running = false;
    return;
  }
  await use(train);
  running = false;
  id("train").textContent = "Go on";
});
id("sample").addEventListener("click", () => use(sample));
id("interpolate").addEventListener("click", () =>
  use(async () => {
    const [steps, seed] = [id("count").valueAsNumber, id("seed").valueAsNumber];
    const progress = (done, of) => (id("sampled").textContent = `step ${done} of ${of}`);
    const pixels = await model.interpolate(gpu, steps, BETWEEN, seed, progress);
    const bytes = pixels.length / BETWEEN;
    const { width, height } = model;
    between = Array.from({ length: BETWEEN }, (_, at) => [pixels.subarray(at * bytes, (at + 1) * bytes), width, height]);
    id("share").disabled = false;
    draw(id("between"), ...between[id("share").valueAsNumber]);
  }),
);
id("share").addEventListener("input", () => draw(id("between"), ...between[id("share").valueAsNumber]));
id("download").addEventListener("click", () =>
  use(async () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([model.zip()], { type: "application/zip" }));
    link.download = "digits.zip";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }),
);
id("load").addEventListener("change", () =>
  use(async () => {
    const files = [...id("load").files];
    const contents = await Promise.all(files.map(async (file) => new Uint8Array(await file.arrayBuffer())));
    choose(Model.read(files.map((file) => file.webkitRelativePath || file.name), contents));
    await sample();
  }),
);
id("unzip").addEventListener("change", () =>
  use(async () => {
    choose(Model.unzip(new Uint8Array(await id("unzip").files[0].arrayBuffer())));
    await sample();
  }),
);

async function open() {
  if (!navigator.gpu) {
    throw new Error("This browser has no WebGPU: it needs Chromium 113, Firefox 141 or Safari 26, or later, and a page from https or localhost.");
  }
  await init();
  gpu = await Gpu.open();
  id("device").textContent = `WebGPU: ${gpu.name()}.`;
  choose(Model.untrained(0));
  buttons.forEach((button) => (button.disabled = false));
}

open().catch((error) => {
  id("device").textContent = error.message ?? String(error);
});
