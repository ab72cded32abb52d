// What was chosen of a device: a command or a job with its form and the answer, or a stream.

import { add, announce, duration, fill, h, section, setText } from "./dom";
import { type Field, isJson, isSchema, makeArea, makeForm, partsOf } from "./form";
import type { Answer, Described, Schema } from "./wire";

export type Kind = "command" | "job" | "stream";

export interface Chosen {
  kind: Kind;
  name: string;
  /** What the device says of it; null where it has told the name only. */
  said: Described | null;
}

export interface Actions {
  call(command: string, data: string, timeout: number): Promise<Answer>;
  describe(chosen: Chosen): Promise<Described | null>;
  watch(stream: string, rate: number): void;
  unwatch(stream: string): void;
  watches(stream: string): boolean;
}

export class Command {
  readonly element: HTMLElement;
  #body: HTMLElement;
  #heading: HTMLElement;
  #kind = h("span", { class: "badge" });
  #chosen: Chosen | null = null;
  #form: Field | null = null;
  #area: Field | null = null; // in the place of the form, when JSON is edited
  #left: { area: Field; from: string } | null = null; // JSON as it was left, and the form's then
  #fields = h("div", { class: "form" });
  #answer = h("div", { class: "answer", "aria-live": "polite" });
  #shown = 0;

