"""The peer of the pen's timer: a loop that only sleeps until the next period and notes how late it was.

`micropython bare_timer.py PERIOD_MS PERIODS` prints one JSON line with the names that the pen's timer
tells: samples, p50_us, p99_us, latest_us, late. It allocates nothing while it runs.
"""

import json
import sys
import time
from array import array

from micropython import heap_lock, heap_unlock

LATE_US = 5000
BUCKET_US = 10


def _run(period_us, late):
    """The largest lateness; the histogram is filled."""
    latest_us = 0
    last = len(late) - 1
    left = late[0]
    late[0] = 0
    due_us = time.ticks_us()
    while left:
        left -= 1
        due_us += period_us
        late_us = time.ticks_us() - due_us
        while late_us < 0:
            time.sleep_us(-late_us)
            late_us = time.ticks_us() - due_us
        late[min(late_us // BUCKET_US, last)] += 1
        latest_us = max(latest_us, late_us)
    return latest_us


def main():
    periods = int(sys.argv[2])
    late = array("I", [0] * (LATE_US // BUCKET_US + 1))
    late[0] = periods
    heap_lock()
    latest_us = _run(int(sys.argv[1]) * 1000, late)
    heap_unlock()
    told = {"samples": sum(late), "latest_us": latest_us, "late": late[-1]}
    for name, percent in (("p50_us", 50), ("p99_us", 99)):
        count = bucket = 0
        while 100 * count < percent * periods:
            count += late[bucket]
            bucket += 1
        told[name] = bucket * BUCKET_US
    print(json.dumps(told))


main()
