// How many frames per second the page holds while streams are plotted.
//
//   node frames.mjs ADDRESS SECONDS HEIGHT     prints one line of JSON

import { launch } from "./browser.mjs";

const [address, seconds, height] = process.argv.slice(2);
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1440, height: Number(height) } });
await page.goto(address); // where the page watches the streams by itself
await page.waitForFunction(() => document.querySelectorAll("#streams .state.live").length >= 50, null, { timeout: 60_000 });
await page.locator("#streams").scrollIntoViewIfNeeded();
await page.waitForTimeout(5000);
const cdp = await page.context().newCDPSession(page);
await cdp.send("Performance.enable");
const metrics = async () =>
  Object.fromEntries((await cdp.send("Performance.getMetrics")).metrics.map((one) => [one.name, one.value]));
const before = await metrics();
const gaps = await page.evaluate(
  (limit) =>
    new Promise((resolve) => {
      const found = [];
      let last = performance.now();
      const end = last + limit;
      const next = (now) => {
        found.push(now - last);
        last = now;
        if (now < end) requestAnimationFrame(next);
        else resolve(found.slice(1));
      };
      requestAnimationFrame(next);
    }),
  Number(seconds) * 1000,
);
const after = await metrics();
const plots = await page.locator("#streams canvas").count();
const dropped = await page.locator("#log .note").textContent();
await browser.close();
gaps.sort((a, b) => a - b);
const at = (part) => gaps[Math.min(gaps.length - 1, Math.floor(gaps.length * part))];
const total = gaps.reduce((sum, one) => sum + one, 0);
const spent = (name) => (after[name] - before[name]) / (after.Timestamp - before.Timestamp);
console.log(
  JSON.stringify({
    fps: (gaps.length / total) * 1000,
    median: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    worst: at(1),
    late: gaps.filter((one) => one > 25).length / gaps.length,
    frames: gaps.length,
    plots,
    dropped: dropped.includes("dropped"),
    thread: spent("TaskDuration"),
    script: spent("ScriptDuration"),
    layout: spent("LayoutDuration") + spent("RecalcStyleDuration"),
  }),
);
