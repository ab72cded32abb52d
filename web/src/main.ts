// The page: its parts, and what goes from one to another.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { type Chosen, Command, type Kind } from "./command";
import { add, announce, announcer, h, section, setText } from "./dom";
import { isSchema } from "./form";
import { Jobs } from "./jobs";
import { type Entry, List } from "./list";
import { Log } from "./log";
import { Statistics } from "./statistics";
import { Streams } from "./streams";
import { type Answer, type Described, type DeviceSaid, type JobFields, type Moves, type PetalSaid, type Said, Wire } from "./wire";

const NAMES_MAX = 500; // of one kind that are listed; the filter finds the others
const MOVED = "petalkit-moved"; // whether this tab has made its first moves
const ASK_TIMEOUT = 10;

interface Info {
  petals: PetalSaid[];
  commands: string[];
  jobs: string[];
  streams: string[];
  petalkit: string;
}

let device: string | null = null;
let own = ""; // the device of the settings
let chosenByHand = false;
let directory: DeviceSaid[] = [];
let info: Info | null = null;
let moves: Moves | null = null;

// -- the parts

const wire = new Wire(hear, opened, closed);
const log = new Log();
const statistics = new Statistics();
const streams = new Streams(
  (asked) => wire.send(asked),
  () => command.refresh(),
);
const jobs = new Jobs(async (job) => {
  const answer = await call("petalkit/cancel", JSON.stringify({ job_id: job }), ASK_TIMEOUT);
  if (answer.success) announce("The job is asked to end");
  return answer.success ? null : words(answer);
});
const command = new Command({
  call,
  describe,
  watch: (name, rate) => streams.watch(name, rate),
  unwatch: (name) => streams.unwatch(name),
  watches: (name) => streams.watches(name),
});

const deviceList = new List("Devices", (id) => {
  chosenByHand = true;
  open(id);
});
const deviceFilter = h("input", {
  type: "search",
  placeholder: "Filter, or a device ID",
  maxlength: 1000,
  "aria-label": "Filter devices; Enter opens the device of that ID",
  autocomplete: "off",
  spellcheck: "false",
  on: {
    input: () => showDevices(),
    keydown: (event) => {
      if (event.key === "Enter" && deviceFilter.value.trim()) {
        chosenByHand = true;
        open(deviceFilter.value.trim());
      }
    },
  },
});
const servedFilter = h("input", {
  type: "search",
  placeholder: "Filter",
  "aria-label": "Filter commands, jobs and streams",
  autocomplete: "off",
  on: { input: () => showServed() },
});
const served = new List("Commands, jobs and streams", (key) => {
  const kind = key.slice(0, key.indexOf(" ")) as Kind;
  choose(kind, key.slice(kind.length + 1), true);
});
const directoryNote = h("p", { class: "note" });
const petals = h("p", { class: "note" });
const where = h("p", { class: "where" });
const link = h("p", { class: "link", role: "status" }, "connecting");
const trouble = h("p", { class: "trouble", role: "alert", hidden: true });

const devicesPart = section("devices", "Devices");
add(devicesPart.body, deviceFilter, deviceList.element, directoryNote);
const servedPart = section("served", "Serves");
add(servedPart.body, petals, servedFilter, served.element);

const jumps = [
  ["devices", "Devices"],
  ["served", "Serves"],
  ["command", "Call"],
  ["jobs", "Jobs"],
  ["streams", "Streams"],
  ["statistics", "Stats"],
  ["log", "Log"],
] as const;

document.body.replaceChildren(
  h("a", { class: "skip", href: "#command-title" }, "Skip to the command"),
  h("header", {}, h("h1", {}, "petalkit ", h("span", {}, "console")), where, link),
  trouble,
  h(
    "main",
    {},
    h("div", { class: "column left" }, devicesPart.element, servedPart.element),
    h("div", { class: "column middle" }, command.element, jobs.element, streams.element),
    h("div", { class: "column right" }, statistics.element, log.element),
  ),
  h(
    "nav",
    { class: "jumps", "aria-label": "Parts of the page" },
    ...jumps.map(([id, title]) => h("a", { href: `#${id}-title` }, title)),
  ),
  announcer(),
);

