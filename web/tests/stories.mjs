// What people do with the console, in a real browser, on the devices of tests/cli/console/site.py.
//
//   node stories.mjs ADDRESS          prints one line of JSON per story: {"name", "error"}
//   node stories.mjs ADDRESS NAME     that one only

import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { launch } from "./browser.mjs";

const [address, only] = process.argv.slice(2);
const base = new URL(address);
const token = base.hash.slice(1);
const HOSTILE = "<img src=x onerror=window.hit=1>";
const LIMIT = 15_000; // ms of one wait
const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 360, height: 740 };

const stories = new Map();
const story = (name, run, options = {}) => stories.set(name, { run, options });

function option(page, name) {
  return page.getByRole("option", { name, exact: true });
}

/** Makes the first moves of the demo not happen: a story begins with nothing under way. */
async function still(page) {
  await page.addInitScript(() => sessionStorage.setItem("petalkit-moved", "yes"));
}

async function open(page) {
  await page.goto(address);
  await option(page, "job flight-log/fetch").waitFor();
}

async function choose(page, name) {
  await option(page, name).click();
  await page.getByRole("heading", { name: name.split(" ")[1], level: 2 }).waitFor();
}

story("a job is started, watched and cancelled by clicks", async (page) => {
  await open(page);
  await choose(page, "job flight-log/fetch");
  await page.getByRole("textbox", { name: "record", exact: true }).fill("clicked.ulg");
  await page.getByRole("button", { name: "Start job" }).click();
  const row = page.locator(".job", { hasText: "clicked.ulg" });
  await row.waitFor();
  const bar = row.getByRole("progressbar");
  const before = await bar.evaluate((one) => one.value);
  await page.waitForFunction(
    ([id, value]) => document.querySelector(`[data-job="${id}"] progress`).value > value,
    [await row.getAttribute("data-job"), before],
  );
  await row.getByRole("button", { name: /^Cancel flight-log\/fetch/ }).click();
  await row.locator(".state.cancelled").waitFor();
  assert.equal(await row.getByRole("button", { name: /^Cancel/ }).count(), 0);
});

story("a job's result is shown at its end", async (page) => {
  await open(page);
  await choose(page, "job flight-log/fetch");
  await page.getByLabel("megabytes").fill("1");
  await page.getByRole("button", { name: "Start job" }).click();
  const row = page.locator(".job", { has: page.locator(".state.succeeded") });
  await row.waitFor();
  await row.getByText("Result").click();
  await row.getByText('"damaged": false').waitFor();
});

story("a job that waits has its name and its place at once", async (page) => {
  await open(page);
  await choose(page, "job flight-log/fetch");
  await page.getByLabel("megabytes").fill("4000");
  const started = [];
  for (let number = 0; number < 4; number += 1) { // one more than run at once
    await page.getByRole("button", { name: "Start job" }).click();
    await page.waitForFunction((before) => {
      const text = document.querySelector(".answer pre")?.textContent ?? "{}";
      const id = JSON.parse(text).job_id;
      return id !== undefined && !before.includes(id);
    }, started);
    started.push(JSON.parse(await page.locator(".answer pre").textContent()).job_id);
  }
  const last = page.locator(`[data-job="${started[3]}"]`);
  const waits = last.locator(".state", { hasText: "accepted, number 1 in the queue" });
  await waits.waitFor({ timeout: 2000 });
  await page.locator("#jobs .note", { hasText: "3 running, 1 waiting, 0 ended" }).waitFor();
  await page.reload(); // from here on it is known from the list alone
  await waits.waitFor();
  await last.getByRole("heading", { name: "flight-log/fetch" }).waitFor({ timeout: 2000 });
  for (const id of started.reverse()) {
    const row = page.locator(`[data-job="${id}"]`);
    await row.getByRole("button", { name: /^Cancel flight-log\/fetch/ }).click();
    await row.locator(".state.cancelled, .state.forgotten").waitFor();
  }
});

