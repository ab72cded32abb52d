#!/bin/sh
# pynmea2 1.19.0: in a leap second a GNSS receiver says hhmmss = 235960 (NMEA 0183 allows 60). The
# sentence is parsed, but its `timestamp` is the text "235960.00", where it is a `datetime.time` for each
# other second, and `datetime` raises TypeError, at the access and not at parse time. Latitude and
# longitude are right. So a reader that was tested for years stops at one second of the year.
#
# Seen: 235959.00 time 2016-12-31 23:59:59+00:00; 235960.00 str TypeError
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pynmea2==1.19.0
venv/bin/python - <<'PYTHON'
from functools import reduce

import pynmea2


def sentence(clock):
    body = f"GNRMC,{clock},A,4723.8645,N,00832.7356,E,0.0,,311216,,,A"
    return f"${body}*{reduce(lambda a, b: a ^ b, body.encode()):02X}"


seen = []
for clock in ("235959.00", "235960.00"):
    found = pynmea2.parse(sentence(clock), check=True)
    try:
        when = str(found.datetime)
    except TypeError as error:
        when = type(error).__name__
    seen.append((type(found.timestamp).__name__, when, round(found.latitude, 6)))
print(seen)
assert seen == [
    ("time", "2016-12-31 23:59:59+00:00", 47.397742),
    ("str", "TypeError", 47.397742),
], seen
PYTHON
