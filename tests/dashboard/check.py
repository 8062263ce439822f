#!/usr/bin/env python3
"""Every query of every panel of the dashboard has data from a real Prometheus, which scrapes real servers under load.

    tests/dashboard/check.py [--heartbeat FILE] [--prober FILE] [--seconds N] [--pictures FOLDER]

Prints a line per query, and fails if one has no data. Needs prometheus in the PATH (`make tools`). Everything is on
loopback. --pictures also draws the dashboard's rows from the same data.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import picture
from fleet import Fleet
from panels import answers, has_data, panels

ROOT = Path(__file__).parents[2]
# Without io_uring no server sends by zerocopy.
NEEDS_IO_URING = {("Log lines dropped, zero-copy sends copied", "B")}


def wait_for(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"dashboard: {what}: not within {seconds} s")
        time.sleep(0.5)


def empty_queries(fleet, begin, end, step_s):
    drivers = fleet.ask("query", query='count(heartbeat_io_info{send="zerocopy"})')["result"]
    for panel in panels():
        for target, series in answers(fleet, panel, begin, end, step_s):
            name = (panel["title"], target["refId"])
            if has_data(series):
                print(f"ok    {' '.join(name)}: {len(series)} series")
            elif name in NEEDS_IO_URING and not drivers:
                print(f"skip  {' '.join(name)}: no server of this machine sends by zerocopy")
            else:
                print(f"FAIL  {' '.join(name)}: no data")
                yield name


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heartbeat", default=ROOT / "dist/heartbeat", type=Path)
    parser.add_argument("--prober", default=ROOT / "dist/heartbeat-probe", type=Path)
    parser.add_argument("--seconds", default=30, type=int)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    for program in (shutil.which("prometheus"), arguments.heartbeat, arguments.prober):
        if not program or not os.access(program, os.X_OK):
            sys.exit(f"dashboard: no {program or 'prometheus'} here: make tools static")
    # As many points as a narrow panel of Grafana asks for.
    step_s = max(2, arguments.seconds // 80)
    with tempfile.TemporaryDirectory(prefix="dashboard-") as folder:
        with Fleet(Path(folder), arguments.heartbeat.resolve(), arguments.prober.resolve()) as fleet:
            wait_for(fleet.is_scraped, "everything is scraped")
            begin = time.time()
            fleet.run_loads(arguments.seconds)
            end = time.time()
            empty = list(empty_queries(fleet, begin, end, step_s))
            if arguments.pictures:
                picture.draw(fleet, begin, end, step_s, arguments.pictures)
    count = sum(len(panel.get("targets", [])) for panel in panels())
    print(f"dashboard: {count - len(empty)} of {count} queries have data")
    sys.exit(bool(empty))


if __name__ == "__main__":
    main()
