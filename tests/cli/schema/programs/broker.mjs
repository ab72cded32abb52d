// A broker with a device in it, which does what a test tells it to; and the stories of a client on it.
import net from "node:net";
import mqttPacket from "mqtt-packet";
import { Device, DeviceBusy, PetalRefused, PetalkitError, RejectedByBroker, connect } from "./out/client.js";
import { Values } from "./out/petalkit.js";

const V5 = { protocolVersion: 5 };

/** `told` is what the client has sent; `acknowledge` and `answer` say what comes of the nth of it. */
async function withBroker(rules, story) {
  const told = { commands: [], most: 0, subscribed: [], expiry: [], topics: [], connects: 0 };
  const sockets = new Set();
  let underWay = 0;
  const server = net.createServer((socket) => {
    sockets.add(socket);
    const listening = new Set();
    socket.on("error", () => undefined);
    const send = (packet) => socket.writable && socket.write(mqttPacket.generate(packet, V5));
    const parser = mqttPacket.parser(V5);
    socket.on("data", (data) => parser.parse(data));
    parser.on("packet", (packet) => {
      if (packet.cmd === "connect") {
        underWay = 0;
        told.connects++;
        send({ cmd: "connack", reasonCode: 0, sessionPresent: false, properties: { receiveMaximum: 3 } });
      } else if (packet.cmd === "subscribe") {
        const topics = packet.subscriptions.map((one) => one.topic);
        told.subscribed.push(...topics);
        const granted = topics.map((topic) => (rules.refuses?.(topic) ? 0x87 : 1));
        for (const topic of topics) if (!rules.refuses?.(topic)) listening.add(topic);
        const agree = () => send({ cmd: "suback", messageId: packet.messageId, granted });
        const pause = rules.agreesAfter?.(told.subscribed);
        if (pause) setTimeout(agree, pause);
        else agree();
      } else if (packet.cmd === "unsubscribe") {
        send({ cmd: "unsuback", messageId: packet.messageId, granted: [0] });
      } else if (packet.cmd === "publish") {
        told.most = Math.max(told.most, ++underWay);
        const command = JSON.parse(packet.payload.toString());
        const number = told.commands.push(command);
        const properties = packet.properties ?? {};
        told.expiry.push(properties.messageExpiryInterval);
        told.topics.push(properties.responseTopic);
        if (rules.ends?.(number)) return socket.destroy();
        if (rules.isSilent?.(number)) return;
        setTimeout(() => {
          underWay--;
          const reasonCode = rules.acknowledges?.(number) ?? 0;
          send({ cmd: "puback", messageId: packet.messageId, reasonCode });
          if (reasonCode >= 0x80) return;
          const { messageId } = command;
          const fields = rules.answers?.(number) ?? { success: true };
          const topic = properties.responseTopic ?? "org/acme/device/d/response";
          const { correlationData } = properties;
          if (!listening.has(topic)) return;
          const payload = JSON.stringify({ messageId, ...fields });
          send({ cmd: "publish", topic, payload, qos: 0, properties: correlationData ? { correlationData } : {} });
        }, rules.answersAfter?.(number) ?? 2);
      }
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const url = `mqtt://127.0.0.1:${server.address().port}`;
  const connection = await connect(url, { organizationId: "acme", mqtt: { reconnectPeriod: 20 }, ...rules.options });
  try {
    return await story(new Device(connection, "d"), told, url);
  } finally {
    await connection.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

const errorOf = (promise) => promise.then(() => undefined, (error) => error);
const ids = (told) => new Set(told.commands.map((one) => one.messageId)).size;
const busy = (retry) => ({ success: false, error_code: "BUSY", retryable: true, retry });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const first = (fields) => (number) => (number === 1 ? fields : undefined);

const stories = {
  window: withBroker({}, async (device, told) => {
    await Promise.all(Array.from({ length: 50 }, () => device.camera.countExposures()));
    return [told.commands.length, told.most <= 3];
  }),
  quota: withBroker({ acknowledges: first(0x97) }, async (device, told) => {
    await device.camera.countExposures();
    return [told.commands.length, ids(told)];
  }),
  forbidden: withBroker({ acknowledges: () => 0x87 }, async (device, told) => {
    const error = await errorOf(device.camera.countExposures());
    return [error instanceof RejectedByBroker, told.commands.length];
  }),
  noTopicOfItsOwn: withBroker({ refuses: (topic) => topic.includes("response/") }, async (device, told) => {
    await device.camera.countExposures();
    return [told.topics[0] ?? null, told.commands[0].waitResponse];
  }),
  nowhere: withBroker({ refuses: () => true }, async (device) => {
    return (await errorOf(device.camera.countExposures())) instanceof RejectedByBroker;
  }),
  ownTopic: withBroker({}, async (device, told) => {
    await device.camera.countExposures();
    await device.camera.countExposures();
    const { clientId } = device.remote.connection;
    const own = `org/acme/device/d/response/${clientId}`;
    return [told.topics.every((one) => one === own), told.commands.map((one) => one.waitResponse)];
  }),
  otherTopics: withBroker({ options: { baseTopic: "fleet/{device_id}", topics: { response: "answers" } } }, async (device, told) => {
    await device.camera.countExposures();
    const { clientId } = device.remote.connection;
    return [told.topics[0] === `fleet/d/answers/${clientId}`, told.subscribed.includes("fleet/d/answers")];
  }),
  sameId: withBroker({ answers: first(busy("same_id")) }, async (device, told) => {
    await device.camera.countExposures();
    return [told.commands.length, ids(told)];
  }),
  newId: withBroker({ answers: first(busy("new_id")) }, async (device, told) => {
    await device.camera.countExposures();
    return [told.commands.length, ids(told)];
  }),
  noRetries: withBroker({ answers: () => busy("same_id") }, async (device, told) => {
    const error = await errorOf(device.camera.countExposures({}, { retries: 0 }));
    return [error instanceof DeviceBusy, told.commands.length];
  }),
  notSafe: withBroker({ answers: () => ({ ...busy("new_id"), error_code: "JAMMED" }) }, async (device, told) => {
    const error = await errorOf(device.camera.countExposures());
    return [error instanceof PetalRefused, error.retry, told.commands.length];
  }),
  repeatable: withBroker({ answers: first({ ...busy("new_id"), error_code: "JAMMED" }) }, async (device, told) => {
    await device.camera.countExposures({}, { repeatable: true });
    return [told.commands.length, ids(told)];
  }),
  ownId: withBroker({ answers: () => busy("new_id") }, async (device, told) => {
    const error = await errorOf(device.camera.countExposures({}, { messageId: "mine" }));
    return [error instanceof DeviceBusy, told.commands.length];
  }),
  lostLink: withBroker({ ends: (number) => number === 1 }, async (device, told) => {
    await device.camera.countExposures();
    return [told.commands.length > 1, ids(told), told.subscribed.filter((one) => one.includes("/response/")).length];
  }),
  expiry: withBroker({}, async (device, told) => {
    await device.camera.countExposures({}, { timeoutMs: 5_000 });
    await device.camera.countExposures({}, { timeoutMs: Infinity });
    const [one, other] = told.commands;
    const lasts = Date.parse(one.expiresAt) - Date.parse(one.timestamp);
    return [lasts > 4_000 && lasts <= 5_000, told.expiry[0], other.expiresAt ?? null, told.expiry[1] ?? null];
  }),
  dialect: withBroker({ answers: (number) => (number === 1 ? { phase: "ack" } : { status: "success", result: 7 }) },
    async (device, told) => {
      const late = await errorOf(device.camera.countExposures({}, { timeoutMs: 300 })); // a receipt is no answer
      return [late.name, (await device.camera.countExposures()).result, told.commands.length];
    }),
  noJson: withBroker({}, async (device, told) => {
    const round = {};
    round.round = round;
    const errors = [await errorOf(device.remote.call("camera/x", { n: 1n })), await errorOf(device.remote.call("camera/x", round))];
    await device.camera.countExposures(); // what follows goes on
    return [errors.map((one) => one.name), told.commands.length];
  }),
  asCalled: withBroker({}, async (device, told) => {
    const data = { exposures: 1 };
    const call = device.remote.call("camera/x", data);
    data.exposures = 2;
    await call;
    return told.commands[0].data;
  }),
  longest: withBroker({}, async (device, told) => {
    await device.camera.countExposures({}, { timeoutMs: 1e18 });
    await device.camera.countExposures({}, { timeoutMs: 8e15 });
    const wrong = await errorOf(device.camera.countExposures({}, { timeoutMs: NaN }));
    return [told.commands[0].expiresAt ?? null, told.expiry[1], wrong instanceof PetalkitError];
  }),
  noOwner: withBroker({}, async (_, told, url) => {
    const error = await errorOf(connect(url, { organizationId: "a/b" }));
    await sleep(100);
    return [error.name, told.connects];
  }),
  answeredFirst: withBroker({
    isSilent: (number) => number === 2,
    answersAfter: (number) => (number === 3 ? 300 : 2),
    agreesAfter: (subscribed) => subscribed.filter((one) => one.endsWith("/response")).length === 2 && 600,
  }, async (device) => {
    await device.camera.countExposures(); // the answers to others are not listened to from here on
    const lost = errorOf(device.camera.countExposures({}, { timeoutMs: 100 })); // and are again
    const other = device.camera.countExposures();
    await lost;
    const late = device.camera.countExposures({}, { timeoutMs: 2_000 }); // waits for the broker's word
    await other; // and nobody listens any more
    return (await errorOf(late)) ?? null;
  }),
  silent: withBroker({ isSilent: () => true }, async (device) => {
    const call = errorOf(device.camera.countExposures());
    await sleep(100);
    const closed = device.remote.connection.close().then(() => "closed");
    return [await Promise.race([closed, sleep(10_000)]), (await call).name];
  }),
  endedBefore: withBroker({ answers: () => ({ success: true, job_id: "j", state: "succeeded", result: 5 }) }, async (device, told) => {
    const job = await device.remote.job("camera/scan");
    const seen = [];
    for await (const update of job.updates()) seen.push(update.state);
    return [await job.result(), seen, told.commands.length];
  }),
  dialectNo: withBroker({ answers: () => ({ status: "error", message: "no card", error_code: "NO_CARD" }) }, async (device) => {
    const error = await errorOf(device.camera.countExposures());
    return [error.name, error.code, error.text];
  }),
};

/** Two wait for a value at once, as where one was given up for a time limit. */
stories.twoReaders = (async () => {
  const values = new Values(async () => undefined);
  const waiting = [values.next(), values.next()];
  values.put(1);
  values.put(2);
  const read = Promise.all(waiting).then((all) => all.map((one) => one.value));
  return await Promise.race([read, sleep(1_000)]);
})();

const found = {};
for (const [name, story] of Object.entries(stories)) found[name] = await story;
console.log(JSON.stringify(found));