story("JSON that was typed is still there after a look at the form", async (page) => {
  await open(page);
  await choose(page, "command flight-log/plan");
  const toggle = page.getByRole("button", { name: "Edit as JSON" });
  const area = page.getByLabel("Arguments, a JSON object");
  await toggle.click();
  await area.fill('{"speed": 3}');
  await toggle.click();
  await toggle.click();
  assert.equal(await area.inputValue(), '{"speed": 3}');
  await toggle.click();
  await page.getByLabel("speed").fill("4");
  await toggle.click();
  assert.equal(JSON.parse(await area.inputValue()).speed, 4);
});

story("a command is called by its form, with nested objects and lists", async (page) => {
  await open(page);
  await choose(page, "command flight-log/plan");
  await page.getByLabel("latitude").fill("47.5");
  await page.getByLabel("longitude").fill("8.25");
  await page.getByRole("button", { name: "Add to waypoints" }).click();
  await page.getByLabel("latitude").nth(1).fill("-90");
  await page.getByLabel("longitude").nth(1).fill("180");
  await page.getByLabel("mode").selectOption("orbit");
  await page.getByLabel("note").fill("<b>low</b>");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".verdict.good").waitFor();
  const answer = JSON.parse(await page.locator(".answer pre").textContent());
  assert.deepEqual(
    [answer.accepted, answer.mode, answer.speed, answer.note],
    [2, "orbit", 8.0, "<b>low</b>"],
  );
  await page.getByRole("button", { name: "Edit as JSON" }).click();
  const json = JSON.parse(await page.getByLabel("Arguments, a JSON object").inputValue());
  assert.deepEqual(json.waypoints[1], { latitude: -90, longitude: 180 });
});

story("ranges are held by the form, and errors are shown at their fields", async (page) => {
  await open(page);
  await choose(page, "command flight-log/plan");
  const latitude = page.getByLabel("latitude");
  await latitude.fill("91");
  await page.getByLabel("longitude").fill("0");
  await page.getByRole("button", { name: "Send" }).click();
  assert.equal(await latitude.evaluate((one) => one.validity.rangeOverflow), true);
  assert.equal(await page.locator(".answer").textContent(), "");
  await page.getByText("from -90 to 90").waitFor();
  await latitude.evaluate((one) => one.removeAttribute("max")); // as if the device knew it alone
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".verdict", { hasText: "INVALID_DATA" }).waitFor();
  assert.equal(await latitude.getAttribute("aria-invalid"), "true");
  assert.match(await page.locator(".field .error", { hasText: "90" }).textContent(), /at most 90/);
});

story("a refusal of the petal is shown with its code and text", async (page) => {
  await open(page);
  await choose(page, "command flight-log/erase");
  await page.getByRole("textbox", { name: "record", exact: true }).fill("flight-0042.ulg");
  await page.keyboard.press("Enter");
  await page.locator(".verdict.bad", { hasText: "CARD_LOCKED" }).waitFor();
  await page.locator(".answer .words", { hasText: "the card is locked" }).waitFor();
});

story("integers of 64 bits are sent and shown as they are", async (page) => {
  await open(page);
  await choose(page, "command example-petal/hello");
  await page.getByRole("button", { name: "Edit as JSON" }).click();
  await page.getByLabel("Arguments, a JSON object").fill('{"name": 9007199254740993}');
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".verdict.bad").waitFor();
  await page.locator("#log").getByText("9007199254740993").first().waitFor();
});

story("a stream is plotted, and stopped", async (page) => {
  await open(page);
  await choose(page, "stream flight-log/attitude");
  await page.getByRole("button", { name: "Watch" }).click();
  const card = page.getByRole("article", { name: "Stream flight-log/attitude" });
  await card.locator(".state.live").waitFor();
  const roll = card.locator("dd").first();
  const before = await roll.textContent();
  await page.waitForFunction(
    (text) => document.querySelector("#streams dd").textContent !== text,
    before,
  );
  await page.waitForTimeout(500);
  const drawn = await card.locator("canvas").evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value) => value > 0);
  });
  assert.equal(drawn, true);
  await card.getByRole("button", { name: "Stop flight-log/attitude" }).click();
  await page.getByText("No stream is watched").waitFor();
});

