#!/bin/sh
# Debian's mosquitto 2.0.11-1.2+deb12u2: a SUBSCRIBE to a filter that the client has already replaces the
# subscription's maximum QoS, but neither its Retain As Published nor its No Local: the first ones stay,
# and SUBACK says success. MQTT 5.0, 3.8.4 (MQTT-3.8.4-3) asks that the subscription be replaced. A client
# with a kept session (Clean Start 0) that was updated and subscribes anew with other options keeps the
# old ones until it unsubscribes first.
#
# Seen:
#   first (retain as published, QoS 0): retain 1, QoS 0
#   again (retain as received 0, QoS 1): retain 1, QoS 1
#   after UNSUBSCRIBE and the same again: retain 0, QoS 1
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
from paho.mqtt.subscribeoptions import SubscribeOptions

got, done = queue.Queue(), queue.Queue()


def connect():
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda _c, _u, message: got.put((int(message.retain), message.qos))
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


def subscribed(qos, keeps):
    reader.subscribe("a/b", options=SubscribeOptions(qos=qos, retainAsPublished=keeps, retainHandling=2))
    done.get(timeout=10)
    writer.publish("a/b", "x", qos=1, retain=True).wait_for_publish(10)
    return got.get(timeout=10)


first, again = subscribed(0, True), subscribed(1, False)
reader.unsubscribe("a/b")
done.get(timeout=10)
anew = subscribed(1, False)
print("first (retain as published, QoS 0): retain %d, QoS %d" % first)
print("again (retain as received 0, QoS 1): retain %d, QoS %d" % again)
print("after UNSUBSCRIBE and the same again: retain %d, QoS %d" % anew)
sys.exit((first, again, anew) != ((1, 0), (1, 1), (0, 1)))
PY
timeout 60 env/bin/python see.py "$port" || { echo "this has changed"; exit 1; }
