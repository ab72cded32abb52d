// Streams that are watched: for each a card with its latest values and a plot of its numbers.

import { add, announce, fill, h, section, setText } from "./dom";
import { type Drawn, drawSoon, forget } from "./frames";
import { Plot, short } from "./plot";

const SERIES_MAX = 6; // of one stream that are drawn; all of its values are shown
const SHOWN_MAX = 24; // values of one stream that are shown
const POINTS = 900;
const SECONDS = 60;
const TEXT_MAX = 2000; // characters of a value that is no number

interface Leaf {
  path: string;
  value: number | string;
}

/** The numbers and texts in a value, by where they stand. */
export function leaves(value: unknown): Leaf[] {
  const found: Leaf[] = [];
  const walk = (path: string, one: unknown, depth: number): void => {
    if (found.length >= SHOWN_MAX) return;
    if (typeof one === "number") found.push({ path, value: one });
    else if (Array.isArray(one) && depth < 4) one.forEach((inner, i) => walk(`${path}[${i}]`, inner, depth + 1));
    else if (typeof one === "object" && one !== null && depth < 4) {
      for (const [name, inner] of Object.entries(one)) walk(path ? `${path}.${name}` : name, inner, depth + 1);
    } else found.push({ path, value: typeof one === "string" ? one : (JSON.stringify(one) ?? "") });
  };
  walk("", value, 0);
  return found;
}

class Card implements Drawn {
  readonly element: HTMLElement;
  #state = h("span", { class: "state" }, "waiting");
  #error = h("p", { class: "error" });
  #values = h("dl", { class: "values" });
  #cells = new Map<string, HTMLElement>();
  #plot: Plot | null = null;
  #series: string[] = [];
  #latest: Leaf[] = [];
  #shape: string | null = null;
  rate: number;

  constructor(
    readonly name: string,
    rate: number,
    stop: () => void,
  ) {
    this.rate = rate;
    this.element = h(
      "article",
      { class: "card", "aria-label": `Stream ${name}` },
      h(
        "div",
        { class: "head" },
        h("h3", {}, name),
        this.#state,
        h("button", { type: "button", class: "small", "aria-label": `Stop ${name}`, on: { click: stop } }, "Stop"),
      ),
      this.#error,
      this.#values,
    );
  }

  say(state: string, rate: number | undefined, error: string | null | undefined): void {
    setText(this.#state, state === "live" ? `live ${short(rate ?? this.rate)} Hz` : state);
    this.#state.className = `state ${state}`;
    setText(this.#error, error ?? "");
  }

  put(at: number, value: unknown): void {
    this.#latest = leaves(value);
    const numbers = this.#latest.filter((one) => typeof one.value === "number");
    const names = numbers.slice(0, SERIES_MAX).map((one) => one.path);
    if (names.some((name) => !this.#series.includes(name)) && this.#series.length < SERIES_MAX) {
      this.#begin([...new Set([...this.#series, ...names])].slice(0, SERIES_MAX));
    }
    if (this.#plot) {
      const by = new Map(numbers.map((one) => [one.path, one.value as number]));
      this.#plot.put(at, this.#series.map((name) => by.get(name) ?? null));
    }
    drawSoon(this);
  }

  #begin(names: string[]): void {
    this.#plot?.remove();
    this.#series = names;
    this.#plot = new Plot(names, { height: 150, points: POINTS, seconds: SECONDS });
    this.element.append(this.#plot.element);
    this.#shape = null;
  }

  draw(): void {
    // A value of other fields than the last one has other cells, or there would be more and more.
    const shape = this.#latest.map((one) => one.path).join("\n");
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#cells.clear();
      fill(this.#values);
    }
    for (const { path, value } of this.#latest) {
      let cell = this.#cells.get(path);
      if (!cell) {
        cell = h("dd", {});
        const series = this.#series.indexOf(path);
        const swatch = series >= 0 && h("span", { class: `swatch series-${series}` });
        add(this.#values, h("div", {}, h("dt", {}, swatch, path || "value"), cell));
        this.#cells.set(path, cell);
      }
      setText(cell, typeof value === "number" ? short(value) : value.slice(0, TEXT_MAX));
    }
  }

  remove(): void {
    forget(this);
    this.#plot?.remove();
    this.element.remove();
  }
}

export class Streams {
  readonly element: HTMLElement;
  #cards = new Map<string, Card>();
  #grid = h("div", { class: "grid" });
  #empty = h("p", { class: "empty" }, "No stream is watched. Choose one on the left.");
  #count = h("span", { class: "note" });

  constructor(
    private readonly send: (asked: { ask: string; stream: string; rate?: number }) => void,
    private readonly changed: () => void,
  ) {
    const { element, body } = section("streams", "Streams", this.#count);
    add(body, this.#empty, this.#grid);
    this.element = element;
  }

  watch(name: string, rate: number): void {
    this.#cards.get(name)?.remove();
    const card = new Card(name, rate, () => {
      this.unwatch(name);
      announce(`${name} is not watched any more`);
      document.getElementById("streams-title")?.focus();
    });
    this.#cards.set(name, card);
    this.#grid.append(card.element);
    this.send({ ask: "watch", stream: name, rate });
    this.#show();
  }

  unwatch(name: string): void {
    this.#cards.get(name)?.remove();
    if (this.#cards.delete(name)) this.send({ ask: "unwatch", stream: name });
    this.#show();
  }

  watches(name: string): boolean {
    return this.#cards.has(name);
  }

  /** Asks again for what is watched: the connection is another one. */
  renew(): void {
    for (const card of this.#cards.values()) {
      this.send({ ask: "watch", stream: card.name, rate: card.rate });
    }
  }

  say(name: string, state: string, rate: number | undefined, error: string | null | undefined): void {
    this.#cards.get(name)?.say(state, rate, error);
  }

  put(name: string, at: number, value: unknown): void {
    this.#cards.get(name)?.put(at, value);
  }

  reset(): void {
    for (const card of this.#cards.values()) card.remove();
    this.#cards.clear();
    this.#show();
  }

  #show(): void {
    this.#empty.hidden = this.#cards.size > 0;
    setText(this.#count, this.#cards.size > 0 ? `${this.#cards.size} watched` : "");
    this.changed();
  }
}
