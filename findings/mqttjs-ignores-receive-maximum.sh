#!/bin/sh
# MQTT.js 5.16.0: does not look at the Receive Maximum of the broker's CONNACK. All publications of QoS 1
# leave at once, however few the broker takes unacknowledged (MQTT 5.0, section 4.9, MQTT-3.3.4-9), and a
# broker may close the connection for that, with 0x93. So whoever publishes much has to count for itself.
# The same client loses the reason code of a refused subscription: the error has `packet`, and no `code`,
# while that of a lost link has neither.
#
# Seen, with Receive Maximum 2 and no PUBACK: 10 of 10 arrive; refused: code undefined, packet.granted [135]
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts mqtt@5.16.0 mqtt-packet@9.0.2 >/dev/null
cat > see.mjs <<'NODE'
import net from "node:net";
import mqtt from "mqtt";
import mqttPacket from "mqtt-packet";

const V5 = { protocolVersion: 5 };
let arrived = 0;
const server = net.createServer((socket) => {
  const send = (packet) => socket.write(mqttPacket.generate(packet, V5));
  const parser = mqttPacket.parser(V5);
  socket.on("data", (data) => parser.parse(data)).on("error", () => undefined);
  parser.on("packet", (packet) => {
    const { messageId } = packet;
    if (packet.cmd === "connect") send({ cmd: "connack", reasonCode: 0, properties: { receiveMaximum: 2 } });
    if (packet.cmd === "subscribe") send({ cmd: "suback", messageId, granted: [0x87] });
    if (packet.cmd === "publish") arrived++; // and is not acknowledged
  });
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${server.address().port}`, { protocolVersion: 5 });
const refused = await new Promise((done) => client.subscribe("a", { qos: 1 }, done));
for (let n = 0; n < 10; n++) client.publish("a", "x", { qos: 1 });
await new Promise((done) => setTimeout(done, 1000));
console.log(`with Receive Maximum 2 and no PUBACK: ${arrived} of 10 arrive`);
console.log(`refused: code ${refused.code}, packet.granted [${refused.packet?.granted}]`);
process.exit(arrived > 2 && refused.code === undefined && refused.packet !== undefined ? 0 : 1);
NODE
node see.mjs || { echo "this has changed"; exit 1; }
