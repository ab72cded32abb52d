// The fixed part of a client: calls, jobs and streams of petalkit devices over MQTT.js 5.
// The same for every device, so do not edit it: `petalkit schema` writes it anew.
import mqtt, { type IClientOptions, type IClientPublishOptions, type IPublishPacket, type MqttClient } from "mqtt";

/** The fields of a JSON object of which no more is known. */
export type JsonObject = { [key: string]: unknown };

// -- errors

/** The base of all errors here. */
export class PetalkitError extends Error {
  constructor(text: string) {
    super(text);
    this.name = new.target.name;
  }
}

/** The connection was closed, or what was watched is not watched any more. */
export class Closed extends PetalkitError {}

/** The broker does not take a message, or a subscription. */
export class RejectedByBroker extends PetalkitError {}

/** No answer came in time. A call with the same `messageId` asks again, and runs nothing twice. */
export class CallTimeout extends PetalkitError {
  readonly command: string;
  readonly messageId: string;
  /** Whether it was handed to a link. */
  readonly sent: boolean;
  constructor(command: string, messageId: string, timeoutMs: number, expires: number, sent: boolean) {
    const then = `may still run it, and does not start it after ${iso(expires)} by its clock`;
    const after = sent ? ` (messageId ${messageId}): the device ${then}` : "; it was not sent";
    super(`no answer to ${command} within ${timeoutMs} ms${after}`);
    this.command = command;
    this.messageId = messageId;
    this.sent = sent;
  }
}

/** The device has answered "no". Its subclasses say what can be done about it. */
export class CommandRefused extends PetalkitError {
  readonly command: string;
  /** All that the answer says. */
  readonly fields: JsonObject;
  /** For programs; empty where the device says none. */
  readonly code: string;
  /** For people. */
  readonly text: string;
  /** How it can be sent again. */
  readonly retry: "same_id" | "new_id" | undefined;
  constructor(command: string, fields: JsonObject) {
    const code = textOf(fields.error_code);
    const text = textOf(fields.error) || textOf(fields.message);
    super(`the device refused ${command}: ${shortened(`${code || "no"}: ${text}`)}`);
    this.command = command;
    this.fields = fields;
    this.code = code;
    this.text = text;
    const retry = fields.retryable === true ? fields.retry : undefined;
    this.retry = retry === "same_id" || retry === "new_id" ? retry : undefined;
  }
}

/** The command itself is wrong, and was not run; `fields.errors` says where. */
export class InvalidRequest extends CommandRefused {}
/** No petal serves it. */
export class UnknownCommand extends CommandRefused {}
/** There is no such job, or command to be cancelled. */
export class UnknownJob extends CommandRefused {}
/** It may not be done so. */
export class NotAllowed extends CommandRefused {}
/** It came too late, and was not started. */
export class CommandExpired extends CommandRefused {}
/** It was not started, because something else is under way. */
export class DeviceBusy extends CommandRefused {}
/** The device or the petal is not there for it now. */
export class DeviceUnavailable extends CommandRefused {}
/** It was started and did not end; it may have done part of its work. */
export class CommandUnfinished extends CommandRefused {}
/** There is a fault in the petal; `fields.error_id` finds it in the device's log. */
export class HandlerFailed extends CommandRefused {}
/** The petal itself says no, with a code of its own. */
export class PetalRefused extends CommandRefused {}

const FAMILIES = new Map<string, typeof CommandRefused>([
  ["INVALID_JSON", InvalidRequest],
  ["INVALID_COMMAND", InvalidRequest],
  ["INVALID_DATA", InvalidRequest],
  ["TOO_LARGE", InvalidRequest],
  ["RETAINED", InvalidRequest],
  ["MESSAGE_ID_REUSED", InvalidRequest],
  ["UNKNOWN_COMMAND", UnknownCommand],
  ["UNKNOWN_JOB", UnknownJob],
  ["UNKNOWN_MESSAGE_ID", UnknownJob],
  ["UNAUTHORIZED", NotAllowed],
  ["EXPIRED", CommandExpired],
  ["BUSY", DeviceBusy],
  ["DROPPED", DeviceBusy],
  ["UNAVAILABLE", DeviceUnavailable],
  ["SHUTTING_DOWN", DeviceUnavailable],
  ["TIMEOUT", CommandUnfinished],
  ["CANCELLED", CommandUnfinished],
  ["INTERRUPTED", CommandUnfinished],
  ["HANDLER_ERROR", HandlerFailed],
  ["NO_RESPONSE", HandlerFailed],
]);

