#!/bin/sh
# Debian's mosquitto 2.0.11-1.2+deb12u2, MQTT 3.1.1: a message that matches two filters of one client comes
# once, with the QoS of the more specific filter, not with the highest that was granted (3.3.5: "respecting
# the maximum QoS of all the matching subscriptions"). The order of subscribing does not matter. So a client
# that has a tree at QoS 1 (a/#) and one topic in it at QoS 0 (a/b) gets that topic at QoS 0: what was sent
# while it was away, or is lost with the link, does not come again.
#
# Seen, published at QoS 1, with QoS 1 granted for one of the two, in both orders:
#   a/b 1, a/+ 0: 1    a/b 0, a/+ 1: 0
#   a/b 1, a/# 0: 1    a/b 0, a/# 1: 0
#   a/+ 1, a/# 0: 1    a/+ 0, a/# 1: 0
set -eu
folder=$(mktemp -d)
broker=
trap 'if [ -n "$broker" ]; then kill "$broker"; wait "$broker" || :; fi; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -qq download mosquitto=2.0.11-1.2+deb12u2 2>/dev/null
dpkg -x mosquitto_*.deb root
python3 -m venv env
env/bin/pip -q install paho-mqtt==2.1.0 2>/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'listener %s 127.0.0.1\nallow_anonymous true\n' "$port" > conf
root/usr/sbin/mosquitto -c conf >/dev/null 2>&1 &
broker=$!
cat > see.py <<'PY'
import queue, sys, time
import paho.mqtt.client as mqtt

got, done = queue.Queue(), queue.Queue()


def connect():
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    client.on_message = lambda _c, _u, message: got.put(message.qos)
    client.on_subscribe = client.on_unsubscribe = lambda *_: done.put(None)
    for _ in range(50):
        try:
            client.connect("127.0.0.1", int(sys.argv[1]))
            break
        except OSError:
            time.sleep(0.1)
    client.loop_start()
    return client


reader, writer = connect(), connect()


def delivered(*filters):
    for name, qos in filters:
        reader.subscribe(name, qos=qos)
        done.get(timeout=10)
    writer.publish("a/b", "x", qos=1).wait_for_publish(10)
    seen = got.get(timeout=10)
    for name, _ in filters:
        reader.unsubscribe(name)
        done.get(timeout=10)
    return seen


changed = False
for narrow, wide in (("a/b", "a/+"), ("a/b", "a/#"), ("a/+", "a/#")):
    said = []
    for qos in (1, 0):
        pair = ((narrow, qos), (wide, 1 - qos))
        seen = {delivered(*pair), delivered(*reversed(pair))}
        changed |= seen != {qos}
        said.append(f"{narrow} {qos}, {wide} {1 - qos}: {', '.join(map(str, seen))}")
    print("    ".join(said))
sys.exit(changed or not got.empty())
PY
timeout 60 env/bin/python see.py "$port" || { echo "this has changed"; exit 1; }
