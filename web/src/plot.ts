// A live plot: some series over the last minutes, drawn by uPlot when there is something new and it
// can be seen. It holds a bounded number of points.

import uPlot from "uplot";
import { clock } from "./dom";
import { type Drawn, drawSoon, forget } from "./frames";

const DARK = matchMedia("(prefers-color-scheme: dark)");
const FONT = "11px system-ui, sans-serif";

export interface PlotOptions {
  height: number;
  /** Points that are kept. */
  points: number;
  /** Whether the axis begins at 0: for what is counted. */
  fromZero?: boolean;
  /** Seconds of the past that are shown. */
  seconds: number;
  /** Whether there are no times below it. */
  bare?: boolean;
  /** Which colour the first series has. */
  colour?: number;
}

const plots = new Map<Element, Plot>();
const sizes = new ResizeObserver((entries) => {
  for (const entry of entries) plots.get(entry.target)?.resize(entry.contentRect.width);
});
const sights = new IntersectionObserver((entries) => {
  for (const entry of entries) plots.get(entry.target)?.see(entry.isIntersecting);
});
DARK.addEventListener("change", () => {
  for (const plot of plots.values()) plot.remake();
});

/** The colour of a series, by its number. */
export function colourOf(index: number): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--series-${index % 6}`).trim();
}

export class Plot implements Drawn {
  readonly element: HTMLElement;
  #plot: uPlot | null = null;
  #times: number[] = [];
  #values: (number | null)[][];
  #width = 0;
  #seen = false;

  constructor(
    private readonly names: string[],
    private readonly options: PlotOptions,
  ) {
    this.#values = names.map(() => []);
    this.element = document.createElement("div");
    this.element.className = "plot";
    this.element.style.height = `${options.height}px`;
    this.element.setAttribute("aria-hidden", "true"); // the values stand beside it, as text
    plots.set(this.element, this);
    sizes.observe(this.element);
    sights.observe(this.element);
  }

  /** One more point: the value of each series. */
  put(at: number, values: (number | null)[]): void {
    // uPlot needs times that do not go back, which a clock that is set may do.
    const last = this.#times.at(-1);
    this.#times.push(last !== undefined && at < last ? last : at);
    this.#values.forEach((series, index) => series.push(values[index] ?? null));
    if (this.#times.length > this.options.points * 1.25) {
      const gone = this.#times.length - this.options.points;
      this.#times.splice(0, gone);
      for (const series of this.#values) series.splice(0, gone);
    }
    if (this.#seen) drawSoon(this);
  }

  draw(): void {
    if (this.#width < 20 || !this.#seen || this.#times.length === 0) return;
    this.#plot ??= this.#make();
    const plot = this.#plot;
    const data = [this.#times, ...this.#values] as uPlot.AlignedData;
    // In a batch it is drawn at once, and its time counts to this frame.
    plot.batch(() => plot.setData(data));
  }

  resize(width: number): void {
    if (Math.abs(width - this.#width) < 1) return;
    this.#width = width;
    this.#plot?.setSize({ width, height: this.options.height });
    drawSoon(this);
  }

  see(isSeen: boolean): void {
    this.#seen = isSeen;
    if (isSeen) drawSoon(this);
  }

  /** With the colours of now. */
  remake(): void {
    this.#plot?.destroy();
    this.#plot = null;
    if (this.#seen) drawSoon(this);
  }

  remove(): void {
    forget(this);
    sizes.unobserve(this.element);
    sights.unobserve(this.element);
    plots.delete(this.element);
    this.#plot?.destroy();
    this.#plot = null;
    this.element.remove();
  }

  #make(): uPlot {
    const style = getComputedStyle(document.documentElement);
    const stroke = style.getPropertyValue("--muted").trim();
    const line = { stroke: style.getPropertyValue("--grid").trim(), width: 1 };
    const { fromZero, seconds, height, colour, bare } = this.options;
    const axis = { stroke, font: FONT, grid: line, ticks: { ...line, size: 4 }, gap: 3 };
    return new uPlot(
      {
        width: this.#width,
        height,
        pxAlign: 1,
        cursor: { show: false },
        legend: { show: false },
        padding: [6, 10, bare ? 6 : 0, 0],
        scales: {
          x: { time: true, range: (_, _low, high) => [high - seconds, high] },
          y: {
            range: (_, low, high) => spread(low, high, fromZero === true),
          },
        },
        axes: [
          {
            ...axis,
            show: bare !== true,
            size: 20,
            space: 70,
            values: (_, splits) => splits.map((at) => clock(at)),
          },
          {
            ...axis,
            size: 44,
            space: bare === true ? 18 : 26,
            values: (_, splits) => splits.map(short),
          },
        ],
        series: [
          {},
          ...this.names.map((label, index) => ({
            label,
            stroke: colourOf(index + (colour ?? 0)),
            width: 1.5,
            points: { show: false },
          })),
        ],
      },
      [this.#times, ...this.#values] as uPlot.AlignedData,
      this.element,
    );
  }
}

function spread(low: number | null, high: number | null, fromZero: boolean): [number, number] {
  if (low === null || high === null || !Number.isFinite(low + high)) return [0, 1];
  const from = fromZero ? Math.min(0, low) : low;
  const span = high - from || Math.abs(high) || 1;
  if (fromZero && low >= 0) return [0, Math.max(1, high * 1.08)];
  return [from - span * 0.08, high + span * 0.08];
}

/** A number in few characters. */
export function short(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return "";
  const size = Math.abs(value);
  if (size >= 1e9) return value.toExponential(1);
  if (size >= 1e6) return `${round(value / 1e6)}M`;
  if (size >= 1e4) return `${round(value / 1e3)}k`;
  if (size !== 0 && size < 1e-3) return value.toExponential(1);
  return round(value);
}

function round(value: number): string {
  return String(Number(value.toPrecision(4)));
}
