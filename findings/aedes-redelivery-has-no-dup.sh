#!/bin/sh
# aedes 1.2.0 (a broker for Node): what a session delivers again has DUP 0, although the first delivery
# has left (MQTT 3.1.1, section 3.3.1.1: MQTT-3.3.1-1 wants 1), and the packet identifier of the first.
# It comes right after CONNACK, before the client has subscribed. mosquitto sets DUP there.
# So a client cannot tell a second delivery by its flag, only by session, identifier and bytes.
#
# Seen: first delivery: dup 0, id N; after a reconnect without SUBSCRIBE: session present 1, dup 0, id N
set -eu
folder=$(mktemp -d)
node=
trap 'test -z "$node" || kill "$node" 2>/dev/null || :; rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund aedes@1.2.0 >/dev/null
cat > broker.mjs <<'NODE'
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const aedes = await Aedes.createBroker()
const server = createServer(aedes.handle)
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
NODE
mkfifo port
node broker.mjs >port &
node=$!
read -r number <port
python3 - "$number" <<'PYTHON'
import socket
import sys

PORT = int(sys.argv[1])


def text(data):
    return len(data).to_bytes(2, "big") + data


def packet(kind, body):
    return bytes([kind, len(body)]) + body


class Client:
    def __init__(self, name):
        self.sock = socket.create_connection(("127.0.0.1", PORT), timeout=10)
        # MQTT 3.1.1, Clean Session 0, keep alive 60 s
        self.send(0x10, text(b"MQTT") + bytes([4, 0, 0, 60]) + text(name))
        kind, body = self.read()
        assert kind == 0x20 and body[1] == 0, (kind, body)
        self.session_present = body[0]

    def send(self, kind, body):
        self.sock.sendall(packet(kind, body))

    def take(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            assert more, "the broker closed"
            data += more
        return data

    def read(self):
        kind, length = self.take(2)
        return kind, self.take(length)

    def publish_of(self):
        """DUP and packet identifier of the PUBLISH that comes."""
        kind, body = self.read()
        assert kind >> 4 == 3 and kind >> 1 & 3 == 1, (kind, body)
        after = 2 + int.from_bytes(body[:2], "big")
        return kind >> 3 & 1, int.from_bytes(body[after : after + 2], "big")


device = Client(b"device")
device.send(0x82, b"\0\7" + text(b"t") + b"\1")
assert device.read()[0] == 0x90
sender = Client(b"sender")
sender.send(0x32, text(b"t") + b"\0\1" + b"command")
assert sender.read()[0] == 0x40
first = device.publish_of()
device.sock.close()  # without a PUBACK
again = Client(b"device")
second = again.publish_of()
print(f"first delivery: dup {first[0]}, id {first[1]}; after a reconnect without SUBSCRIBE: "
      f"session present {again.session_present}, dup {second[0]}, id {second[1]}")
assert first[0] == 0 and again.session_present == 1 and second == (0, first[1]), (first, second)
PYTHON