/** A job has ended, and not well. */
export class JobFailed extends PetalkitError {
  readonly job: string;
  readonly state: JobState;
  readonly fields: JsonObject;
  /** For programs; empty where there is none. */
  readonly code: string;
  /** For people. */
  readonly text: string;
  constructor(job: string, state: JobState, fields: JsonObject) {
    const code = textOf(fields.job_error_code);
    const text = textOf(fields.job_error);
    super(`the job ${job} ended as ${state}${code && shortened(`: ${code}: ${text}`)}`);
    this.job = job;
    this.state = state;
    this.fields = fields;
    this.code = code;
    this.text = text;
  }
}

/** It was cancelled, by whomever. */
export class JobCancelled extends JobFailed {}

/** A stream has ended with an error. */
export class StreamFailed extends PetalkitError {
  readonly stream: string;
  readonly code: string;
  readonly text: string;
  constructor(stream: string, code: string, text: string) {
    super(`the stream ${stream} failed: ${shortened(`${code}: ${text}`)}`);
    this.stream = stream;
    this.code = code;
    this.text = text;
  }
}

// -- options

/** Topics of a device, below its base. */
export interface Topics {
  command: string;
  response: string;
  web: string;
  status: string;
}

/** How to connect. */
export interface ConnectOptions {
  organizationId: string;
  /** 5 (default): answers come on a topic of this client's own. 4 is MQTT 3.1.1. */
  protocolVersion?: 4 | 5;
  /** Where devices are; `{organization_id}` and `{device_id}` are replaced. */
  baseTopic?: string;
  /** Topics below that, where devices have others: `command`, `response`, `command/web`, `status`. */
  topics?: Partial<Topics>;
  /** Options of MQTT.js: `username`, `password`, `ca`, ... Another `clientId` has to be one of a kind. */
  mqtt?: IClientOptions;
}

export interface CallOptions {
  /** For everything: the answer, and what is sent again. 30 000; Infinity for no limit. */
  timeoutMs?: number;
  /** One of your own; the same again gets the same answer again. */
  messageId?: string;
  /** How often a "no" is tried again that can become a yes. 3. */
  retries?: number;
  /** Whether it may be run more than once; then all that is retryable is tried again. */
  repeatable?: boolean;
  /** Waits for the second answer of a command that has two. */
  secondPhase?: boolean;
  /** Gives up the call; the device may run it all the same. */
  signal?: AbortSignal;
}

export interface WatchOptions {
  /** Reports or values per second, at most. 10. */
  rate?: number;
  /** Of each question to the device. */
  timeoutMs?: number;
}

// -- the connection

const TIMEOUT = 30_000; // ms; all below too
const SILENCE = 30_000; // after which a device is asked how a job or a stream stands
const RENEW = 300_000; // after which a reader says that it still reads
const FAREWELL = 2_000;
const DOUBTS = [1_000, 2_000, 4_000, 8_000, 15_000]; // between copies of what waits, after a lost link
const LONGEST = 2 ** 31 - 1; // what setTimeout takes
const LATEST = 8.64e15; // what a Date takes
const WINDOW = 100; // messages that the broker has not acknowledged
const BUFFER = 1000; // values and reports that wait to be read
const NEVER = new Set([0x81, 0x82, 0x87, 0x90, 0x95, 0x99, 0x9a, 0x9b]); // MQTT 5.0, table 3-4
const FAILED = new Set(["error", "failed", "failure", "timeout", "cancelled"]);

type CorrelationData = NonNullable<NonNullable<IPublishPacket["properties"]>["correlationData"]>;
type Done = (error: Error | undefined) => void;
type Take = (payload: Uint8Array, packet: IPublishPacket) => void;

interface Made {
  text: string;
  options: IClientPublishOptions;
}

/** Connects, or throws what is wrong. Later a lost link is made anew, and calls outlive it. */
export async function connect(url: string, options: ConnectOptions): Promise<Connection> {
  const protocolVersion = options.protocolVersion ?? 5;
  const clientId = options.mqtt?.clientId ?? `petalkit-call-${randomText(4)}`;
  const ours = { clientId, protocolVersion, clean: true, resubscribe: false };
  segment(options.organizationId); // or nobody would own the client that is made
  const client = mqtt.connect(url, { reconnectPeriod: 1000, ...options.mqtt, ...ours });
  const connection = new Connection(client, options, clientId, protocolVersion);
  const first = new Deferred<Connection>();
  const fail = (error?: Error): void => first.reject(error ?? new PetalkitError("the broker closed the connection"));
  client.once("connect", () => first.resolve(connection)).once("error", fail).once("close", fail);
  try {
    return await first.promise;
  } catch (error) {
    client.end(true);
    throw error;
  } finally {
    client.off("error", fail).off("close", fail);
  }
}

