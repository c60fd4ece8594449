"""What can be wrong with a sensor: short words, since they go into a record (32 characters at most).

A driver's `fault` is one of these, or None.
"""

BUS = "bus"  # no answer, or one that the chip can not give
MAGNET_MISSING = "magnet_missing"
MAGNET_WEAK = "magnet_weak"
MAGNET_STRONG = "magnet_strong"
STUCK = "stuck"  # always the same, longer than can be true
RANGE = "range"  # beyond what can be true
DISAGREES = "disagrees"  # two sensors contradict each other
LOW = "low"  # the battery
LOST = "lost"  # readings that nobody could take in time
LATE = "late"  # a timer that was held up
