// What a program does with a generated client: for node and for browsers alike.
import {
  CallTimeout,
  Device,
  InvalidRequest,
  JobCancelled,
  JobFailed,
  PetalRefused,
  StreamFailed,
  UnknownCommand,
  connect,
  type CameraExposeData,
  type Connection,
} from "./client.js";

export async function open(url: string, protocolVersion: 4 | 5): Promise<Connection> {
  return connect(url, { organizationId: "acme", protocolVersion, mqtt: { reconnectPeriod: 50 } });
}

async function errorOf(wait: Promise<unknown>): Promise<unknown> {
  return wait.then(
    () => undefined,
    (error: unknown) => error,
  );
}

export async function exercise(url: string, protocolVersion: 4 | 5): Promise<Record<string, unknown>> {
  const connection = await open(url, protocolVersion);
  const device = new Device(connection, "Instance-1");
  const { camera } = device;
  const told: Record<string, unknown> = { current: await device.isCurrent() };

  const data: CameraExposeData = { milliseconds: 5, mode: "manual", regions: [{ left: 1 }] };
  const exposed = await camera.expose(data);
  const at: number | undefined = exposed.regions[0]?.left;
  told.exposed = [exposed.milliseconds, exposed.mode, at, exposed.note];
  told.count = (await camera.countExposures()).result;

  const refused = await errorOf(camera.expose({ milliseconds: 20_000 }));
  if (refused instanceof PetalRefused) told.refused = [refused.name, refused.code, refused.text];
  const invalid = await errorOf(camera.expose({ milliseconds: -1 }));
  if (invalid instanceof InvalidRequest) told.invalid = [invalid.code, invalid.fields.errors];
  const unknown = await errorOf(device.remote.call("camera/none"));
  told.unknown = unknown instanceof UnknownCommand;
  const late = await errorOf(camera.expose({ milliseconds: 3_000 }, { timeoutMs: 200 }));
  told.late = late instanceof CallTimeout && late.sent;
  const abort = new AbortController();
  const given = errorOf(camera.expose({ milliseconds: 3_000 }, { signal: abort.signal }));
  abort.abort(new Error("never mind"));
  told.aborted = String(await given);

  const job = await camera.scan({ frames: 20 }, { rate: 100 });
  const seen: string[] = [];
  for await (const update of job.updates()) seen.push(update.state);
  told.job = [seen.length > 3, seen.at(-1), (await job.result()).frames];
  const other = await camera.scan({ frames: 10_000 });
  told.cancelling = (await other.cancel()).state;
  const cancelled = await errorOf(other.result());
  told.cancelled = cancelled instanceof JobCancelled && cancelled instanceof JobFailed;

  const values: number[] = [];
  for await (const value of camera.focus({ rate: 50 })) {
    values.push(value.n);
    if (values.length === 5) break;
  }
  told.rising = values.every((one, at) => at === 0 || one > (values[at - 1] ?? one));
  const short: number[] = [];
  try {
    for await (const value of camera.short({ rate: 100 })) short.push(value.sharpness);
  } catch (error) {
    if (error instanceof StreamFailed) told.failed = [error.code, error.text, short.length > 0];
  }

  const many = await Promise.all(Array.from({ length: 200 }, () => camera.countExposures()));
  told.many = many.length;
  const [before] = [many[0]?.result ?? 0];
  const call = camera.expose({ milliseconds: 1_000 });
  while ((await camera.countExposures()).result === before) await new Promise((done) => setTimeout(done, 20));
  // The link goes while it runs, and with it what was subscribed to.
  connection.mqtt.stream.destroy();
  told.outlived = (await call).milliseconds;
  told.once = (await camera.countExposures()).result - before;

  // And jobs and streams go on over the next one.
  const lasting = await camera.scan({ frames: 60 });
  const more: number[] = [];
  for await (const value of camera.focus({ rate: 50 })) {
    more.push(value.n);
    if (more.length === 3) connection.mqtt.stream.destroy();
    if (more.length === 6) break;
  }
  told.streamed = more.length;
  told.lasted = (await lasting.result()).frames;
  const nobody = new Device(connection, "nobody");
  const silent = nobody.camera.focus({ timeoutMs: 200 })[Symbol.asyncIterator]().next();
  told.silent = (await errorOf(silent)) instanceof CallTimeout;

  const left = await camera.scan({ frames: 10_000 });
  await left.close();
  told.left = String(await errorOf(left.result()));
  told.stillRuns = (await left.status()).state;
  await left.cancel();
  await connection.close();
  told.closed = String(await errorOf(camera.countExposures()));
  return told;
}