/** One connection to a broker, for any number of devices and calls. Made by `connect`. */
export class Connection {
  /** What is subscribed to: who takes it, and whether the broker has agreed. */
  readonly #topics = new Map<string, { take: Take; agreed: Deferred<void> }>();
  readonly #devices = new Map<string, Remote>();
  readonly #base: string;
  readonly #below: Topics;
  /** What is to be published; each says so only then, and nothing where nobody wants it any more. */
  #outgoing: { topic: string; make: () => Made | undefined; done: Done }[] = [];
  #underWay = 0;
  #window = WINDOW;
  #links = 0;
  #doubt: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  readonly mqtt: MqttClient;
  readonly clientId: string;
  readonly protocolVersion: 4 | 5;

  constructor(mqtt: MqttClient, options: ConnectOptions, clientId: string, protocolVersion: 4 | 5) {
    this.mqtt = mqtt;
    this.clientId = clientId;
    this.protocolVersion = protocolVersion;
    const base = options.baseTopic ?? "org/{organization_id}/device/{device_id}";
    this.#base = base.replace("{organization_id}", () => segment(options.organizationId));
    this.#below = { command: "command", response: "response", web: "command/web", status: "status", ...options.topics };
    mqtt.on("error", () => undefined); // the next link tells; unheard it would end the program
    mqtt.on("connect", (packet) => void this.#onLink(packet.properties?.receiveMaximum));
    mqtt.on("message", (topic, payload, packet) => this.#topics.get(topic)?.take(payload, packet));
  }

  get connected(): boolean {
    return this.mqtt.connected;
  }

  /** The part of a device that is not typed; `Device` is made of it. */
  remote(deviceId: string): Remote {
    if (this.#closed) throw new Closed("the connection was closed");
    let found = this.#devices.get(deviceId);
    if (found === undefined) {
      const base = this.#base.replace("{device_id}", () => segment(deviceId));
      const { command, response, web, status } = this.#below;
      const topics = {
        command: `${base}/${command}`,
        response: `${base}/${response}`,
        web: `${base}/${web}`,
        status: `${base}/${status}`,
      };
      this.#devices.set(deviceId, (found = new Remote(this, deviceId, topics)));
    }
    return found;
  }

  /** Ends everything that waits with `Closed`, and disconnects, within two seconds. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#doubt);
    for (const remote of this.#devices.values()) remote.end(new Closed("the connection was closed"));
    // MQTT.js waits without a limit for a broker that acknowledges nothing, or is gone.
    const late = new Deferred<"late">();
    const limit = setTimeout(() => late.resolve("late"), FAREWELL);
    const how = await Promise.race([this.mqtt.endAsync(), late.promise]);
    clearTimeout(limit);
    if (how === "late") this.mqtt.stream.destroy();
  }

  /** Subscribes, also over each later link; waits for the broker's word. */
  listen(topic: string, take: Take): Promise<void> {
    let found = this.#topics.get(topic);
    if (found === undefined) {
      this.#topics.set(topic, (found = { take, agreed: new Deferred() }));
      if (this.mqtt.connected) this.#subscribe(topic);
    }
    return found.agreed.promise;
  }

  unlisten(topic: string): void {
    const found = this.#topics.get(topic);
    if (found === undefined) return;
    this.#topics.delete(topic);
    found.agreed.reject(new Closed(`${topic} is not listened to any more`)); // whom the broker's word finds no more
    if (this.mqtt.connected) this.mqtt.unsubscribe(topic);
  }

  /** Publishes in its turn: MQTT.js does not look at how many messages the broker takes at once. */
  publish(topic: string, make: () => Made | undefined, done: Done): void {
    if (!this.mqtt.connected) return; // the next link says all again that waits then
    this.#outgoing.push({ topic, make, done });
    this.#publishNext();
  }

  #publishNext(): void {
    const links = this.#links;
    while (this.mqtt.connected && this.#underWay < this.#window) {
      const next = this.#outgoing.shift();
      if (next === undefined) return;
      const made = next.make();
      if (made === undefined) continue;
      this.#underWay++;
      this.mqtt.publish(next.topic, made.text, made.options, (error) => {
        if (links === this.#links) this.#underWay--;
        next.done(error ?? undefined);
        this.#publishNext();
      });
    }
  }

  #subscribe(topic: string): Promise<void> {
    return new Promise((done) => {
      this.mqtt.subscribe(topic, { qos: 1 }, (error) => {
        const agreed = this.#topics.get(topic)?.agreed;
        if (!error) agreed?.resolve();
        else if ("packet" in error && error.packet !== undefined) {
          this.#topics.delete(topic);
          agreed?.reject(new RejectedByBroker(`the broker refuses the subscription to ${topic}`));
        } // else there is no SUBACK: the link is gone, and the next one is subscribed
        done();
      });
    });
  }

  async #onLink(receiveMaximum = WINDOW): Promise<void> {
    // One less, for what MQTT.js itself sends again over another link, one after the other.
    this.#window = Math.max(1, Math.min(receiveMaximum, WINDOW) - 1);
    this.#underWay = 0;
    const links = ++this.#links;
    if (links === 1) return;
    this.#outgoing = []; // all that waits is said again, below
    await Promise.all([...this.#topics.keys()].map((topic) => this.#subscribe(topic)));
    if (this.#closed || links !== this.#links) return;
    for (const remote of this.#devices.values()) remote.onLink();
    clearTimeout(this.#doubt);
    this.#sayAgain(0);
  }

  /** What a lost link may have swallowed; a restarted broker has lost the sessions of devices too. */
  #sayAgain(tries: number): void {
    for (const remote of this.#devices.values()) remote.sayAgain();
    const pause = DOUBTS[tries];
    if (pause !== undefined) this.#doubt = setTimeout(() => this.#sayAgain(tries + 1), pause);
  }
}

// -- one device

interface Pending {
  command: string;
  data: string; // JSON
  messageId: string;
  expires: number; // ms since 1970; Infinity for never
  second: boolean; // wants the second answer
  ready: boolean; // its answer can come
  sent: boolean;
  answer: Deferred<JsonObject>;
}

interface Reader {
  tell(value: unknown, ended: boolean): void;
  look(): void;
  end(error: Error): void;
}

/** What `command/web` says to everybody. */
export interface DeviceEvent {
  command: string;
  data: JsonObject;
  fields: JsonObject;
}

/** The untyped half of a device. Made by `Connection.remote`. */
export class Remote {
  readonly #prefix = `${randomText(8)}-`;
  readonly #waiting = new Map<string, Pending>();
  readonly #readers = new Map<string, Reader>();
  readonly #events = new Set<Values<DeviceEvent>>();
  readonly #own: string;
  /** Where the device is asked to answer. */
  #asks: "shared" | "both" | "own";
  #number = 0;
  #closed: Error | undefined;
  readonly connection: Connection;
  readonly deviceId: string;
  /** In full. */
  readonly topics: Topics;

  constructor(connection: Connection, deviceId: string, topics: Topics) {
    this.connection = connection;
    this.deviceId = deviceId;
    this.topics = topics;
    this.#own = `${topics.response}/${connection.clientId}`;
    this.#asks = connection.protocolVersion === 5 ? "both" : "shared";
  }

  newId(): string {
    return `${this.#prefix}${++this.#number}`;
  }

  /** Sends a command; resolves with the fields of a success, and throws `CommandRefused` else. */
  async call<Result = JsonObject>(command: string, data: object = {}, options: CallOptions = {}): Promise<Result> {
    const until = after(options.timeoutMs ?? TIMEOUT);
    const text = JSON.stringify(data); // which may throw, and does so to the caller here
    let messageId = options.messageId ?? this.newId();
    for (let tries = 1; ; tries++) {
      const fields = await this.#request(command, text, messageId, until, options);
      if (isSuccess(fields)) return fields as Result;
      const kind = FAMILIES.get(textOf(fields.error_code)) ?? PetalRefused;
      const error = new kind(command, fields);
      const same = error.retry === "same_id";
      const safe = same || (options.messageId === undefined && (error.code === "BUSY" || options.repeatable));
      const wait = backoff(tries);
      const over = tries > (options.retries ?? 3) || Date.now() + wait >= until;
      if (error.retry === undefined || !safe || over) throw error;
      await sleep(wait, options.signal);
      if (!same) messageId = this.newId();
    }
  }

  async #request(
    command: string,
    data: string,
    messageId: string,
    until: number,
    options: CallOptions,
  ): Promise<JsonObject> {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#waiting.has(messageId)) throw new PetalkitError(`another call waits for messageId ${messageId}`);
    const answer = new Deferred<JsonObject>();
    const second = options.secondPhase ?? false;
    const call: Pending = { command, data, messageId, expires: until, second, ready: false, sent: false, answer };
    const { signal } = options;
    const abort = (): void => call.answer.reject(signal?.reason);
    const giveUp = (): void => {
      this.#asksAnew();
      const timeoutMs = options.timeoutMs ?? TIMEOUT;
      call.answer.reject(new CallTimeout(command, messageId, timeoutMs, until, call.sent));
    };
    const limit = until === Infinity ? undefined : setTimeout(giveUp, Math.min(until - Date.now(), LONGEST));
    this.#waiting.set(messageId, call);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    try {
      const listening = second ? Promise.all([this.#listen(), this.#watch()]) : this.#listen();
      listening.then(() => ((call.ready = true), this.#send(call)), call.answer.reject);
      return await call.answer.promise;
    } finally {
      clearTimeout(limit);
      signal?.removeEventListener("abort", abort);
      this.#waiting.delete(messageId);
      if (second) this.#rest();
    }
  }

  /** Is subscribed to where the device answers. */
  async #listen(): Promise<void> {
    if (this.#asks !== "shared") {
      try {
        await this.connection.listen(this.#own, (payload, packet) => this.#onOwn(payload, packet));
      } catch {
        this.#asks = "shared"; // the broker lets no client have a topic of its own
      }
    }
    if (this.#asks !== "own") {
      try {
        await this.connection.listen(this.topics.response, (payload) => this.#onAnswer(parse(payload)));
      } catch (error) {
        if (this.#asks === "shared") throw error;
        this.#asks = "own";
      }
    }
  }

  #asksAnew(): void {
    if (this.#asks !== "own") return;
    this.#asks = "both";
    if (this.#waiting.size > 0) this.#listen().catch(() => undefined);
  }

  #send(call: Pending, tries = 1): void {
    this.connection.publish(
      this.topics.command,
      () => this.#make(call),
      (error) => {
        const code = error ? codeOf(error) : 0;
        if (code < 0x80) return; // taken; or the link is gone, and the next one takes it
        if (!NEVER.has(code)) setTimeout(() => this.#send(call, tries + 1), backoff(tries)); // not now
        else call.answer.reject(new RejectedByBroker(`the broker refuses ${call.command}: reason code ${code}`));
      },
    );
  }

  #make(call: Pending): Made | undefined {
    if (call.answer.settled) return undefined;
    call.sent = true;
    const { command, data, messageId, expires } = call;
    const { deviceId } = this;
    const now = Date.now();
    const lasts = expires === Infinity ? {} : { expiresAt: iso(expires) };
    const waitResponse = this.#asks !== "own";
    const head = JSON.stringify({ command, messageId, waitResponse, deviceId, timestamp: iso(now), ...lasts });
    const text = `${head.slice(0, -1)},"data":${data}}`;
    if (this.connection.protocolVersion !== 5) return { text, options: { qos: 1 } };
    const properties: NonNullable<IPublishPacket["properties"]> = {};
    if (expires !== Infinity) {
      const seconds = Math.max(0, Math.ceil((expires - now) / 1000)) + 1;
      properties.messageExpiryInterval = Math.min(seconds, 2 ** 32 - 1);
    }
    if (this.#asks !== "shared") {
      properties.responseTopic = this.#own;
      properties.correlationData = ENCODER.encode(messageId) as CorrelationData;
    }
    return { text, options: { qos: 1, properties } };
  }

  #onOwn(payload: Uint8Array, packet: IPublishPacket): void {
    if (this.#asks === "both") {
      this.#asks = "own"; // it has shown that this is enough
      this.connection.unlisten(this.topics.response);
    }
    const fields = parse(payload);
    const data = packet.properties?.correlationData;
    const call = data && this.#waiting.get(DECODER.decode(data));
    if (!call || fields !== undefined) this.#onAnswer(fields);
    else call.answer.reject(new PetalkitError(`the answer to ${call.command} cannot be read`));
  }

  #onAnswer(fields: JsonObject | undefined): void {
    if (fields === undefined) return;
    const receipt = fields.phase === "ack" && !("success" in fields) && !("status" in fields);
    const call = this.#waiting.get(textOf(fields.messageId));
    const first = call?.second && fields.pending === true && isSuccess(fields);
    if (!receipt && !first) call?.answer.resolve(fields);
  }

  // -- what it says without being asked

  /** What the device says to everybody on `command/web`, until the loop is left. */
  events(): Values<DeviceEvent> {
    const values: Values<DeviceEvent> = new Values(async () => void (this.#events.delete(values), this.#rest()));
    this.#events.add(values);
    this.#watch().catch((error: Error) => (values.end(error), this.#events.delete(values), this.#rest()));
    return values;
  }

  /** Tells a reader what is for it; returns when that is subscribed to. */
  async add(streamId: string, reader: Reader): Promise<void> {
    this.#readers.set(streamId, reader);
    await this.#watch();
  }

  remove(streamId: string): void {
    this.#readers.delete(streamId);
    this.#rest();
  }

  async #watch(): Promise<void> {
    await this.connection.listen(this.topics.web, (payload) => this.#onWeb(payload));
    await this.connection.listen(this.topics.status, (payload, packet) => {
      if (packet.retain || parse(payload)?.status !== "online") return; // as it was before anybody read
      this.#asksAnew();
      for (const reader of [...this.#readers.values()]) reader.look();
    });
  }

  #rest(): void {
    if (this.#readers.size + this.#events.size > 0) return;
    if ([...this.#waiting.values()].some((call) => call.second)) return;
    this.connection.unlisten(this.topics.web);
    this.connection.unlisten(this.topics.status);
  }

  #onWeb(payload: Uint8Array): void {
    const fields = parse(payload);
    if (fields === undefined) return;
    const data = objectOf(fields.data) ?? objectOf(fields.payload);
    const reader = data && this.#readers.get(textOf(data.published_stream_id));
    if (reader !== undefined) {
      const end = objectOf(data?.stream_payload);
      const alone = end !== undefined && (Object.keys(end).length === 1 || typeof end.error_code === "string");
      reader.tell(data?.stream_payload, end?.ended === true && alone);
    } else if (!("published_stream_id" in (data ?? fields))) {
      const call = this.#waiting.get(textOf(fields.messageId));
      if (call?.second && data !== undefined) call.answer.resolve(data);
      const event = { command: textOf(fields.command), data: data ?? fields, fields };
      for (const values of this.#events) values.put(event);
    }
  }

  onLink(): void {
    this.#asksAnew();
    for (const reader of [...this.#readers.values()]) reader.look();
  }

  sayAgain(): void {
    for (const call of this.#waiting.values()) if (call.ready) this.#send(call);
  }

  end(error: Error): void {
    this.#closed = error;
    for (const call of this.#waiting.values()) call.answer.reject(error);
    for (const reader of [...this.#readers.values()]) reader.end(error);
    for (const values of this.#events) values.end(error);
  }

  // -- jobs and streams

  /** Starts a job; resolves when it runs, or waits for its turn. */
  async job<Result>(name: string, data: object = {}, options: CallOptions & WatchOptions = {}): Promise<Job<Result>> {
    const update = readUpdate(await this.call(name, data, options));
    if (update === undefined) throw new PetalkitError(`${name} is no job: its answer has no job_id and no state`);
    return new Job(this, name, options, update);
  }

  /** The values of a stream; it is subscribed to when the first one is asked for. */
  stream<Value>(name: string, options: WatchOptions = {}): AsyncIterable<Value> {
    return { [Symbol.asyncIterator]: () => new StreamReader<Value>(this, name, options).values };
  }

  /** Whether the device serves just what this client was made for. */
  async serves(schemaHash: string): Promise<boolean> {
    return (await this.call("petalkit/info", { names: true })).schema_hash === schemaHash;
  }
}

// -- what goes on after an answer

const GOING_ON = ["accepted", "running", "cancelling"] as const;
const ENDED = ["succeeded", "failed", "cancelled", "timed_out", "interrupted"] as const;

export type JobState = (typeof GOING_ON)[number] | (typeof ENDED)[number];

function isState(value: unknown): value is JobState {
  return [...GOING_ON, ...ENDED].some((one) => one === value);
}

function isOver(state: JobState): boolean {
  return ENDED.some((one) => one === state);
}

/** How a job stands, as its device says it. */
export interface JobUpdate {
  jobId: string;
  state: JobState;
  /** From 0 to 1; undefined when it has not said. */
  progress: number | undefined;
  message: string | undefined;
  /** In the queue, while it waits for its turn. */
  position: number | undefined;
  /** All of it: `fields.fields` is what the job reports beside. */
  fields: JsonObject;
}

function readUpdate(said: unknown): JobUpdate | undefined {
  const fields = objectOf(said);
  if (fields === undefined || typeof fields.job_id !== "string") return undefined;
  const { state, progress, message, position } = fields;
  if (!isState(state)) return undefined;
  return {
    jobId: fields.job_id,
    state,
    progress: typeof progress === "number" ? Math.min(1, Math.max(0, progress)) : undefined,
    message: typeof message === "string" ? message : undefined,
    position: typeof position === "number" ? position : undefined,
    fields,
  };
}

const LATER = [DeviceBusy, DeviceUnavailable, CallTimeout, RejectedByBroker];

/** Asks again, and is subscribed again, when the link or the device is another, and in silence. */
abstract class Following implements Reader {
  readonly name: string;
  protected readonly remote: Remote;
  protected readonly options: WatchOptions;
  protected readonly streamId: string;
  protected over = false;
  #heard = performance.now(); // on a clock that nobody sets
  #renewed = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #looking = false;
  #again = false;

  constructor(remote: Remote, name: string, options: WatchOptions) {
    this.remote = remote;
    this.name = name;
    this.options = options;
    this.streamId = remote.newId();
  }

  protected abstract take(value: unknown, ended: boolean): void;
  protected abstract ask(): Promise<void>;
  abstract end(error: Error): void;

  tell(value: unknown, ended: boolean): void {
    this.#heard = performance.now();
    if (!this.over) this.take(value, ended);
  }

  look(): void {
    this.#again = true;
    if (!this.#looking) void this.#follow(0);
  }

  protected async subscribe(more: JsonObject = {}): Promise<void> {
    const data = { subscribed_stream_id: this.streamId, data_rate_hz: this.options.rate ?? 10, ...more };
    await this.remote.call(beside(this.name, "subscribe"), data, limits(this.options));
    this.#renewed = performance.now();
  }

  async #follow(tries: number): Promise<void> {
    clearTimeout(this.#timer);
    if (this.over) return;
    this.#looking = true;
    this.#again = false;
    try {
      await this.ask();
      tries = 0;
    } catch (error) {
      if (!LATER.some((kind) => error instanceof kind)) this.end(error as Error);
      tries++;
    } finally {
      this.#looking = false;
    }
    if (this.over) return;
    if (this.#again) void this.#follow(tries);
    else this.#sleep(tries);
  }

  #sleep(tries: number): void {
    const due = Math.min(Math.max(this.#heard, this.#renewed) + SILENCE, this.#renewed + RENEW);
    const wait = tries > 0 ? Math.min(SILENCE, 1_000 * 2 ** Math.min(tries, 8)) : due - performance.now();
    const wake = (): void => (tries > 0 || wait <= 0 ? void this.#follow(tries) : this.#sleep(0));
    this.#timer = setTimeout(wake, Math.max(0, wait)); // and sees then whether something came meanwhile
  }

  /** Nothing follows. */
  protected finish(): void {
    this.over = true;
    clearTimeout(this.#timer);
    this.remote.remove(this.streamId);
  }

  /** Reads no more, and says so as far as that can be done in a moment. */
  protected async leave(): Promise<void> {
    this.finish();
    const data = { subscribed_stream_id: this.streamId };
    const said = this.remote.call(beside(this.name, "unsubscribe"), data, { timeoutMs: FAREWELL, retries: 0 });
    await said.catch(() => undefined);
  }
}

/** A job that was started. It is watched until its end, or `close`. */
export class Job<Result> extends Following {
  /** How it stands, as far as that is known here. */
  latest: JobUpdate;
  readonly #readers = new Set<Values<JobUpdate>>();
  readonly #end = new Deferred<Result>();
  #lost: Error | undefined;

  constructor(remote: Remote, name: string, options: WatchOptions, started: JobUpdate) {
    super(remote, name, options);
    this.latest = started;
    if (isOver(started.state)) {
      this.over = true; // before anybody asked: there is nothing to watch
      this.#settle();
      return;
    }
    remote.add(this.streamId, this).then(
      () => this.look(),
      (error: Error) => this.end(error),
    );
  }

  get id(): string {
    return this.latest.jobId;
  }

  /** How it stands, now and each time that it is another; the loop ends behind its end. */
  updates(): AsyncIterable<JobUpdate> {
    return {
      [Symbol.asyncIterator]: () => {
        const values: Values<JobUpdate> = new Values(async () => void this.#readers.delete(values));
        values.put(this.latest);
        if (this.over) values.end(this.#lost);
        else this.#readers.add(values);
        return values;
      },
    };
  }

  /** Waits for its end, and resolves with what it has come to. Throws `JobFailed`, `JobCancelled`. */
  result(): Promise<Result> {
    return this.#end.promise;
  }

  /** Asks for its cancellation; resolves with how it stands then: it may go on to clean up. */
  async cancel(options: CallOptions = {}): Promise<JobUpdate> {
    return this.#hear(await this.remote.call(beside(this.name, "cancel"), { job_id: this.id }, options));
  }

  /** Asks the device how it stands. */
  async status(options: CallOptions = {}): Promise<JobUpdate> {
    return this.#hear(await this.remote.call(beside(this.name, "result"), { job_id: this.id }, options));
  }

  /** Watches it no more; the job goes on. */
  async close(): Promise<void> {
    if (this.over) return;
    this.end(new Closed(`the job ${this.name} is not watched any more`));
    await this.leave();
  }

  #hear(fields: JsonObject): JobUpdate {
    const update = readUpdate(fields);
    if (update !== undefined) this.take(update.fields);
    return this.latest;
  }

  protected override take(said: unknown): void {
    const update = readUpdate(said);
    if (update === undefined || this.over || update.jobId !== this.id) return;
    const before = this.latest;
    this.latest = update;
    if (says(before) !== says(update)) for (const values of this.#readers) values.put(update);
    if (!isOver(update.state)) return;
    void this.leave();
    for (const values of this.#readers) values.end();
    this.#settle();
  }

  #settle(): void {
    const { state, fields } = this.latest;
    if (state === "succeeded") this.#end.resolve(fields.result as Result);
    else this.#end.reject(new (state === "cancelled" ? JobCancelled : JobFailed)(this.name, state, fields));
  }

  protected override async ask(): Promise<void> {
    await this.subscribe({ job_id: this.id });
    if (!this.over) await this.status(limits(this.options));
  }

  override end(error: Error): void {
    if (this.over) return;
    this.finish();
    this.#lost = error;
    for (const values of this.#readers) values.end(error);
    this.#end.reject(error);
  }
}

class StreamReader<Value> extends Following {
  readonly values: Values<Value>;
  #begun = false;

  constructor(remote: Remote, name: string, options: WatchOptions) {
    super(remote, name, options);
    this.values = new Values<Value>(
      () => this.leave(),
      () => {
        remote.add(this.streamId, this).then(
          () => this.look(),
          (error: Error) => this.end(error),
        );
      },
    );
  }

  protected override take(value: unknown, ended: boolean): void {
    if (!ended) return this.values.put(value as Value);
    const { error_code, error } = value as JsonObject;
    this.#stop(typeof error_code === "string" ? new StreamFailed(this.name, error_code, textOf(error)) : undefined);
  }

  protected override async ask(): Promise<void> {
    try {
      await this.subscribe();
      this.#begun = true;
    } catch (error) {
      if (!this.#begun) this.end(error as Error); // who has it already may wait, as after a lost link
      throw error;
    }
  }

  override end(error: Error): void {
    this.#stop(error);
  }

  #stop(error?: Error): void {
    this.finish();
    this.values.end(error);
  }
}

/** What waits to be read; the oldest makes room. */
export class Values<Value> implements AsyncIterableIterator<Value> {
  readonly #items: Value[] = [];
  #ended = false;
  #error: Error | undefined;
  #news = new Deferred<void>();
  readonly #leave: () => Promise<void>;
  #begin: (() => void) | undefined;

  constructor(leave: () => Promise<void>, begin?: () => void) {
    this.#leave = leave;
    this.#begin = begin;
  }

  put(item: Value): void {
    if (this.#ended) return;
    if (this.#items.length >= BUFFER) this.#items.shift();
    this.#items.push(item);
    this.#news.resolve();
  }

  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#news.resolve();
  }

  async next(): Promise<IteratorResult<Value>> {
    const begin = this.#begin;
    this.#begin = undefined;
    if (!this.#ended) begin?.();
    for (;;) {
      if (this.#items.length > 0) return { done: false, value: this.#items.shift() as Value };
      if (this.#ended) {
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      if (this.#news.settled) this.#news = new Deferred(); // else another waits for it too
      await this.#news.promise;
    }
  }

  /** The loop was left. */
  async return(): Promise<IteratorResult<Value>> {
    const begun = this.#begin === undefined;
    if (!this.#ended) {
      this.end();
      if (begun) await this.#leave();
    }
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

// -- small things

class Deferred<T> {
  resolve!: (value: T) => void;
  reject!: (error: unknown) => void;
  settled = false;
  readonly promise = new Promise<T>((resolve, reject) => {
    this.resolve = (value) => ((this.settled = true), resolve(value));
    this.reject = (error) => ((this.settled = true), reject(error));
  });
  constructor() {
    this.promise.catch(() => undefined); // who waits is told; where nobody does, it is no fault
  }
}

function isSuccess(fields: JsonObject): boolean {
  if ("success" in fields) return fields.success === true;
  return typeof fields.status === "string" && !FAILED.has(fields.status);
}

function beside(name: string, verb: string): string {
  const at = name.lastIndexOf("/") + 1;
  return `${name.slice(0, at)}${verb}_${name.slice(at)}`;
}

function says({ state, progress, message, position, fields }: JobUpdate): string {
  return JSON.stringify([state, progress, message, position, fields.fields]);
}

function limits({ timeoutMs }: WatchOptions): CallOptions {
  return timeoutMs === undefined ? {} : { timeoutMs };
}

function parse(payload: Uint8Array): JsonObject | undefined {
  try {
    return objectOf(JSON.parse(DECODER.decode(payload)));
  } catch {
    return undefined;
  }
}

function objectOf(value: unknown): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** What a device says, as far as an error shows it, without what steers a terminal. */
function shortened(text: string): string {
  return text.slice(0, 1000).replace(/\p{C}/gu, " ");
}

function codeOf(error: Error): number {
  const { code } = error as { code?: unknown };
  return typeof code === "number" ? code : 0;
}

function segment(id: string): string {
  if (!/^[^/+#\0]+$/u.test(id)) throw new PetalkitError(`${JSON.stringify(id)} cannot stand in a topic`);
  return id;
}

function iso(at: number): string {
  return at === Infinity ? "never" : new Date(at).toISOString();
}

/** When that is, in ms since 1970; Infinity for what no date can say. */
function after(ms: number): number {
  if (!(ms >= 0)) throw new PetalkitError(`timeoutMs must be 0 or more, not ${ms}`);
  const at = Date.now() + ms;
  return at <= LATEST ? at : Infinity;
}

function backoff(tries: number): number {
  return Math.min(60_000, 1_000 * 2 ** Math.min(tries - 1, 16)) * (0.5 + Math.random() / 2);
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = (): void => (clearTimeout(timer), reject(signal?.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", abort), resolve()), ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

function randomText(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (one) => one.toString(16).padStart(2, "0")).join("");
}

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder();
