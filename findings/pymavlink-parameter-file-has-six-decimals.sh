#!/bin/sh
# pymavlink 2.4.50, mavparm.MAVParmDict.save: a parameter file has six digits behind the point, however
# small the value is. Filters of flight controllers have parameters far below that (process noises of
# 1e-7 are in their documented ranges): such a one is written as 0.000000, which is another setting,
# and often one that is out of range. `load` reads 0 without a warning. A parameter log on the same
# machine (`DFReader`) and PARAM_VALUE on the wire keep all of a float32.
#
# Seen: 1e-07 is written 0.000000 and read 0.0; 2.5e-06 is written 0.000003 and read 3e-06
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pymavlink==2.4.50
venv/bin/python - <<'PYTHON'
from pymavlink import mavparm

parameters = mavparm.MAVParmDict()
parameters["GYRO_P_NSE"] = 1e-07
parameters["GBIAS_P_NSE"] = 2.5e-06
parameters["GAIN"] = 0.135
parameters.save("vehicle.parm")
written = dict(line.split() for line in open("vehicle.parm") if line.strip())
read = mavparm.MAVParmDict()
read.load("vehicle.parm")
print(written, dict(read))
assert written["GYRO_P_NSE"] == "0.000000" and read["GYRO_P_NSE"] == 0.0
assert written["GBIAS_P_NSE"] in ("0.000002", "0.000003"), written
assert read["GAIN"] == 0.135
PYTHON