// The address stays as it is: behind its # there was a token once, and a reload reads it.
document.body.addEventListener("click", (event) => {
  const target = (event.target as Element).closest<HTMLAnchorElement>('a[href^="#"]');
  if (!target) return;
  event.preventDefault();
  const to = document.getElementById(target.hash.slice(1));
  to?.focus({ preventScroll: true });
  to?.closest("section")?.scrollIntoView();
});

wire.connect();

// -- what is said

function opened(): void {
  trouble.hidden = true;
  if (device !== null) {
    wire.send({ ask: "open", device });
    streams.renew();
  }
}

function closed(why: string): void {
  trouble.hidden = false;
  setText(trouble, why);
  setText(link, "no connection to the console");
  link.className = "link bad";
}

function hear(said: Said): void {
  switch (said.say) {
    case "hello":
      own = said.device;
      moves = said.moves;
      setText(where, `${said.organization} at ${said.broker}`);
      break;
    case "link":
      setText(link, said.connected ? "connected" : "no link to the broker");
      link.className = `link ${said.connected ? "good" : "bad"}`;
      break;
    case "devices":
      tellChanges(said.devices);
      directory = said.devices;
      setText(directoryNote, said.error ?? (said.more > 0 ? `and ${said.more} more` : ""));
      showDevices();
      chooseDevice();
      break;
    case "dropped":
      log.dropped(said.count);
      break;
    default:
      if ("device" in said && said.device === device) hearDevice(said);
  }
}

function hearDevice(said: Said): void {
  switch (said.say) {
    case "info":
      info = said;
      showServed();
      begin();
      break;
    case "silent":
      statistics.silent(said.error);
      if (info === null) setText(petals, said.error);
      break;
    case "events":
      log.put("error", "events", said.error);
      break;
    case "event":
      log.put("event", said.command, said.text, said.at);
      break;
    case "job":
      jobs.take(said.name, said.fields, said.result_text);
      break;
    case "jobs":
      jobs.list(said.jobs);
      break;
    case "stream":
      streams.say(said.name, said.state, said.rate, said.error);
      break;
    case "value":
      streams.put(said.name, said.at, said.value);
      break;
    case "statistics":
      statistics.take(said.at, said.statistics);
      break;
    default:
      break;
  }
}

// -- devices

function tellChanges(now: DeviceSaid[]): void {
  const before = new Map(directory.map((one) => [one.id, one.status]));
  if (before.size === 0) return;
  for (const one of now) {
    const was = before.get(one.id);
    if (was !== one.status) log.put("device", one.id, one.status);
  }
}

function showDevices(): void {
  const filter = deviceFilter.value.trim().toLowerCase();
  const shown = directory.filter((one) => one.id.toLowerCase().includes(filter));
  if (device !== null && !directory.some((one) => one.id === device) && !filter) {
    shown.unshift({ id: device, status: "not heard of", petals: {}, since: null });
  }
  deviceList.show(
    shown.map((one) => ({
      key: one.id,
      mark: JSON.stringify(one),
      label: `${one.id}, ${one.status}`,
      content: () => [
        h("span", { class: `dot ${one.status === "online" ? "good" : "bad"}`, title: one.status }),
        h("span", { class: "name" }, one.id),
        h("span", { class: "note" }, one.status),
      ],
    })),
  );
  deviceList.mark(device);
}

/** The device of the settings, or the first one that is there; until a person chooses. */
function chooseDevice(): void {
  if (chosenByHand) return;
  const wanted =
    directory.find((one) => one.id === own) ?? directory.find((one) => one.status === "online") ?? directory[0];
  const id = wanted?.id ?? own;
  if (id && id !== device) open(id);
}

function open(id: string): void {
  if (id === device) return;
  device = id;
  document.title = `${id} · petalkit console`;
  info = null;
  command.reset();
  jobs.reset();
  streams.reset();
  statistics.reset();
  log.reset();
  showDevices();
  showServed();
  wire.send({ ask: "open", device: id });
}

