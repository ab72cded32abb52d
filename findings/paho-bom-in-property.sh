#!/bin/sh
# paho-mqtt 2.2.0: a text of MQTT 5 may contain U+FEFF, and a receiver must not strip it (section
# 1.5.4: MQTT-1.5.4-3). mosquitto passes it on. paho's client takes a PUBLISH whose Content Type has
# it for malformed: `on_message` is not called, and the client ends the connection. The same text as
# a topic or in the payload is delivered. A QoS 1 message is not acknowledged, so that a broker with a
# session sends it again on each connection.
#
# Seen: plain: 1 message, link up; U+FEFF in the payload and topic: 1 message, link up;
#       U+FEFF in Content Type: 0 messages, link ended
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check paho-mqtt==2.2.0
"$folder/venv/bin/python" - <<'PYTHON'
import socket
import threading

import paho.mqtt.client as mqtt

MARK = "\ufeff".encode()


def text(data):
    return len(data).to_bytes(2, "big") + data


def publish(topic, content_type, payload):
    properties = b"\x03" + text(content_type)
    body = text(topic) + b"\0\1" + bytes([len(properties)]) + properties + payload
    return bytes([0x32, len(body)]) + body


def outcome(packet):
    """What a client makes of a broker that accepts it and sends one QoS 1 message."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection = server.accept()[0]
            with connection:
                connection.settimeout(10)
                connection.recv(1000)  # CONNECT
                connection.sendall(b"\x20\x03\x00\x00\x00" + packet)
                while connection.recv(1000):  # until the client has gone
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        messages, ended = [], []
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.on_message = lambda _client, _data, message: messages.append(message)
        client.on_disconnect = lambda *_: ended.append(True)
        client.connect("127.0.0.1", server.getsockname()[1])
        try:
            for _ in range(20):
                if client.loop(0.1) != mqtt.MQTT_ERR_SUCCESS or messages:
                    break
        except Exception as error:
            ended.append(error)
        up = not ended and client.is_connected()
        client.disconnect()
        sock = client.socket()
        if sock is not None:
            sock.close()
        thread.join()
        return len(messages), "link up" if up else "link ended"


seen = [
    outcome(publish(b"t", b"text/plain", b"x")),
    outcome(publish(b"t" + MARK, b"text/plain", MARK)),
    outcome(publish(b"t", b"text/plain" + MARK, b"x")),
]
print(*seen)
assert seen == [(1, "link up"), (1, "link up"), (0, "link ended")], seen
PYTHON