  constructor(private readonly actions: Actions) {
    const { element, body, heading } = section("command", "Command", this.#kind);
    this.element = element;
    this.#body = body;
    this.#heading = heading;
    this.reset();
  }

  reset(): void {
    this.#chosen = null;
    setText(this.#heading, "Command");
    setText(this.#kind, "");
    fill(this.#body, h("p", { class: "empty" }, "Choose a command, a job or a stream."));
  }

  focus(): void {
    this.#heading.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  get chosen(): Chosen | null {
    return this.#chosen;
  }

  async show(chosen: Chosen): Promise<void> {
    this.#chosen = chosen;
    this.#shown += 1;
    const shown = this.#shown;
    setText(this.#heading, chosen.name);
    setText(this.#kind, chosen.kind);
    fill(this.#answer);
    if (chosen.said === null) {
      fill(this.#body, h("p", { class: "empty" }, "Asking the device for its schema…"));
      const said = await this.actions.describe(chosen);
      if (shown !== this.#shown) return;
      chosen = { ...chosen, said: said ?? { name: chosen.name } };
      this.#chosen = chosen;
    }
    const doc = typeof chosen.said?.doc === "string" ? chosen.said.doc : "";
    fill(this.#body, doc !== "" && h("p", { class: "doc" }, doc), this.#options(chosen.said));
    add(this.#body, chosen.kind === "stream" ? this.#streamForm(chosen) : this.#callForm(chosen));
    add(this.#body, this.#schemas(chosen));
  }

  #options(said: Described | null): HTMLElement | false {
    const found = Object.entries(isSchema(said?.options) ? said.options : {}).filter(
      ([name, value]) => value !== null && value !== false && !DULL.has(name),
    );
    if (found.length === 0) return false;
    return h("p", { class: "options" }, found.map(([name, value]) => `${name} ${String(value)}${IN_SECONDS.has(name) ? " s" : ""}`).join(" · "));
  }

  #schemas(chosen: Chosen): HTMLElement | false {
    const shown: [string, Schema | null | undefined][] = [
      ["Arguments", chosen.said?.data],
      ["Result", chosen.said?.result],
      ["Values", chosen.said?.value],
    ];
    const parts = shown.flatMap(([title, schema]) =>
      schema ? [h("p", { class: "title" }, title), h("pre", { tabindex: 0 }, JSON.stringify(schema, null, 2))] : [],
    );
    return parts.length > 0 && h("details", { class: "schemas" }, h("summary", {}, "Schemas"), ...parts);
  }

  // -- commands and jobs

  #callForm(chosen: Chosen): HTMLElement {
    this.#form = makeForm(chosen.said?.data);
    this.#area = null;
    this.#left = null;
    fill(this.#fields, this.#form.element);
    const timeout = h("input", { type: "number", min: 1, max: 3600, step: "any", value: 30, required: true, class: "short", "aria-label": "Timeout in seconds" });
    const send = h("button", { type: "submit", class: "main" }, chosen.kind === "job" ? "Start job" : "Send");
    const asJson = h("button", { type: "button", "aria-pressed": "false", on: { click: () => {
      this.#toggle();
      asJson.setAttribute("aria-pressed", String(this.#area !== null));
    } } }, "Edit as JSON");
    const form = h(
      "form",
      {
        on: {
          submit: (event) => {
            event.preventDefault();
            void this.#send(chosen, Number(timeout.value), send);
          },
          keydown: (event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
          },
        },
      },
      this.#fields,
      h("div", { class: "actions" }, send, asJson, h("label", { class: "inline" }, "Timeout", timeout, "s")),
    );
    return h("div", {}, form, this.#answer);
  }

  /** Sends what is shown with these arguments, as a person would. */
  try(data: string): void {
    if (!this.#form) return;
    if (!this.#area) this.element.querySelector<HTMLButtonElement>("button[aria-pressed]")?.click();
    const area = this.#fields.querySelector("textarea");
    if (!area) return;
    area.value = data;
    area.blur();
    area.form?.requestSubmit();
  }

  #toggle(): void {
    if (this.#area) {
      this.#area = null;
      fill(this.#fields, this.#form?.element);
      return;
    }
    const text = this.#form?.text() ?? "{}";
    // What was typed is not lost by a look at the form; it is when something is typed there.
    if (this.#left?.from !== text) {
      // What JavaScript would round stays as it was written.
      const pretty = isJson(text) && !/\d{16}/.test(text) ? JSON.stringify(JSON.parse(text), null, 2) : text;
      this.#left = { area: makeArea(pretty), from: text };
    }
    this.#area = this.#left.area;
    fill(this.#fields, this.#area.element);
    this.#area.element.querySelector("textarea")?.focus();
  }

  async #send(chosen: Chosen, timeout: number, button: HTMLButtonElement): Promise<void> {
    const field = this.#area ?? this.#form;
    const data = field?.text() ?? "{}";
    field?.clear();
    if (!data.startsWith("{") || !isJson(data)) {
      field?.mark([], "must be a JSON object");
      return;
    }
    const shown = this.#shown;
    button.disabled = true;
    fill(this.#answer, h("p", { class: "pending" }, "Waiting for the answer…"));
    const begun = performance.now();
    const answer = await this.actions.call(chosen.name, data, timeout);
    button.disabled = false;
    if (shown === this.#shown) this.#showAnswer(answer, (performance.now() - begun) / 1000, field);
  }

  #showAnswer(answer: Answer, seconds: number, field: Field | null): void {
    const fields = answer.fields;
    const code = fields?.["error_code"];
    const verdict = answer.success ? "success" : typeof code === "string" ? code : fields ? "error" : "no answer";
    const words = answer.success ? "" : String(answer.error ?? fields?.["error"] ?? fields?.["message"] ?? "");
    fill(
      this.#answer,
      h(
        "p",
        { class: `verdict ${answer.success ? "good" : "bad"}` },
        h("strong", {}, verdict),
        h("span", { class: "note" }, duration(seconds)),
      ),
    );
    const errors = fields?.["errors"];
    let isSaid = words === "";
    if (!answer.success && Array.isArray(errors)) {
      const unplaced: string[] = [];
      for (const one of errors) {
        const { path, message } = (one ?? {}) as { path?: unknown; message?: unknown };
        if (typeof path !== "string" || typeof message !== "string") continue;
        // In JSON there are no fields to mark.
        if (field === this.#area || !field?.mark(partsOf(path), message)) unplaced.push(`${path}: ${message}`);
      }
      isSaid ||= unplaced.length === errors.length && unplaced.length > 0;
      if (unplaced.length > 0) add(this.#answer, h("ul", { class: "words" }, ...unplaced.map((one) => h("li", {}, one))));
    }
    if (!isSaid) this.#answer.children[0]?.after(h("p", { class: "words" }, words));
    if (answer.text !== undefined) add(this.#answer, h("pre", { tabindex: 0 }, answer.text));
  }

  // -- streams

  #streamForm(chosen: Chosen): HTMLElement {
    const most = chosen.said?.options?.["max_rate"];
    // What the console does not take would cut this page off, and again whenever it is back.
    const max = typeof most === "number" && most >= RATE_MIN && most < RATE_MAX ? most : RATE_MAX;
    const rate = h("input", { type: "number", min: RATE_MIN, max, step: "any", value: Math.min(10, max), required: true, class: "short" });
    const watch = h("button", { type: "submit", class: "main" }, "Watch");
    const stop = h("button", { type: "button", on: { click: () => {
      this.actions.unwatch(chosen.name);
      announce(`${chosen.name} is not watched any more`);
    } } }, "Stop watching");
    this.#refresh = () => {
      const watches = this.actions.watches(chosen.name);
      stop.hidden = !watches;
      setText(watch, watches ? "Change the rate" : "Watch");
    };
    this.#refresh();
    return h(
      "form",
      {
        on: {
          submit: (event) => {
            event.preventDefault();
            this.actions.watch(chosen.name, Number(rate.value));
          },
        },
      },
      h("div", { class: "actions" }, watch, stop, h("label", { class: "inline" }, "At most", rate, "values per second")),
    );
  }

  #refresh: () => void = () => undefined;

  /** What is watched has changed. */
  refresh(): void {
    if (this.#chosen?.kind === "stream") this.#refresh();
  }
}

const RATE_MIN = 0.1; // values per second
const RATE_MAX = 100;
const IN_SECONDS = new Set(["timeout", "lease"]);
const DULL = new Set(["unknown_keys", "check_result", "journal", "when_busy"]);