story("the event log is searched", async (page) => {
  await open(page);
  await choose(page, "command flight-log/records");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".verdict.good").waitFor();
  const log = page.locator("#log");
  await log.locator("li").first().waitFor();
  await page.getByLabel("Search in the event log").fill("answer records");
  await page.waitForFunction(() =>
    [...document.querySelectorAll("#log li")].every((one) => one.className === "is-answer"),
  );
  await log.getByText("1 found").waitFor();
  await page.getByLabel("Search in the event log").fill("no such thing");
  await log.getByText("0 found").waitFor();
});

story("statistics go on by themselves", async (page) => {
  await open(page);
  await page.waitForFunction(() => {
    const cells = [...document.querySelectorAll(".totals dd")];
    return Number(cells[0].textContent) > 2;
  });
  assert.equal(await page.locator("#statistics canvas").count(), 6);
});

story("what a hostile device says is text", async (page) => {
  await open(page);
  await page.getByRole("option", { name: `${HOSTILE}, online` }).click();
  for (const name of ["command bad/command", "job bad/job", "stream bad/stream"]) {
    await choose(page, name);
    await page.locator("details.schemas summary").click();
    await page.waitForTimeout(200);
  }
  // The device says that it may be read at 1e9 Hz, which the console does not take.
  const rate = page.getByLabel("values per second");
  assert.equal(await rate.getAttribute("max"), "100");
  await page.getByRole("button", { name: "Watch" }).click();
  await page.locator("#streams .values dt", { hasText: "onerror" }).first().waitFor();
  await choose(page, "command bad/command");
  await page.getByRole("button", { name: "Edit as JSON" }).click();
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".verdict.bad").waitFor();
  await page.getByRole("button", { name: "Edit as JSON" }).click(); // the form, with all its fields
  await page.waitForTimeout(2500);
  for (const part of ["#served", "#command", "#jobs", "#statistics", "#log"]) {
    assert.match(await page.locator(part).textContent(), /<img src=x onerror=/, part);
  }
  const found = await page.evaluate(() => ({
    hit: window.hit,
    images: document.images.length,
    scripts: document.body.querySelectorAll("script, iframe, object, style, [onerror]").length,
    polluted: Object.keys(Object.prototype).length,
  }));
  assert.deepEqual(found, { hit: undefined, images: 0, scripts: 0, polluted: 0 });
  // And the page still works.
  await page.getByRole("option", { name: "Instance-1, online" }).click();
  await choose(page, "command example-petal/hello");
  await page.getByLabel("name").fill("you");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("Hello, you!").first().waitFor();
});

story("the token leaves the address, and the tab keeps it", async (page, context) => {
  await open(page);
  assert.equal(page.url(), `${base.origin}/`);
  await page.reload();
  await option(page, "job flight-log/fetch").waitFor();
  assert.deepEqual(await context.cookies(), []);
  const other = await context.newPage();
  await other.goto(base.origin);
  await other.getByText("this one has no token").waitFor();
});

story("a wrong token is refused, and another address in the same tab is taken", async (page) => {
  await page.goto(`${base.origin}/#${"x".repeat(token.length)}`);
  await page.getByText("does not let this page in").waitFor();
  assert.equal(await page.getByRole("option").count(), 0);
  await page.goto(address);
  await option(page, "job flight-log/fetch").waitFor();
}, { mayFail: true });

story("a page that has lost its connection comes back, and goes on", async (page) => {
  await page.addInitScript(() => {
    const Real = window.WebSocket;
    window.sockets = [];
    window.WebSocket = class extends Real {
      constructor(...given) {
        super(...given);
        window.sockets.push(this);
      }
    };
  });
  await open(page);
  await choose(page, "stream flight-log/altitude");
  await page.getByRole("button", { name: "Watch" }).click();
  await page.locator("#streams dd").first().waitFor();
  await page.evaluate(() => window.sockets[0].close());
  await page.getByRole("alert").getByText("Trying again").waitFor();
  const before = await page.locator("#streams dd").first().textContent();
  await page.waitForFunction(() => window.sockets.length === 2);
  await page.waitForFunction(
    (text) => document.querySelector("#streams dd").textContent !== text,
    before,
  );
  assert.equal(await page.getByRole("alert").isVisible(), false);
  await choose(page, "command example-petal/hello");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("Hello, World!").first().waitFor();
});

