// A browser for the scripts of this folder: Debian's Chromium, driven by playwright-core, which brings
// none of its own.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Where Chromium is; PETALKIT_CHROMIUM takes precedence. */
export function findChromium() {
  const found = process.env.PETALKIT_CHROMIUM ?? PLACES.find((place) => existsSync(place));
  if (!found) throw new Error("no Chromium: apt-get install --no-install-recommends chromium");
  return found;
}

export function launch() {
  return chromium.launch({
    executablePath: findChromium(),
    args: [
      ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []), // which root cannot have
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--hide-scrollbars",
    ],
  });
}
