// Opens a page in Chromium and prints what its `window.told` comes to.
import { chromium } from "playwright-core";

const [, , executablePath, address, profile] = process.argv;
const args = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args: args.split(" ") });
try {
  const page = await context.newPage();
  page.on("console", (message) => console.error(message.text()));
  page.on("pageerror", (error) => console.error(error));
  await page.goto(address);
  await page.waitForFunction("window.told !== undefined", undefined, { timeout: 60_000 });
  console.log(JSON.stringify(await page.evaluate("window.told")));
} finally {
  await context.close();
}
