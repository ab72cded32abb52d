// The WebSocket to the console's own server: what is asked, what is said, and coming back when it
// was lost. The token stands behind the # of the address; it is kept for this tab and taken out of
// the address at once.

export interface DeviceSaid {
  id: string;
  status: string;
  petals: Record<string, string>;
  since: string | null;
}

export interface Described {
  name: string;
  doc?: string;
  options?: Record<string, unknown>;
  data?: Schema | null;
  result?: Schema | null;
  value?: Schema | null;
  part_of?: Record<string, string>;
}

export interface PetalSaid {
  name: string;
  version?: string;
  doc?: string;
  commands?: unknown[];
  jobs?: unknown[];
  streams?: unknown[];
}

export type Schema = Record<string, unknown>;

export interface JobFields {
  job_id: string;
  command?: unknown;
  state: string;
  progress?: number | null;
  message?: string;
  position?: number;
  fields?: unknown;
  job_error?: string;
  job_error_code?: string;
}

export interface Moves {
  watch: string[];
  calls: [string, Record<string, unknown>][];
}

export interface Answer {
  say: "answer";
  id: number;
  success: boolean;
  fields?: Record<string, unknown>;
  /** All of it, for people. */
  text?: string;
  /** In one line, without what every answer has. */
  line?: string;
  error?: string;
}

export type Said =
  | Answer
  | { say: "hello"; broker: string; organization: string; device: string; moves: Moves | null }
  | { say: "link"; connected: boolean; lost: number }
  | { say: "devices"; devices: DeviceSaid[]; more: number; error: string | null }
  | {
      say: "info";
      device: string;
      petalkit: string;
      petals: PetalSaid[];
      commands: string[];
      jobs: string[];
      streams: string[];
      complete: boolean;
    }
  | { say: "silent" | "events"; device: string; error: string }
  | { say: "event"; device: string; at: number; command: string; text: string }
  | { say: "job"; device: string; name: string; fields: JobFields; result_text: string | null }
  | { say: "jobs"; device: string; jobs: unknown; left_out: number }
  | { say: "stream"; device: string; name: string; state: string; rate?: number; error?: string | null }
  | { say: "value"; device: string; name: string; at: number; value: unknown }
  | { say: "statistics"; device: string; at: number; statistics: unknown }
  | { say: "dropped"; count: number };

const AGAIN_MIN = 1000; // ms until the server is tried again; it doubles
const AGAIN_MAX = 15000;
const NAME_MAX = 1000; // characters of a device ID, a stream or a command
const KEY = "petalkit-token";

type Waiting = { resolve: (answer: Answer) => void; timer: number };

export class Wire {
  #token: string;
  #socket: WebSocket | null = null;
  #tries = 0;
  #number = 0;
  #waiting = new Map<number, Waiting>();

  constructor(
    private readonly hear: (said: Said) => void,
    private readonly opened: () => void,
    private readonly closed: (why: string) => void,
  ) {
    if (location.hash.length > 1) {
      sessionStorage.setItem(KEY, location.hash.slice(1));
      history.replaceState(null, "", location.pathname);
    }
    this.#token = sessionStorage.getItem(KEY) ?? "";
    // The address of another console, which differs behind the # only, loads no page by itself.
    addEventListener("hashchange", () => location.reload());
  }

  connect(): void {
    if (!/^[\w-]+$/.test(this.#token)) {
      this.closed("Open the address that petalkit console has printed: this one has no token.");
      return;
    }
    const protocols = ["petalkit.console", `token.${this.#token}`];
    const socket = new WebSocket(`ws://${location.host}/bridge`, protocols);
    let wasOpen = false;
    socket.onopen = () => {
      wasOpen = true;
      this.#tries = 0;
      this.#socket = socket;
      this.opened();
    };
    socket.onmessage = (event) => {
      for (const said of JSON.parse(String(event.data)) as Said[]) this.#take(said);
    };
    socket.onclose = (event) => {
      this.#socket = null;
      for (const { resolve, timer } of this.#waiting.values()) {
        clearTimeout(timer);
        resolve(lost("the connection to the console was lost: the command may have been sent"));
      }
      this.#waiting.clear();
      this.#tries += 1;
      const why = event.reason ? ` (${event.reason})` : "";
      this.closed(
        wasOpen
          ? `The console does not answer${why}. Trying again.`
          : "The console does not let this page in: it has ended, or was started anew with another token. Open the address that it has printed.",
      );
      setTimeout(() => this.connect(), Math.min(AGAIN_MAX, AGAIN_MIN * 2 ** (this.#tries - 1)));
    };
  }

  #take(said: Said): void {
    if (said.say !== "answer") {
      // What one device says must not keep the page from hearing the rest.
      try {
        this.hear(said);
      } catch (error) {
        console.error("not understood:", error);
      }
      return;
    }
    const waiting = this.#waiting.get(said.id);
    if (waiting) {
      this.#waiting.delete(said.id);
      clearTimeout(waiting.timer);
      waiting.resolve(said);
    }
  }

  /** Asks for something else than a call; not under a name that the console refuses, at each link anew. */
  send(asked: { ask: string; device?: string; stream?: string; rate?: number }): void {
    if ((asked.device ?? asked.stream ?? "").length <= NAME_MAX) this.#socket?.send(JSON.stringify(asked));
  }

  /**
   * Sends a command.
   *
   * @param data JSON, which goes on as it is written: integers are not rounded.
   * @param timeout in seconds.
   */
  call(device: string, command: string, data: string, timeout: number): Promise<Answer> {
    const socket = this.#socket;
    if (!socket) return Promise.resolve(lost("there is no connection to the console"));
    if (Math.max(device.length, command.length) > NAME_MAX) return Promise.resolve(lost("the name is too long"));
    this.#number += 1;
    const id = this.#number;
    const head = JSON.stringify({ ask: "call", id, device, command, timeout });
    socket.send(`${head.slice(0, -1)},"data":${data}}`);
    return new Promise((resolve) => {
      const timer = window.setTimeout(
        () => {
          this.#waiting.delete(id);
          resolve(lost("the console does not answer"));
        },
        (timeout + 10) * 1000,
      );
      this.#waiting.set(id, { resolve, timer });
    });
  }
}

function lost(error: string): Answer {
  return { say: "answer", id: -1, success: false, error };
}
