"""Bytes a sample on the wire, beside JSON and plain CBOR.

The tapes are recorded by the firmware's own recorder: one-second batches at 50 Hz, sealed. Each peer
carries the same readings in the same batches, without any authentication; `json-sample` is the one
that sends each reading by itself, as simple pens do. The broker's overhead (MQTT 3.1.1 PUBLISH with
QoS 1: fixed header, topic, packet id) is shown apart, and is the same topic for all.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import cbor2
from parts import fleet, report, wire

from needletrail_protocol.readings import Readings
from needletrail_protocol.tables import Message

GOAL = 3.2
PEN = "bench-01"

Samples = list[dict[str, Any]]


def json_bytes(item: object) -> bytes:
    return json.dumps(item, separators=(",", ":")).encode()


def json_sample(samples: Samples) -> list[bytes]:
    return [json_bytes(sample) for sample in samples]


def json_batch(samples: Samples) -> list[bytes]:
    return [json_bytes(samples)]


def json_columns(samples: Samples) -> list[bytes]:
    return [json_bytes({key: [sample[key] for sample in samples] for key in samples[0]})]


def cbor_batch(samples: Samples) -> list[bytes]:
    """A list of [t, dial, strokes, contact]: whole numbers, no names."""
    return [cbor2.dumps([list(sample.values()) for sample in samples])]


def as_people_write(record: Message, depth_mm: Callable[[int], float]) -> Samples:
    """The readings of a record as the JSON that simple pens send."""
    found = Readings(record)
    return [
        {"t": t_ms, "depth_mm": depth_mm(counts), "strokes": strokes, "contact": contact}
        for t_ms, counts, strokes, contact in columns(found)
    ]


def as_counts(record: Message) -> Samples:
    """The readings of a record as whole numbers."""
    found = Readings(record)
    return [
        {"t": t_ms, "dial": counts, "strokes": strokes, "contact": contact}
        for t_ms, counts, strokes, contact in columns(found)
    ]


def columns(found: Readings) -> Any:
    return zip(found.t_ms, found.dial, found.strokes, found.contact, strict=True)


def measure(quick: bool) -> dict[str, Any]:
    registry = fleet.clinic(1)
    calibration = registry.pen[0].counts_to_depth()
    # Seconds of 2026, as a pen that knows the time would stamp a reading for others.
    start_ms = 1_782_896_400_000
    sizes: dict[str, list[tuple[int, int, int]]] = {}  # (samples, bytes, bytes with MQTT)
    for tape in fleet.read_tapes(quick):
        pen = fleet.fill(registry, PEN, [tape])
        for payload, record in fleet.sample_records(pen):
            named = as_people_write(record, lambda counts: calibration.depth_um(counts) / 1000)
            for sample in named:
                sample["t"] += start_ms
            counts = as_counts(record)
            for name, batch in (
                ("needletrail", [pen.sealed(payload)]),
                ("json-sample", json_sample(named)),
                ("json-batch", json_batch(named)),
                ("json-columns", json_columns(named)),
                ("cbor-list", cbor_batch(counts)),
            ):
                size = sum(map(len, batch))
                with_mqtt = sum(len(wire.publish(pen.topic, 1, message)) for message in batch)
                sizes.setdefault(name, []).append((record.count, size, with_mqtt))
    return {"goal": GOAL, "forms": {name: summary(found) for name, found in sizes.items()}}


def summary(found: Sequence[tuple[int, int, int]]) -> dict[str, float]:
    samples = sum(count for count, _, _ in found)
    whole = [size / count for count, size, _ in found if count == 50]
    return {
        "samples": samples,
        "batches": len(found),
        "bytes_a_sample": sum(size for _, size, _ in found) / samples,
        "with_mqtt": sum(size for _, _, size in found) / samples,
        "full_batches": sum(whole) / len(whole),
        "worst_full_batch": max(whole),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="three tapes only, to see that it runs")
    arguments = parser.parse_args()
    found = measure(arguments.quick)
    if arguments.json:
        print(report.as_json(found))
        return
    ours = found["forms"]["needletrail"]
    print(f"{ours['samples']} samples in {ours['batches']} batches\n")
    rows = [
        (
            name,
            f"{form['bytes_a_sample']:.2f}",
            f"{form['with_mqtt']:.2f}",
            f"{form['full_batches']:.2f}",
            f"{form['worst_full_batch']:.2f}",
            f"{form['bytes_a_sample'] / ours['bytes_a_sample']:.1f}",
        )
        for name, form in found["forms"].items()
    ]
    head = ("bytes a sample", "mean", "with MQTT", "full batches", "worst full", "ratio")
    print(report.table(head, rows))
    met = "met" if ours["bytes_a_sample"] <= GOAL else "missed"
    print(f"\ngoal: {GOAL} or less, authentication included: {met}")


if __name__ == "__main__":
    main()
