// The event log: what the device says to everybody, what this page has sent, and what came back. It
// is searched as it stands, and bounded.

import { add, clock, fill, h, section, setText } from "./dom";
import { type Drawn, drawSoon } from "./frames";

const KEPT_MAX = 2000;
const SHOWN_MAX = 200; // lines in the page; the search finds the others
const NAME_MAX = 300; // characters of who or what it is about
const SEARCHED_MAX = 4000; // characters of a line that are searched and shown

type Kind = "event" | "sent" | "answer" | "error" | "device";

interface Line {
  at: number;
  kind: Kind;
  name: string;
  text: string;
  haystack: string;
}

export class Log implements Drawn {
  readonly element: HTMLElement;
  #lines: Line[] = [];
  #fresh: Line[] = [];
  #list = h("ol", { class: "log", tabindex: 0, "aria-label": "Events, the newest first" });
  #count = h("span", { class: "note", role: "status" });
  #search: HTMLInputElement;
  #pause: HTMLButtonElement;
  #paused = false;
  #dropped = 0;

  constructor() {
    this.#search = h("input", {
      type: "search",
      placeholder: "Search",
      "aria-label": "Search in the event log",
      autocomplete: "off",
      on: { input: () => this.#again() },
    });
    this.#pause = h("button", { type: "button", class: "small", "aria-pressed": "false", on: { click: () => {
      this.#paused = !this.#paused;
      this.#pause.setAttribute("aria-pressed", String(this.#paused));
      if (!this.#paused) this.#again();
    } } }, "Pause");
    const clear = h("button", { type: "button", class: "small", on: { click: () => this.reset() } }, "Clear");
    const { element, body } = section("log", "Event log", this.#count, this.#pause, clear);
    add(body, this.#search, this.#list);
    this.element = element;
  }

  put(kind: Kind, name: string, text: string, at = Date.now() / 1000): void {
    const shown = text.length > SEARCHED_MAX ? `${text.slice(0, SEARCHED_MAX)}…` : text;
    name = name.slice(0, NAME_MAX);
    const line = { at, kind, name, text: shown, haystack: `${kind} ${name} ${shown}`.toLowerCase() };
    this.#lines.push(line);
    if (this.#lines.length > KEPT_MAX * 1.1) this.#lines.splice(0, this.#lines.length - KEPT_MAX);
    this.#fresh.push(line);
    if (this.#fresh.length > SHOWN_MAX) this.#fresh.shift();
    if (!this.#paused) drawSoon(this);
  }

  dropped(count: number): void {
    this.#dropped = count;
    drawSoon(this);
  }

  draw(): void {
    const fresh = this.#fresh.filter((line) => this.#fits(line));
    this.#fresh = [];
    if (fresh.length > 0) {
      this.#list.prepend(...fresh.reverse().map(makeLine));
      while (this.#list.children.length > SHOWN_MAX) this.#list.lastElementChild?.remove();
    }
    this.#tell();
  }

  #fits(line: Line): boolean {
    const words = this.#search.value.toLowerCase().split(/\s+/);
    return words.every((word) => line.haystack.includes(word));
  }

  #again(): void {
    this.#fresh = [];
    const found = this.#lines.filter((line) => this.#fits(line)).slice(-SHOWN_MAX);
    fill(this.#list, ...found.reverse().map(makeLine));
    this.#tell();
  }

  #tell(): void {
    const parts = [`${this.#lines.length} lines`];
    if (this.#search.value.trim()) parts[0] = `${this.#list.children.length} found`;
    if (this.#dropped > 0) parts.push(`${this.#dropped} values or events dropped: this page is slow`);
    setText(this.#count, parts.join(", "));
  }

  reset(): void {
    this.#lines = [];
    this.#again();
  }
}

function makeLine(line: Line): HTMLElement {
  return h(
    "li",
    { class: `is-${line.kind}` },
    h("time", {}, clock(line.at)),
    h("span", { class: "kind" }, line.kind),
    h("span", { class: "name" }, line.name),
    h("code", {}, line.text),
  );
}
