// Making elements. Whatever a text is, it stays text: nothing here can make markup of it.

export type Child = Node | string | null | undefined | false;

export interface Props {
  class?: string | undefined;
  on?: Partial<{ [K in keyof HTMLElementEventMap]: (event: HTMLElementEventMap[K]) => void }>;
  // Attributes; false and undefined leave one out, true sets it without a value.
  [attribute: string]: unknown;
}

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "on") {
      for (const [type, run] of Object.entries(value as Record<string, EventListener>)) {
        element.addEventListener(type, run);
      }
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== undefined && value !== null) {
      element.setAttribute(name, String(value));
    }
  }
  add(element, ...children);
  return element;
}

export function add(parent: Element, ...children: Child[]): void {
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) parent.append(child);
  }
}

export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  add(parent, ...children);
}

let last = 0;

/** An ID that no other element has. */
export function unique(prefix: string): string {
  last += 1;
  return `${prefix}-${last}`;
}

/** Sets a text only where it is another one: the browser lays out anew for each that is set. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

const region = h("p", { class: "hidden", role: "status", "aria-live": "polite" });

/** The element that `announce` speaks through. */
export function announcer(): HTMLElement {
  return region;
}

/** Says something to those who do not see the page. */
export function announce(text: string): void {
  region.textContent = "";
  region.textContent = text;
}

const clockFormat = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

/** Seconds since the epoch as a time of the day. */
export function clock(seconds: number): string {
  return clockFormat.format(seconds * 1000);
}

/** How long something took or takes. */
export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A section of the page, with its heading and what stands beside that. */
export function section(
  id: string,
  title: string,
  ...beside: Child[]
): { element: HTMLElement; body: HTMLElement; heading: HTMLElement } {
  const heading = h("h2", { id: `${id}-title`, tabindex: -1 }, title);
  const body = h("div", { class: "body" });
  const element = h(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    h("div", { class: "head" }, heading, ...beside),
    body,
  );
  return { element, body, heading };
}