story("a wrong Host is refused", async () => {
  const ask = (host) =>
    new Promise((resolve, reject) => {
      const asked = request({ host: base.hostname, port: base.port, headers: { host } });
      asked.on("response", (response) => resolve(response.resume().statusCode));
      asked.on("error", reject);
      asked.end();
    });
  assert.equal(await ask(base.host), 200);
  assert.equal(await ask(`localhost:${base.port}`), 200);
  for (const host of ["evil.example", `evil.example:${base.port}`, "127.0.0.1:1"]) {
    assert.equal(await ask(host), 421);
  }
});

story("a page of another origin gets no WebSocket, with the token neither", async (page) => {
  const connects = ([url, offered]) =>
    new Promise((resolve) => {
      const socket = new WebSocket(url, ["petalkit.console", offered]);
      socket.onopen = () => resolve(true);
      socket.onclose = () => resolve(false);
    });
  const asked = [`ws://${base.host}/bridge`, `token.${token}`];
  // Another server on this machine: from elsewhere, Chromium itself lets nobody come here.
  const other = createServer((_, response) => response.end("<p>another origin"));
  await new Promise((resolve) => other.listen(0, "127.0.0.1", resolve));
  const said = [];
  page.on("console", (one) => said.push(one.text()));
  await page.goto(`http://127.0.0.1:${other.address().port}/`);
  assert.equal(await page.evaluate(connects, asked), false);
  other.close();
  assert.match(said.join(), /Unexpected response code: 403/);
  await page.goto(`${base.origin}/icon.svg`);
  assert.equal(await page.evaluate(connects, asked), true);
}, { mayFail: true });

story("everything is done by keyboard", async (page) => {
  await open(page);
  const focused = () =>
    page.evaluate(() => {
      const one = document.activeElement;
      const style = getComputedStyle(one);
      return {
        text: one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent ?? one.textContent,
        outline: `${style.outlineStyle} ${style.outlineWidth}`,
      };
    });
  const tabTo = async (pattern, most = 40) => {
    for (let step = 0; step < most; step += 1) {
      await page.keyboard.press("Tab");
      const now = await focused();
      assert.match(now.outline, /^(solid|auto) [1-9]/, `no visible focus on ${now.text}`);
      if (pattern.test(now.text)) return;
    }
    assert.fail(`Tab does not come to ${pattern}`);
  };
  await page.keyboard.press("Tab");
  assert.match((await focused()).text, /Skip to the command/);
  await tabTo(/Filter commands/);
  await tabTo(/^job flight-log\/fetch/); // the list is one stop
  await page.keyboard.press("End");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "flight-log/fetch", level: 2 }).waitFor();
  assert.equal((await focused()).text, "flight-log/fetch"); // where its form begins
  await tabTo(/^record/);
  await page.keyboard.type("typed.ulg");
  await tabTo(/^Start job/);
  await page.keyboard.press("Enter");
  const row = page.locator(".job", { hasText: "typed.ulg" });
  await row.waitFor();
  const id = await row.getAttribute("data-job");
  await tabTo(new RegExp(`^Cancel flight-log/fetch ${id}`));
  await page.keyboard.press("Space");
  await row.locator(".state.cancelled").waitFor();
  assert.match(await page.locator("[aria-live=polite].hidden").textContent(), /cancelled|asked/);
});

story("every control has a name, and lists and sections have roles", async (page) => {
  await open(page);
  for (const name of ["command flight-log/plan", "job flight-log/fetch", "stream flight-log/altitude"]) {
    await choose(page, name);
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll("button, input, select, textarea, progress, [role=listbox]")]
        .filter((one) => !(one.getAttribute("aria-label") || one.labels?.length || (one.tagName === "BUTTON" && one.textContent)))
        .map((one) => one.outerHTML),
    );
    assert.deepEqual(nameless, []);
  }
  const regions = await page.getByRole("region").count();
  assert.equal(regions, 7);
});

