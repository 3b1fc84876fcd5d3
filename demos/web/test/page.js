// Drives the built page in a real Chromium, with WebGPU on SwiftShader: `node test/page.js [SCREENSHOT]`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../dist/", import.meta.url));
const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };
const seconds = (since) => ((performance.now() - since) / 1000).toFixed(1);

const server = createServer((request, response) => {
  const name = normalize(new URL(request.url, "http://localhost").pathname).replace(/\/$/, "/index.html");
  try {
    const body = readFileSync(join(root, name));
    response.writeHead(200, { "content-type": types[extname(name)] ?? "application/octet-stream" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-webgpu-adapter=swiftshader", "--use-angle=swiftshader",
  ],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(300_000);
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  const begun = performance.now();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.locator("#train:enabled").waitFor();
  console.log(`${await page.textContent("#device")} open after ${seconds(begun)} s`);

  // The same numbers as the native library's, which its own tests hold against this file.
  const { image, prediction } = JSON.parse(readFileSync(new URL("forward.json", import.meta.url)));
  const found = await page.evaluate(async (image) => {
    const { Gpu, Model } = await import("/pkg/ddim_web.js");
    return [...(await Model.untrained(0).predict(await Gpu.open(), new Float32Array(image)))];
  }, image);
  const largest = Math.max(...prediction.map((number, at) => Math.abs(number - found[at])));
  assert.equal(found.length, prediction.length);
  // f32 sums in another order; the largest number is about 1.
  assert.ok(largest < 1e-4, `a prediction is off by ${largest}`);
  console.log(`forward pass within ${largest.toExponential(1)} of the native one`);

  await page.selectOption("#images", "4");
  await page.fill("#count", "5");
  await page.click("#sample");
  await page.locator("#sample:enabled").waitFor();
  assert.equal(await page.textContent("#sampled"), "step 5 of 5");
  console.log(`first sample ${seconds(begun)} s after the page was asked for`);
  assert.ok(performance.now() - begun < 60_000, "the first sample took more than a minute");

  const trained = performance.now();
  await page.selectOption("#batch", "4");
  await page.click("#train");
  // The page tells the loss of the last step that it took.
  const losses = new Map();
  while (Math.max(0, ...losses.keys()) < 30) {
    const [steps, loss] = (await page.textContent("#steps")).match(/[\d.]+/g).map(Number);
    if (loss !== undefined) losses.set(steps, loss);
    await page.waitForTimeout(100);
  }
  await page.click("#train");
  await page.locator("#train:enabled", { hasText: "Go on" }).waitFor();
  console.log(`${await page.textContent("#steps")} after ${seconds(trained)} s of training and samples`);
  const told = [...losses.values()];
  const mean = (part) => part.reduce((sum, loss) => sum + loss, 0) / part.length;
  const [first, last] = [mean(told.slice(0, 5)), mean(told.slice(-5))];
  console.log(`loss ${first.toFixed(3)} at first, ${last.toFixed(3)} at last`);
  assert.ok(last < 0.8 * first, "the loss does not fall");

  await page.selectOption("#sampler", "heun");
  await page.fill("#count", "2");
  await page.click("#sample");
  await page.locator("#sample:enabled").waitFor();
  await page.click("#interpolate");
  await page.locator("#share:enabled").waitFor();
  const picture = (name) => page.evaluate((name) => document.getElementById(name).toDataURL(), name);
  const ends = [];
  for (const share of ["0", "15"]) {
    await page.fill("#share", share);
    ends.push(await picture("between"));
  }
  assert.notEqual(ends[0], ends[1], "the slider changes nothing");

  // What is downloaded is read again, and draws the same.
  const before = await picture("samples");
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  assert.equal(download.suggestedFilename(), "digits.zip");
  await page.evaluate(() => document.getElementById("samples").getContext("2d").reset());
  await page.setInputFiles("#unzip", await download.path());
  await page.locator("#sample:enabled").waitFor();
  assert.equal(await picture("samples"), before, "the model that was read draws other digits");
  await page.setInputFiles("#unzip", fileURLToPath(import.meta.url));
  await page.locator("#message", { hasText: "archive" }).waitFor();
  await page.click("#sample");
  await page.locator("#sample:enabled").waitFor();
  assert.equal(await page.textContent("#message"), "");
  assert.deepEqual(complaints, []);
  if (process.argv[2]) await page.screenshot({ path: process.argv[2], fullPage: true });
  console.log(`all passed after ${seconds(begun)} s`);
} finally {
  await browser.close();
  server.close();
}
