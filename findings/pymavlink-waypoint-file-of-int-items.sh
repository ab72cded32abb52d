#!/bin/sh
# pymavlink 2.4.50, mavwp.MAVWPLoader: a mission that came from the vehicle as MISSION_ITEM_INT (latitude
# and longitude times 1e7, what the protocol asks for today) is taken by `add` and written by `save`
# without an error, but the numbers stand in the "QGC WPL 110" file as they came over the wire:
# 473977419 degrees. `load` reads that back as MISSION_ITEM, whose fields are degrees, and has no
# objection either. A mission that came as MISSION_ITEM is written in degrees. The head of the file is
# the same, so nobody can tell the two files apart but by their size.
#
# Seen: MISSION_ITEM 47.397742 8.545594, MISSION_ITEM_INT 473977419.000000 85455938.000000
#       loaded again: MISSION_ITEM 473977419.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pymavlink==2.4.50
venv/bin/python - <<'PYTHON'
from pymavlink import mavwp
from pymavlink.dialects.v20 import common as mavlink

NAV_WAYPOINT, GLOBAL_RELATIVE, GLOBAL_RELATIVE_INT = 16, 3, 6


def written(item):
    mission = mavwp.MAVWPLoader()
    mission.add(item)
    mission.save("mission.txt")
    head, line = open("mission.txt").read().splitlines()
    assert head == "QGC WPL 110", head
    return line.split("\t")[8:10]


degrees = written(
    mavlink.MAVLink_mission_item_message(
        1, 1, 0, GLOBAL_RELATIVE, NAV_WAYPOINT, 0, 1, 0, 0, 0, 0, 47.3977419, 8.5455938, 20
    )
)
integers = written(
    mavlink.MAVLink_mission_item_int_message(
        1, 1, 0, GLOBAL_RELATIVE_INT, NAV_WAYPOINT, 0, 1, 0, 0, 0, 0, 473977419, 85455938, 20
    )
)
again = mavwp.MAVWPLoader()
count = again.load("mission.txt")
print("MISSION_ITEM", *degrees, "MISSION_ITEM_INT", *integers)
print("loaded again:", count, again.wp(0).get_type(), again.wp(0).x)
assert degrees == ["47.397742", "8.545594"], degrees
assert integers == ["473977419.000000", "85455938.000000"], integers
assert (count, again.wp(0).get_type(), again.wp(0).x) == (1, "MISSION_ITEM", 473977419.0)
PYTHON