story("at 360 pixels nothing scrolls sideways", async (page) => {
  await page.setViewportSize(NARROW);
  await open(page);
  const fits = async (what) => {
    const widths = await page.evaluate(() => ({
      page: document.documentElement.scrollWidth,
      wide: [...document.querySelectorAll("body *")]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest("pre, .hidden, .skip, .jumps, .uplot, .log code"))
        .map((one) => one.outerHTML.slice(0, 120)),
    }));
    assert.deepEqual(widths, { page: NARROW.width, wide: [] }, what);
  };
  for (const name of ["command flight-log/plan", "job flight-log/fetch", "stream flight-log/attitude"]) {
    await choose(page, name);
    await fits(name);
  }
  await page.getByRole("button", { name: "Watch" }).click();
  await page.getByRole("link", { name: "Streams" }).click(); // what cannot be seen is not drawn
  await page.locator("#streams canvas").first().waitFor();
  await page.getByRole("link", { name: "Log" }).click();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Event log");
  await fits("a stream");
  await page.getByRole("option", { name: `${HOSTILE}, online` }).click();
  await choose(page, "command bad/command");
  await page.waitForTimeout(1000);
  await fits("the hostile device");
});

for (const scheme of ["light", "dark"]) {
  story(`text can be read in ${scheme}`, async (page) => {
    await page.emulateMedia({ colorScheme: scheme });
    await open(page);
    await choose(page, "command flight-log/plan");
    await page.getByLabel("latitude").fill("1");
    await page.getByLabel("longitude").fill("1");
    await page.getByRole("button", { name: "Send" }).click();
    await page.locator(".verdict.good").waitFor();
    const ground = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    assert.equal(/rgb\((\d+)/.exec(ground)[1] < 60, scheme === "dark");
    const pale = await page.evaluate(contrasts);
    assert.deepEqual(pale, []);
  });
}

/** Runs in the page: which texts have less than 4.5 to 1 (WCAG 2, 1.4.3). */
function contrasts() {
  const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((one) => {
      const part = one / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a > 0.99) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const one of document.querySelectorAll("body *")) {
    const hasText = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!hasText || !one.checkVisibility() || one.closest(":disabled, .hidden")) continue;
    const [low, high] = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.push(`${one.className} ${one.textContent.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return found;
}

story("the first look shows a job under way, a stream, and an error that was answered", async (page) => {
  await page.goto(address);
  await page.locator(".job .state.running").first().waitFor();
  await page.getByRole("article", { name: "Stream flight-log/attitude" }).locator("canvas").waitFor();
  await page.locator(".verdict.bad", { hasText: "INVALID_DATA" }).waitFor();
  await page.locator(".answer .words", { hasText: "expected a string, got a number" }).waitFor();
}, { moves: true });

const browser = await launch();
let failed = 0;
for (const [name, { run, options }] of stories) {
  if (only && !name.includes(only)) continue;
  const context = await browser.newContext({ viewport: WIDE });
  context.setDefaultTimeout(LIMIT);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`error in the page: ${error.message}`));
  page.on("console", (said) => {
    if (said.type() === "error" && !options.mayFail) complaints.push(said.text());
  });
  page.on("request", (asked) => {
    const { protocol, hostname } = new URL(asked.url());
    if (protocol !== "data:" && !["127.0.0.1", "localhost"].includes(hostname)) complaints.push(`asks ${asked.url()}`);
  });
  if (!options.moves) await still(page);
  let error = null;
  try {
    await run(page, context);
    assert.deepEqual(complaints, []);
  } catch (raised) {
    error = String(raised.stack ?? raised);
    failed += 1;
    if (process.env.PETALKIT_SHOTS) {
      await page.screenshot({ path: `${process.env.PETALKIT_SHOTS}/${name.replaceAll(/\W+/g, "-")}.png`, fullPage: true });
    }
  }
  console.log(JSON.stringify({ name, error }));
  await context.close();
}
await browser.close();
process.exitCode = failed > 0 ? 1 : 0;
