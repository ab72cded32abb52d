// Statistics of the device over time: as it counts by itself, asked once a second.

import { add, h, section, setText } from "./dom";
import { Plot, short } from "./plot";

const SECONDS = 600;

type Numbers = Record<string, unknown>;

interface Series {
  name: string;
  title: string;
  value: (now: Numbers, before: Numbers | null, seconds: number) => number | null;
}

function number(from: Numbers | null, name: string): number | null {
  const value = from?.[name];
  return typeof value === "number" ? value : null;
}

/** How fast a counter goes up. */
function rate(name: string): Series["value"] {
  return (now, before, seconds) => {
    const [one, other] = [number(now, name), number(before, name)];
    if (one === null || other === null || one < other || seconds <= 0) return null;
    return (one - other) / seconds;
  };
}

function level(name: string): Series["value"] {
  return (now) => number(now, name);
}

const SERIES: Series[] = [
  { name: "Commands/s", title: "handlers called, the console's own questions too", value: rate("started") },
  { name: "Waiting", title: "commands accepted and not started", value: level("waiting") },
  { name: "Outbox", title: "responses and events not yet acknowledged by the broker", value: level("outbox") },
  { name: "Journal/s", title: "operations written to the journal", value: rate("journal_operations") },
  { name: "Jobs running", title: "jobs that run, or clean up", value: level("jobs_running") },
  { name: "Published/s", title: "responses and events acknowledged by the broker", value: rate("published") },
];

const TOTALS = ["succeeded", "failed", "refused", "links_lost", "jobs_started", "subscriptions"];

class Tile {
  readonly element: HTMLElement;
  #plot: Plot;
  #now = h("span", { class: "now" }, "–");

  constructor(readonly series: Series, colour: number) {
    this.#plot = new Plot([series.name], { height: 60, points: SECONDS, seconds: 120, fromZero: true, bare: true, colour });
    this.element = h(
      "div",
      { class: "tile" },
      h("p", { class: "label", title: series.title }, series.name, this.#now),
      this.#plot.element,
    );
  }

  put(at: number, value: number | null): void {
    setText(this.#now, value === null ? "–" : short(Math.round(value * 10) / 10));
    this.#plot.put(at, [value]);
  }

  remove(): void {
    this.#plot.remove();
  }
}

export class Statistics {
  readonly element: HTMLElement;
  #tiles: Tile[] = [];
  #grid = h("div", { class: "tiles" });
  #totals = new Map<string, HTMLElement>();
  #note = h("span", { class: "note" });
  #before: { at: number; numbers: Numbers } | null = null;

  constructor() {
    const { element, body } = section("statistics", "Statistics", this.#note);
    const list = h("dl", { class: "totals" });
    for (const name of TOTALS) {
      const cell = h("dd", {}, "–");
      this.#totals.set(name, cell);
      add(list, h("div", {}, h("dt", {}, name.replace("_", " ")), cell));
    }
    add(body, this.#grid, list);
    this.element = element;
    this.reset();
  }

  take(at: number, statistics: unknown): void {
    if (typeof statistics !== "object" || statistics === null) return;
    const numbers = statistics as Numbers;
    const seconds = this.#before ? at - this.#before.at : 0;
    for (const tile of this.#tiles) {
      tile.put(at, tile.series.value(numbers, this.#before?.numbers ?? null, seconds));
    }
    this.#before = { at, numbers };
    for (const [name, cell] of this.#totals) setText(cell, total(numbers[name]));
    setText(this.#note, "");
  }

  /** The device does not answer. */
  silent(error: string): void {
    setText(this.#note, error.slice(0, 200));
  }

  reset(): void {
    for (const tile of this.#tiles) tile.remove();
    this.#tiles = SERIES.map((one, index) => new Tile(one, index));
    this.#grid.replaceChildren(...this.#tiles.map((one) => one.element));
    this.#before = null;
    for (const cell of this.#totals.values()) setText(cell, "–");
    setText(this.#note, "");
  }
}

function total(value: unknown): string {
  if (typeof value === "number") return value.toLocaleString("en");
  if (typeof value !== "object" || value === null) return "–";
  const counts = Object.entries(value).filter(([, count]) => typeof count === "number");
  const sum = counts.reduce((all, [, count]) => all + (count as number), 0);
  const by = counts.map(([code, count]) => `${code} ${count}`).join(", ");
  return by ? `${sum} (${by.slice(0, 300)})` : String(sum);
}