// -- what it serves

function described(kind: Kind, name: string): Described | null {
  for (const petal of info?.petals ?? []) {
    const found = listOf(petal[`${kind}s`]).find((one) => one["name"] === name);
    if (found !== undefined) return found as unknown as Described;
  }
  return null;
}

/** The objects in what should be a list of them. */
function listOf(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isSchema) : [];
}

function showServed(): void {
  const filter = servedFilter.value.trim().toLowerCase();
  const entries: Entry[] = [];
  const listed = (kind: Kind, names: string[]): void => {
    const fitting = names.filter((name) => name.toLowerCase().includes(filter) && isOwn(kind, name));
    for (const name of fitting.slice(0, NAMES_MAX)) {
      entries.push({
        key: `${kind} ${name}`,
        mark: `${kind} ${name}`,
        label: `${kind} ${name}`,
        content: () => [h("span", { class: "name" }, name), h("span", { class: `badge of-${kind}` }, kind)],
      });
    }
  };
  if (info) {
    listed("job", info.jobs);
    listed("stream", info.streams);
    listed("command", info.commands);
    const said = info.petals.map((one) => `${String(one.name)} ${String(one.version ?? "")}`.trim());
    setText(petals, `${said.join(", ")}${info.petalkit ? ` · petalkit ${info.petalkit}` : ""}`);
  } else setText(petals, device === null ? "" : "Asking the device…");
  served.show(entries);
}

/** Whether it is listed: what belongs to a job or a stream is used by its buttons. */
function isOwn(kind: Kind, name: string): boolean {
  if (kind !== "command" || servedFilter.value.trim()) return true;
  if (info?.jobs.includes(name)) return false;
  const said = described("command", name);
  if (said) return said.part_of === undefined || said.part_of === null;
  return !/\/(?:un)?subscribe_|\/(?:cancel|status|result)_/.test(name);
}

function choose(kind: Kind, name: string, byHand: boolean): void {
  served.mark(`${kind} ${name}`);
  const said = described(kind, name);
  const isWhole = said !== null && (kind === "stream" ? said.value : said.data) !== null;
  void command.show({ kind, name, said: isWhole ? said : null });
  if (byHand) command.focus();
}

async function describe(chosen: Chosen): Promise<Described | null> {
  const about = JSON.stringify({ command: chosen.name });
  const answer = await call("petalkit/info", about, ASK_TIMEOUT);
  for (const petal of listOf(answer.fields?.["petals"])) {
    const found = listOf(petal[`${chosen.kind}s`]).find((one) => one["name"] === chosen.name);
    if (found !== undefined) return found as unknown as Described;
  }
  return null;
}

/** What the demo does by itself, once in a tab: something to see. */
function begin(): void {
  if (moves === null || info === null || sessionStorage.getItem(MOVED) !== null) return;
  sessionStorage.setItem(MOVED, "yes");
  for (const name of moves.watch) if (info.streams.includes(name)) streams.watch(name, 10);
  for (const [name, data] of moves.calls.slice(0, -1)) void call(name, JSON.stringify(data), ASK_TIMEOUT);
  const shown = moves.calls.at(-1);
  if (shown) {
    choose("command", shown[0], false);
    command.try(JSON.stringify(shown[1], null, 2));
  }
}

// -- calls

async function call(name: string, data: string, timeout: number): Promise<Answer> {
  const to = device ?? "";
  const isOurs = name.startsWith("petalkit/info");
  if (!isOurs) log.put("sent", name, data);
  const answer = await wire.call(to, name, data, timeout);
  if (to !== device || isOurs) return answer;
  if (answer.success && info?.jobs.includes(name)) jobs.begin(name, answer.fields as unknown as JobFields);
  if (answer.success) log.put("answer", name, answer.line ?? "");
  else log.put("error", name, words(answer));
  return answer;
}

function words(answer: Answer): string {
  const { error_code: code, error } = answer.fields ?? {};
  return answer.error ?? [code, error].filter((one) => typeof one === "string").join(": ");
}
