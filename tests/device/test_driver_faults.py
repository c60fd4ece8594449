"""The words for faults, and the measure by which drivers are found to allocate nothing."""

import gc

from chip_fakes import allocated_bytes

from needletrail_device.drivers import faults


def test_a_fault_fits_a_record():
    words = [getattr(faults, name) for name in dir(faults) if name[0] != "_"]
    words = [word for word in words if isinstance(word, str)]
    assert len(words) == len(set(words)) == 10
    for word in words:
        assert 1 <= len(word) <= 32


def test_what_allocates_is_seen_on_micropython():
    kept = []
    bytes_each = 16  # at the least: one block of the heap
    allocated = allocated_bytes(lambda: kept.append(bytearray(40)), 100)
    assert len(kept) == 101
    assert allocated >= 100 * bytes_each if hasattr(gc, "mem_alloc") else allocated == 0
