// Jobs of the device, whoever has started them: how far they are, what they came to, and a button to
// cancel each.

import { add, announce, duration, h, section, setText } from "./dom";
import { type Drawn, drawSoon } from "./frames";
import type { JobFields } from "./wire";

const ENDED_MAX = 50; // ended jobs that are shown
const ROWS_MAX = 200; // of all that are shown; the oldest make room
const FINAL = new Set(["succeeded", "failed", "cancelled", "timed_out", "interrupted", "forgotten"]);
const STATES = new Set([...FINAL, "accepted", "running", "cancelling"]);
const STATE_MAX = 40; // characters of a word that is none of these
const MISSED_MAX = 2; // lists without it, after which a job is no more

class Row implements Drawn {
  readonly element: HTMLElement;
  fields: JobFields;
  missed = 0;
  #begun = performance.now();
  #bar = h("progress", { max: 1 });
  #percent = h("span", { class: "percent" });
  #state = h("span", { class: "state" });
  #message = h("p", { class: "message" });
  #result = h("details", { hidden: true }, h("summary", {}, "Result"));
  #resultText = h("pre", {});
  #cancel: HTMLButtonElement;
  #text: string | null = null;

  #name = "";
  #title = h("h3", {});

  constructor(name: string, fields: JobFields, cancel: (button: HTMLButtonElement) => void) {
    this.fields = fields;
    this.#cancel = h("button", { type: "button", class: "small" }, "Cancel");
    this.call(name);
    this.#cancel.addEventListener("click", () => cancel(this.#cancel));
    this.#result.append(this.#resultText);
    this.element = h(
      "li",
      { class: "job" },
      h(
        "div",
        { class: "head" },
        this.#title,
        h("span", { class: "id", title: fields.job_id }, fields.job_id),
        this.#state,
        this.#cancel,
      ),
      h("div", { class: "progress" }, this.#bar, this.#percent),
      this.#message,
      this.#result,
    );
    this.element.dataset["job"] = fields.job_id;
  }

  /** Its name, once that is known. */
  call(name: string): void {
    if (this.#name !== "") return;
    this.#name = name;
    const title = name || "job";
    setText(this.#title, title);
    this.#bar.setAttribute("aria-label", `Progress of ${title}`);
    this.#cancel.setAttribute("aria-label", `Cancel ${title} ${this.fields.job_id}`);
  }

  get ended(): boolean {
    return FINAL.has(this.fields.state);
  }

  take(fields: JobFields, result: string | null): void {
    const was = this.fields.state;
    this.fields = { ...fields };
    if (result !== null) this.#text = result;
    if (fields.state !== was && FINAL.has(fields.state)) {
      announce(`Job ${fields.job_id} ${fields.state.replace("_", " ")}`);
    }
    drawSoon(this);
  }

  draw(): void {
    const { state, progress, message, position, job_error, job_error_code, fields } = this.fields;
    if (typeof progress === "number") this.#bar.value = Math.min(1, Math.max(0, progress));
    else if (this.ended) this.#bar.value = state === "succeeded" ? 1 : 0;
    else this.#bar.removeAttribute("value");
    setText(this.#percent, typeof progress === "number" ? `${Math.floor(progress * 100)} %` : "");
    const waits = typeof position !== "number" ? "" : `, number ${position} in the queue`;
    setText(this.#state, `${String(state).slice(0, STATE_MAX).replace("_", " ")}${waits}`);
    this.#state.className = STATES.has(state) ? `state ${state}` : "state";
    const parts: string[] = [];
    if (typeof message === "string" && message) parts.push(message);
    if (typeof job_error === "string") parts.push(`${String(job_error_code ?? "")}: ${job_error}`);
    if (typeof fields === "object" && fields && Object.keys(fields).length > 0) parts.push(JSON.stringify(fields));
    if (this.ended) parts.push(`seen for ${duration((performance.now() - this.#begun) / 1000)}`);
    setText(this.#message, parts.join(" · "));
    this.#cancel.hidden = this.ended;
    if (this.#text !== null) {
      this.#result.hidden = false;
      setText(this.#resultText, this.#text);
    }
  }
}

export class Jobs {
  readonly element: HTMLElement;
  #rows = new Map<string, Row>();
  #list = h("ul", { class: "jobs" });
  #empty = h("p", { class: "empty" }, "No job runs.");
  #count = h("span", { class: "note" });

  constructor(private readonly cancel: (job: string) => Promise<string | null>) {
    const clear = h("button", { type: "button", class: "small", on: { click: () => this.#forget(0) } }, "Clear ended");
    const { element, body } = section("jobs", "Jobs", this.#count, clear);
    add(body, this.#empty, this.#list);
    this.element = element;
  }

  take(name: string, fields: JobFields, result: string | null): void {
    if (typeof fields.job_id !== "string") return;
    let row = this.#rows.get(fields.job_id);
    if (!row) {
      row = this.#add(name, fields);
    }
    row.missed = 0;
    row.call(name);
    row.take(fields, result);
    this.#show();
  }

  /** What was answered to its start; whoever waits in a queue says nothing more for a while. */
  begin(name: string, fields: JobFields): void {
    if (!this.#rows.has(fields.job_id)) this.take(name, fields, null);
  }

  /** What the device lists as not ended: the others have ended, though nobody was told how. */
  list(jobs: unknown): void {
    if (!Array.isArray(jobs)) return;
    const listed = new Set<string>();
    for (const one of jobs as JobFields[]) {
      if (typeof one?.job_id !== "string") continue;
      listed.add(one.job_id);
      const row = this.#rows.get(one.job_id);
      const name = typeof one.command === "string" ? one.command : "";
      // Nobody else says how the queue goes on; what runs has newer news than this.
      if (!row || row.fields.state === "accepted") this.take(name, one, null);
    }
    for (const [id, row] of this.#rows) {
      if (row.ended || listed.has(id)) row.missed = 0;
      else {
        row.missed += 1;
        if (row.missed >= MISSED_MAX) row.take({ ...row.fields, state: "forgotten" }, null);
      }
    }
    this.#show();
  }

  #add(name: string, fields: JobFields): Row {
    const row = new Row(name, fields, (button) => {
      button.disabled = true;
      void this.cancel(fields.job_id).then((error) => {
        button.disabled = false;
        if (error !== null) announce(error);
      });
    });
    this.#rows.set(fields.job_id, row);
    this.#list.prepend(row.element);
    this.#forget(ENDED_MAX);
    for (const [id, old] of this.#rows) {
      if (this.#rows.size <= ROWS_MAX) break;
      old.element.remove();
      this.#rows.delete(id);
    }
    return row;
  }

  #forget(most: number): void {
    const ended = [...this.#rows].filter(([, row]) => row.ended);
    for (const [id, row] of ended.slice(0, Math.max(0, ended.length - most))) {
      row.element.remove();
      this.#rows.delete(id);
    }
    this.#show();
  }

  #show(): void {
    const rows = [...this.#rows.values()];
    const ended = rows.filter((row) => row.ended).length;
    const waiting = rows.filter((row) => row.fields.state === "accepted").length;
    const counts = [`${rows.length - ended - waiting} running`, `${ended} ended`];
    if (waiting > 0) counts.splice(1, 0, `${waiting} waiting`);
    this.#empty.hidden = rows.length > 0;
    setText(this.#count, rows.length > 0 ? counts.join(", ") : "");
  }

  reset(): void {
    this.#rows.clear();
    this.#list.replaceChildren();
    this.#show();
  }
}
