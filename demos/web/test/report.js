// Opens the page of a report in a real Chromium, and looks for what its numbers say: `node test/report.js REPORT.html
// [SCREENSHOT]`.
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [file, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const page = await browser.newPage({ viewport: { width: 1240, height: 900 } });
  const complaints = [];
  page.on("console", (message) => complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(pathToFileURL(resolve(file)).href);
  const { report, compared } = JSON.parse(await page.textContent("#numbers"));
  const count = (selector) => page.locator(selector).count();
  const rows = async (title) => (await count(`section:has(h2:text-is("${title}")) tr`)) - 1;

  assert.equal(await rows("Kernels"), report.kernels.length);
  const counted = report.kernels.filter((of) => of.flops > 0 && of.bytes > 0);
  assert.equal(await count("circle"), counted.length);
  assert.ok(counted.length > 0, "a report without a kernel that computes");
  // As many as take a hundredth of the time or more and reach less than half of their ceiling.
  const all = report.kernels.reduce((sum, of) => sum + of.milliseconds.median, 0);
  const far = report.kernels.filter((of) => of.share_of_ceiling !== null && of.share_of_ceiling < 0.5 && of.milliseconds.median >= all / 100);
  assert.equal(Math.max(0, await rows("Below half of their ceiling")), far.length);
  // Dots and lines lie within the chart: a number that is not finite would not be drawn.
  for (const [selector, names] of [["circle", ["cx", "cy", "r"]], [".grid", ["x1", "x2", "y1", "y2"]], ["rect", ["x", "y", "width"]]]) {
    for (const element of await page.locator(selector).all()) {
      for (const name of names) {
        const number = Number(await element.getAttribute(name));
        assert.ok(number >= 0 && number <= 1100, `${selector} ${name} = ${number}`);
      }
    }
  }
  if (report.scopes.length) {
    const titles = await page.locator(".flame title").allTextContents();
    assert.ok(titles[0].startsWith("a step: "), titles[0]);
    const parts = new Set(report.scopes.flatMap((of) => of.name.replace(/'$/, "").split("/")));
    assert.ok(titles.length > 0.5 * parts.size, `${titles.length} of ${parts.size} parts`);
  }
  assert.equal(await count('section:has(h2:text-is("Memory")) .line'), report.memory.length > 1 ? 1 : 0);
  if (compared.length) assert.equal(await rows("Against the earlier report"), compared.length);
  assert.deepEqual(complaints, []);
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  console.log(`${report.kernels.length} kernels, ${counted.length} dots, ${compared.length} compared`);
} finally {
  await browser.close();
}
