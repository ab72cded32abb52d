// The pictures of docs/console.md, of the real page on the demo's device.
//
//   node pictures.mjs ADDRESS FOLDER SECONDS     after so many seconds of streams

import { join } from "node:path";
import { launch } from "./browser.mjs";

const [address, folder, seconds] = process.argv.slice(2);
const browser = await launch();

async function open(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  await page.goto(address);
  await page.locator(".job .state.running").first().waitFor({ timeout: 60_000 });
  await page.locator("#streams .state.live").nth(1).waitFor();
  return page;
}

const wide = await open({ viewport: { width: 1360, height: 1080 }, colorScheme: "light" });
await wide.getByRole("option", { name: "command flight-log/plan" }).click();
await wide.getByLabel("latitude").fill("47.37");
await wide.getByLabel("longitude").fill("8.54");
await wide.getByLabel("mode").selectOption("orbit");
await wide.getByRole("button", { name: "Send" }).click();
await wide.locator(".verdict.good").waitFor();
await wide.waitForTimeout(Number(seconds) * 1000);
await wide.evaluate(() => {
  document.activeElement.blur();
  scrollTo(0, 0);
});
await wide.screenshot({ path: join(folder, "console.png") });

const phone = await open({ viewport: { width: 390, height: 780 }, colorScheme: "dark" });
await phone.getByRole("link", { name: "Jobs" }).click();
await phone.waitForTimeout(Number(seconds) * 500);
await phone.evaluate(() => document.activeElement.blur());
await phone.screenshot({ path: join(folder, "console-phone.png") });
await browser.close();
