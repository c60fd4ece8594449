"""Decoding records all at once gives what decoding them one by one gives, errors included."""

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needletrail_gateway.replay import columns
from needletrail_gateway.replay.columns import Columns
from needletrail_protocol import cbor, messages
from needletrail_protocol.authentication import open_envelope
from needletrail_protocol.errors import ProtocolError
from needletrail_protocol.readings import Readings, decode_record

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors" / "v1"


def one_by_one(payloads: Sequence[bytes]) -> tuple[list[Any], list[int]]:
    """The four columns and where each record's begins, by the protocol's own reader."""
    found: list[Any] = [[], [], [], []]
    firsts = [0]
    for payload in payloads:
        record = decode_record(payload)
        assert record.kind == messages.SAMPLES
        readings = Readings(record)
        for column, part in zip(
            found, (readings.t_ms, readings.dial, readings.strokes, readings.contact), strict=True
        ):
            column.extend(part)
        firsts.append(len(found[0]))
    return found, firsts


def as_lists(found: Columns) -> tuple[list[Any], list[int]]:
    four = [found.t_ms, found.dial, found.strokes, found.contact]
    return [column.tolist() for column in four], found.firsts.tolist()


@st.composite
def batches(draw: st.DrawFn) -> bytes:
    """A samples record as a pen can write it, mild or wild. The readings follow from a seed."""
    count = draw(st.one_of(st.integers(1, 4), st.integers(1, 200)))
    rng = Random(draw(st.integers(0, 1 << 32)))
    period_ms = draw(st.sampled_from([1, 20, 20, 20, 999, 1000]))
    t_ms = draw(st.sampled_from([0, 23, 24, 255, 65536, 1 << 32, (1 << 40) - 1 - 2000 * count]))
    stray = draw(st.sampled_from([0, 0, 1, 9, 400]))
    times = [t_ms]
    for index in range(1, count):
        due_ms = t_ms + index * period_ms + rng.randint(-stray, stray)
        times.append(max(due_ms, times[-1] + 1))
    spread = draw(st.sampled_from([0, 3, 7, 9, 4095]))
    base = draw(st.integers(0, 4095))
    dial = [min(max(base + rng.randint(-spread, spread), 0), 4095) for _ in times]
    most = draw(st.sampled_from([0, 2, 7, 8, 300, 20_000_000]))
    before = draw(st.sampled_from([0, 23, 24, 70_000, 20_000_000]))
    strokes = list(accumulate((rng.randint(0, most) for _ in times), initial=before))[1:]
    often = draw(st.sampled_from([0, 0.02, 0.5, 1]))
    contact = [rng.random() < often for _ in times]
    seq = draw(st.sampled_from([1, 23, 24, 256, 65536, (1 << 32) - 1]))
    session = draw(st.sampled_from([1, 24, 256, (1 << 32) - 1]))
    return messages.encode_samples(
        seq, session, count, period_ms, times, dial, before, strokes, contact
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(batches(), min_size=1, max_size=6))
def test_many_at_once_are_the_same_as_one_by_one(payloads: list[bytes]) -> None:
    assert as_lists(columns.decode(payloads)) == one_by_one(payloads)


@settings(max_examples=150, deadline=None)
@given(st.lists(batches(), min_size=1, max_size=6))
def test_what_pens_write_needs_no_slow_way(payloads: list[bytes]) -> None:
    lengths = np.array([len(payload) for payload in payloads])
    buffer = np.frombuffer(b"".join([*payloads, bytes(16)]), np.uint8)
    ends = np.cumsum(lengths)
    found = columns._all_at_once(buffer, ends - lengths, ends)
    assert as_lists(found) == one_by_one(payloads)


def outcome(read: Any, payloads: Sequence[bytes]) -> Any:
    """What came of it: the columns, or the error's reason and words."""
    try:
        return read(payloads)
    except ProtocolError as error:
        return error.reason, error.detail
    except AssertionError:
        return "no samples"


def fast(payloads: Sequence[bytes]) -> Any:
    try:
        return as_lists(columns.decode(payloads))
    except ProtocolError as error:
        if error.detail == "not a samples record":
            return "no samples"
        raise


@settings(max_examples=500, deadline=None)
@given(st.lists(batches(), min_size=1, max_size=3), st.data())
def test_spoilt_records_are_refused_with_the_same_words(payloads: list[bytes], data: Any) -> None:
    """A byte changed, taken out or put in, anywhere in a record."""
    index = data.draw(st.integers(0, len(payloads) - 1))
    spoilt = bytearray(payloads[index])
    at = data.draw(st.integers(0, len(spoilt) - 1))
    way = data.draw(st.sampled_from(["change", "flip", "remove", "insert", "cut"]))
    byte = data.draw(st.integers(0, 255))
    if way == "change":
        spoilt[at] = byte
    elif way == "flip":
        spoilt[at] ^= 1 << (byte & 7)
    elif way == "remove":
        del spoilt[at]
    elif way == "insert":
        spoilt.insert(at, byte)
    else:
        del spoilt[at:]
    payloads[index] = bytes(spoilt)
    assert outcome(fast, payloads) == outcome(one_by_one, payloads)


def sample_vectors() -> list[Any]:
    found = []
    for path in sorted(VECTORS.glob("*/*.json")):
        vector = json.loads(path.read_text())
        if not vector.get("topic", "").endswith("/record") or "message" not in vector:
            continue
        try:
            payload = open_envelope(bytes.fromhex(vector["message"]))[1]
        except ProtocolError:
            continue
        found.append(pytest.param(payload, id=f"{path.parent.name}-{path.stem}"))
    return found


def test_there_are_vectors_of_samples() -> None:
    assert len([one for one in sample_vectors() if "sample" in one.id]) > 40


@pytest.mark.parametrize("payload", sample_vectors())
def test_every_vector_is_read_or_refused_alike(payload: bytes) -> None:
    assert outcome(fast, [payload]) == outcome(one_by_one, [payload])


def test_an_element_of_a_later_version_is_ignored() -> None:
    payload = messages.encode_samples(7, 1, 2, 20, [100, 120], [5, 6], 0, [0, 1], [0, 1])
    items = cbor.decode(payload)
    assert isinstance(items, list)
    for more in ([None], [None, "new"]):
        longer = cbor.encode([*items, *more])
        assert as_lists(columns.decode([payload, longer])) == one_by_one([payload, longer])


def test_no_records_have_no_readings() -> None:
    found = columns.decode([])
    assert (len(found), found.firsts.tolist()) == (0, [0])
