// A list of which one entry is chosen: one stop of the Tab key, arrows inside, Enter or a click
// to choose (WAI-ARIA, listbox).

import { h } from "./dom";

export interface Entry {
  key: string;
  /** What stands in it; made again only when `mark` changes. */
  content: () => (Node | string)[];
  mark: string;
  label?: string;
}

export class List {
  readonly element: HTMLElement;
  #options = new Map<string, { option: HTMLElement; mark: string }>();
  #chosen: string | null = null;

  constructor(
    label: string,
    private readonly choose: (key: string) => void,
  ) {
    this.element = h("div", {
      class: "list",
      role: "listbox",
      "aria-label": label,
      on: {
        keydown: (event) => this.#move(event),
        click: (event) => {
          const option = (event.target as Element).closest<HTMLElement>("[role=option]");
          if (option?.dataset["key"] !== undefined) this.choose(option.dataset["key"]);
        },
      },
    });
  }

  /** Shows these; what is the same stays, and so does the focus. */
  show(entries: Entry[]): void {
    const kept = new Map<string, { option: HTMLElement; mark: string }>();
    const order: HTMLElement[] = [];
    for (const entry of entries) {
      let one = this.#options.get(entry.key);
      if (!one || one.mark !== entry.mark) {
        const option =
          one?.option ?? h("div", { role: "option", tabindex: -1, "aria-selected": "false" });
        option.dataset["key"] = entry.key;
        if (entry.label) option.setAttribute("aria-label", entry.label);
        option.replaceChildren(...entry.content());
        one = { option, mark: entry.mark };
      }
      kept.set(entry.key, one);
      order.push(one.option);
    }
    this.#options = kept;
    if (order.some((option, index) => this.element.children[index] !== option) ||
      this.element.children.length !== order.length) {
      const focused = document.activeElement;
      this.element.replaceChildren(...order);
      if (focused instanceof HTMLElement && order.includes(focused)) focused.focus();
    }
    this.mark(this.#chosen);
  }

  /** Marks one as the chosen one. */
  mark(key: string | null): void {
    this.#chosen = key;
    let stop: HTMLElement | undefined;
    for (const [name, { option }] of this.#options) {
      const isChosen = name === key;
      option.setAttribute("aria-selected", String(isChosen));
      option.tabIndex = -1;
      if (isChosen) stop = option;
    }
    stop ??= this.#options.values().next().value?.option;
    if (stop) stop.tabIndex = 0;
  }

  #move(event: KeyboardEvent): void {
    const options = [...this.#options.values()].map((one) => one.option);
    const at = options.indexOf(document.activeElement as HTMLElement);
    if (at < 0) return;
    let to = at;
    switch (event.key) {
      case "ArrowDown":
        to = Math.min(options.length - 1, at + 1);
        break;
      case "ArrowUp":
        to = Math.max(0, at - 1);
        break;
      case "Home":
        to = 0;
        break;
      case "End":
        to = options.length - 1;
        break;
      case "Enter":
      case " ":
        event.preventDefault();
        this.choose(options[at]?.dataset["key"] ?? "");
        return; // which may have taken the focus elsewhere
      default:
        return;
    }
    event.preventDefault();
    for (const option of options) option.tabIndex = -1;
    const option = options[to];
    if (option) {
      option.tabIndex = 0;
      option.focus();
    }
  }
}
