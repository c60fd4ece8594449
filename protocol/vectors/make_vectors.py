"""Writes the vectors in v1/ with other people's CBOR, COSE and HMAC: cbor2, pycose, hmac.

Nothing here is taken from needletrail_protocol: field names, ranges and columns are written down a
second time, from README.md and needletrail.cddl, so that the vectors are an oracle and no mirror.
Valid messages are sealed by pycose. Invalid ones are put together from bytes, each wrong in one
place only and with a MAC that fits, so that it gets exactly as far as the step that refuses it.

    python protocol/vectors/make_vectors.py [FOLDER]

writes FOLDER/valid/*.json and FOLDER/invalid/*.json, always the same bytes. FOLDER is v1 here if
it is not given. Files that are no longer made are removed.
"""

import hashlib
import hmac
import json
import sys
from pathlib import Path

import cbor2
from pycose.algorithms import HMAC256
from pycose.headers import KID, Algorithm
from pycose.keys import SymmetricKey
from pycose.messages import Mac0Message

HERE = Path(__file__).parent

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
PEN = "pen-07"

U32 = 2**32 - 1
T_MAX = 2**40 - 1
UTC_MAX = 2**43 - 1
UM_MAX = 20_000
UTC = 1_790_000_000_000


def ndef(rest):
    """An NDEF message of one URI record, https:// abbreviated as 4."""
    return bytes([0xD1, 1, len(rest) + 1]) + b"U\x04" + rest


BADGE = ndef(b"clinic.example/badge/b-0042")
CARTRIDGE = ndef(b"id.gs1.org/01/09501101530003/10/L7/21/S77?17=271231")

# Name, type, smallest, largest (of strings and lists: their length in bytes or elements), may be
# null. From needletrail.cddl.
SEQ = ("seq", int, 1, U32, False)
TIME = ("t_ms", int, 0, T_MAX, False)
SESSION = ("session", int, 1, U32, False)
UTC_OR_NULL = ("utc_ms", int, 0, UTC_MAX, True)
GRANT_UTC = ("grant_utc_ms", int, 0, UTC_MAX, True)
CODE = ("code", str, 1, 32, False)
FIELDS = {
    "boot": (
        SEQ,
        TIME,
        ("boot", int, 1, U32, False),
        UTC_OR_NULL,
        ("firmware", str, 1, 32, False),
        ("board", str, 1, 32, False),
    ),
    "open": (
        SEQ,
        TIME,
        SESSION,
        ("cause", int, 0, 2, False),
        ("badge", bytes, 0, 888, True),
        ("cartridge", bytes, 0, 888, True),
        ("lead", list, 0, 4, False),
        ("strokes", int, 0, U32, False),
        GRANT_UTC,
    ),
    "samples": (
        SEQ,
        TIME,
        SESSION,
        ("period_ms", int, 1, 1000, False),
        ("count", int, 1, 200, False),
        ("dial_base", int, 0, 4095, False),
        ("dial_column", bytes, 1, 1200, False),
        ("strokes_base", int, 0, U32, False),
        ("strokes_column", bytes, 1, 1200, False),
        ("contact_runs", bytes, 1, 400, False),
        ("jitter_column", bytes, 1, 1200, True),
    ),
    "badge": (SEQ, TIME, SESSION, ("badge", bytes, 0, 888, False)),
    "close": (
        SEQ,
        TIME,
        SESSION,
        ("cause", int, 0, 5, False),
        ("passes", int, 0, U32, False),
        ("peak_counts", int, 0, 4095, True),
        ("breach_ms", int, 0, U32, False),
    ),
    "alert-shown": (SEQ, TIME, SESSION, CODE),
    "local-breach": (
        SEQ,
        TIME,
        SESSION,
        ("limit_um", int, 0, UM_MAX, False),
        ("depth_um", int, 0, UM_MAX, False),
        GRANT_UTC,
    ),
    "grant-taken": (SEQ, TIME, SESSION, GRANT_UTC),
    "fault": (
        SEQ,
        TIME,
        ("part", str, 1, 32, False),
        ("fault", str, 1, 32, False),
        ("is_over", int, 0, 1, False),
    ),
    "not-armed": (SEQ, TIME, ("reason", str, 1, 32, False)),
    "hello": (
        ("oldest_seq", int, 1, U32, False),
        ("next_seq", int, 1, U32, False),
        ("boot", int, 0, U32, False),
        ("firmware", str, 1, 32, False),
        GRANT_UTC,
        ("config", int, 0, U32, False),
        ("connection", int, 1, U32, False),
        ("t_ms", int, 0, T_MAX, True),
        UTC_OR_NULL,
        ("battery_percent", int, 0, 100, True),
    ),
    "will": (("boot", int, 0, U32, False), ("connection", int, 1, U32, False)),
    "ack": (("seq", int, 0, U32, False), ("utc_ms", int, 0, UTC_MAX, False)),
    "grant": (
        ("issued_utc_ms", int, 0, UTC_MAX, False),
        ("expires_utc_ms", int, 0, UTC_MAX, False),
        ("policy", str, 1, 64, False),
        ("nobody_um", int, 0, UM_MAX, False),
        ("permits", list, 0, 200, False),
        ("rules", int, 0, U32, False),
    ),
    "alert": (
        SESSION,
        CODE,
        TIME,
        ("limit_um", int, 0, UM_MAX, True),
        ("depth_um", int, 0, UM_MAX, True),
    ),
}
OPTIONAL = ("jitter_column", "battery_percent")  # each the last of its message
ADDED = ("battery_percent",)  # by a minor version: what was published before is without it
KINDS = {
    "boot": 1,
    "open": 2,
    "samples": 3,
    "badge": 4,
    "close": 5,
    "alert-shown": 6,
    "local-breach": 7,
    "grant-taken": 8,
    "fault": 9,
    "not-armed": 10,
}


# ---- an independent writer of columns (README.md, "Columns") ----


def leb128(number):
    """Unsigned LEB128, shortest form."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F)
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def column(integers):
    """⌈n/2⌉ bytes of nibbles, then the exceptions."""
    digits = "".join("%x" % (n + 8) if abs(n) <= 7 else "0" for n in integers)
    if len(digits) % 2:
        digits += "8"
    tail = [leb128(2 * n if n >= 0 else -2 * n - 1) for n in integers if abs(n) > 7]
    return bytes.fromhex(digits) + b"".join(tail)


def contact_runs(contact):
    """Run lengths, the first of them without contact."""
    runs, state = [0], False
    for flag in contact:
        if flag != state:
            runs.append(0)
            state = flag
        runs[-1] += 1
    return b"".join(leb128(run) for run in runs)


def samples(seq, session, period_ms, t_ms, dial, strokes_base, strokes, contact):
    """The fields of a samples record from its readings."""
    steps = [after - before for before, after in zip([strokes_base, *strokes], strokes)]
    jitter = [t - t_ms[0] - index * period_ms for index, t in enumerate(t_ms)]
    fields = [seq, t_ms[0], session, period_ms, len(dial), dial[0]]
    fields += [column([counts - dial[0] for counts in dial]), strokes_base, column(steps)]
    fields += [contact_runs(contact)]
    return [*fields, column(jitter)] if any(jitter) else fields


# ---- messages ----


def topic_of(channel, pen=PEN, clinic="bench"):
    return "needletrail/1/{}/{}/{}".format(clinic, pen, channel)


def channel_of(name):
    return "record" if name in KINDS else name


def payload_of(name, fields):
    return cbor2.dumps(([KINDS[name]] if name in KINDS else []) + list(fields))


def external_of(topic, pen=PEN, epoch=1):
    return cbor2.dumps([topic, pen, epoch])


def kid_of(epoch):
    return epoch.to_bytes((epoch.bit_length() + 7) // 8, "big")


def by_pycose(topic, payload, pen=PEN, epoch=1, key=KEY):
    """The message, sealed by pycose."""
    message = Mac0Message(
        phdr={Algorithm: HMAC256, KID: kid_of(epoch)},
        uhdr={},
        payload=payload,
        external_aad=external_of(topic, pen, epoch),
        key=SymmetricKey(k=key),
    )
    return message.encode()


def by_hand(
    topic,
    payload,
    protected=None,
    external=None,
    context="MAC0",
    key=KEY,
    start="d184",
    protected_item=None,
    unprotected="a0",
    payload_item=None,
    tag_item=None,
):
    """The message put together from its parts; each part can be another than it should be."""
    protected = cbor2.dumps({1: 5, 4: b"\x01"}) if protected is None else protected
    external = external_of(topic) if external is None else external
    structure = cbor2.dumps([context, protected, external, payload])
    tag = hmac.new(key, structure, hashlib.sha256).digest()
    return b"".join(
        (
            bytes.fromhex(start),
            cbor2.dumps(protected) if protected_item is None else protected_item,
            bytes.fromhex(unprotected),
            cbor2.dumps(payload) if payload_item is None else payload_item,
            cbor2.dumps(tag) if tag_item is None else tag_item(tag),
        )
    )


# ---- valid ----


def plain(item):
    """A field as JSON: bytes as hex."""
    if isinstance(item, bytes):
        return item.hex()
    return [plain(part) for part in item] if isinstance(item, (list, tuple)) else item


def valid(
    describes, name, fields, extra=(), readings=None, epoch=1, pen=PEN, clinic="bench", channel=None
):
    topic = topic_of(channel or channel_of(name), pen, clinic)
    payload = payload_of(name, [*fields, *extra])
    message = by_pycose(topic, payload, pen, epoch)
    protected = cbor2.dumps({1: 5, 4: kid_of(epoch)})
    if message != by_hand(topic, payload, protected, external_of(topic, pen, epoch)):
        raise AssertionError("pycose and hmac differ about " + describes)
    named = {"kind": KINDS[name]} if name in KINDS else {}
    values = list(fields) + [None] * (len(FIELDS[name]) - len(fields))
    named |= {row[0]: plain(value) for row, value in zip(FIELDS[name], values)}
    vector = {
        "describes": describes,
        "topic": topic,
        "pen": pen,
        "epoch": epoch,
        "key": KEY.hex(),
        "key_note": "bench only",
        "message": message.hex(),
        "fields": named,
    }
    if extra:
        vector["extra_elements"] = len(extra)
    if readings is not None:
        vector["readings"] = readings
    return vector


def valid_samples(describes, t_ms, dial, strokes_base, strokes, contact, period_ms=20, extra=()):
    fields = samples(7, 1, period_ms, t_ms, dial, strokes_base, strokes, contact)
    if extra and len(fields) == len(FIELDS["samples"]) - 1:
        fields.append(None)
    readings = {"t_ms": t_ms, "dial": dial, "strokes": strokes, "contact": contact}
    return valid(describes, "samples", fields, extra, readings)


def extreme(name, largest):
    """A message's fields, each at one end of its range; null is the lowest where it is allowed."""
    fields = []
    for field, kind, low, high, may_be_null in FIELDS[name]:
        if field in ADDED:
            continue
        size = high if largest else low
        if may_be_null and not largest:
            fields.append(None)
        elif field == "permits":
            fields.append([["a", UM_MAX]] * size)
        elif kind is list:
            fields.append([4095] * size)
        else:
            fields.append(size if kind is int else (b"\xa5" if kind is bytes else "x") * size)
    return fields


def valid_vectors():
    close = [9, 61_000, 1, 0, 14, 1822, 0]
    vectors = {
        "hello": valid(
            "hello of a pen that has a grant",
            "hello",
            [5, 9, 2, "1.0.0", UTC, 0xCBF43926, 3, 61_000, UTC + 61_000],
        ),
        "hello-battery": valid(
            "hello of a pen that knows its battery's charge",
            "hello",
            [5, 9, 2, "1.0.0", UTC, 0xCBF43926, 3, 61_000, UTC + 61_000, 87],
        ),
        "hello-battery-full": valid(
            "hello of a pen whose battery is full",
            "hello",
            [5, 9, 2, "1.0.0", UTC, 0xCBF43926, 3, 61_000, UTC + 61_000, 100],
        ),
        "hello-battery-empty": valid(
            "hello of a pen whose battery is empty",
            "hello",
            [5, 9, 2, "1.0.0", UTC, 0xCBF43926, 3, 61_000, UTC + 61_000, 0],
        ),
        "hello-battery-unknown": valid(
            "hello of a pen that does not know its battery's charge",
            "hello",
            [1, 1, 1, "1.0.0", None, 0xCBF43926, 1, 900, None, None],
        ),
        "hello-no-grant": valid(
            "hello without a grant, clock not set",
            "hello",
            [1, 1, 1, "1.0.0", None, 0xCBF43926, 1, 900, None],
        ),
        "hello-simulated": valid(
            "hello of a board whose time is simulated",
            "hello",
            [1, 1, 1, "1.0.0", None, 0, 1, None, None],
        ),
        "will": valid("the last will of the third connection of boot 2", "will", [2, 3]),
        "boot": valid("boot with the clock set", "boot", [1, 0, 1, UTC, "1.0.0", "rp2350"]),
        "boot-no-clock": valid("boot, no UTC", "boot", [1, 12, 1, None, "1.0.0", "rp2350"]),
        "boot-text-utf8": valid(
            "text of 32 bytes in 16 characters", "boot", [1, 0, 1, UTC, "é" * 16, "€"]
        ),
        "open": valid(
            "a cartridge arrived; badge read before",
            "open",
            [2, 1500, 1, 0, BADGE, CARTRIDGE, [811, 812, 811, 810], 0, UTC],
        ),
        "open-by-motor": valid(
            "the motor started; no tag, no lead, no grant",
            "open",
            [2, 1500, 1, 1, None, None, [], 77, None],
        ),
        "open-empty-ndef": valid(
            "tags that hold no byte are not tags that were not read",
            "open",
            [2, 1500, 1, 2, b"", b"", [0], 0, UTC],
        ),
        "badge": valid("a badge was read", "badge", [3, 2000, 1, BADGE]),
        "badge-empty": valid("a badge that holds no byte", "badge", [3, 2000, 1, b""]),
        "close": valid("removal after 14 passes", "close", close),
        "close-no-work": valid("closed by idling, no peak", "close", [9, 1, 1, 1, 0, None, 0]),
        "alert-shown": valid("an alert was shown", "alert-shown", [8, 3000, 1, "DEPTH_EXCEEDED"]),
        "local-breach": valid(
            "the pen's own check, with a grant", "local-breach", [8, 3000, 1, 500, 720, UTC]
        ),
        "local-breach-no-grant": valid(
            "the pen's own check, without a grant", "local-breach", [8, 3000, 1, 0, 720, None]
        ),
        "urgent": valid(
            "the copy of a breach's record, ahead of its turn",
            "local-breach",
            [14_420, 3000, 1, 500, 720, UTC],
            channel="urgent",
        ),
        "grant-taken": valid("a newer grant during session 1", "grant-taken", [8, 3000, 1, UTC]),
        "fault": valid("the dial's magnet is gone", "fault", [8, 3000, "dial", "no magnet", 0]),
        "fault-over": valid("the dial works again", "fault", [9, 4000, "dial", "no magnet", 1]),
        "not-armed": valid("the pen did not start", "not-armed", [8, 3000, "grant_expired"]),
        "ack": valid("all up to 9 is committed", "ack", [9, UTC]),
        "ack-nothing": valid("nothing is committed yet", "ack", [0, UTC]),
        "grant": valid(
            "two permits",
            "grant",
            [UTC, UTC + 86_400_000, "cosmetic-2026.1", 0, [["b-0042", 500], ["b-0043", 2500]], 3],
        ),
        "grant-nobody": valid("no permit, all rules warn", "grant", [UTC, UTC + 1, "p", 250, [], 0]),
        "grant-permit-until": valid(
            "a permit with its end",
            "grant",
            [UTC, UTC + 1, "p", 250, [["b-0042", 500, UTC + 1000]], 0],
        ),
        "grant-permit-flags": valid(
            "permits whose bound is exclusive, hard, both, neither",
            "grant",
            [
                *(UTC, UTC + 1, "p", 250),
                [
                    ["b-0042", 500, UTC + 1000, 1],
                    ["b-0043", 500, None, 2],
                    ["b-0044", 500, None, 3],
                    ["b-0045", 500, None, 0],
                ],
                1,
            ],
        ),
        "grant-longer-permit": valid(
            "a permit of a later minor version; its fifth element is ignored",
            "grant",
            [UTC, UTC + 1, "p", 250, [["b-0042", 500, UTC, 1, None]], 0],
        ),
        "alert": valid("depth beyond a limit", "alert", [1, "DEPTH_EXCEEDED", 3000, 500, 720]),
        "alert-no-depth": valid(
            "nothing to do with depth", "alert", [1, "LICENSE_EXPIRED", 3000, None, None]
        ),
    }
    for epoch in (1, 0xFF, 0x100, 0xFFFF, 0x10000, 0xFFFFFF, 0x1000000, U32):
        describes = "key epoch %d, an id of %d bytes" % (epoch, len(kid_of(epoch)))
        vectors["epoch-%d" % epoch] = valid(describes, "close", close, epoch=epoch)
    longest, shortest = "0" + "z-" * 15 + "9", "a"
    vectors["identifiers-longest"] = valid(
        "clinic and pen of 32 characters", "close", close, pen=longest, clinic=longest[::-1]
    )
    vectors["identifiers-shortest"] = valid(
        "clinic and pen of 1 character", "close", close, pen=shortest, clinic="7"
    )
    for name in FIELDS:
        if name == "samples":
            continue
        describes = "every field of %s at the %s end of its range"
        vectors[name + "-smallest"] = valid(describes % (name, "lower"), name, extreme(name, False))
        vectors[name + "-largest"] = valid(describes % (name, "upper"), name, extreme(name, True))
    extra = (0, -1, b"\x00", "later", [1, [2, [True, False]]], None)
    for name, rows in FIELDS.items():
        if name != "samples":
            describes = "elements of a later minor version after those of %s; they are ignored"
            known = len(rows) - len(extreme(name, False))  # what has become a field since
            fields = [*extreme(name, False), *extra[:known]]
            vectors[name + "-longer"] = valid(describes % name, name, fields, extra[known:])
    return vectors | valid_samples_vectors(extra)


def valid_samples_vectors(extra):
    def even(count, start=1520, period_ms=20):
        return [start + index * period_ms for index in range(count)]

    wave = [820 + (index * 7 % 13) - 6 for index in range(200)]
    strokes = [1000 + index * 2 + index // 3 for index in range(1, 201)]
    patches = [index % 50 >= 10 for index in range(200)]
    spikes = [4095 if index % 9 == 4 else 0 if index % 9 == 7 else 811 for index in range(25)]
    late = [t + (index * 5 % 4 if index else 0) for index, t in enumerate(even(25))]
    stall = [t + (2_000_000_000 if index > 3 else 0) for index, t in enumerate(even(8))]
    return {
        "samples-one": valid_samples("one reading", [1520], [811], 0, [0], [False]),
        "samples-one-contact": valid_samples(
            "one reading, in contact: a first run of 0", [1520], [811], 5, [6], [True]
        ),
        "samples-fifty": valid_samples(
            "a second of work", even(50), wave[:50], 1000, strokes[:50], [True] * 50
        ),
        "samples-two-hundred": valid_samples(
            "as many readings as a record holds", even(200), wave, 1000, strokes, patches
        ),
        "samples-alternating": valid_samples(
            "contact at every other reading: the most runs",
            even(200),
            [0] * 200,
            0,
            [0] * 200,
            [index % 2 == 0 for index in range(200)],
        ),
        "samples-exceptions": valid_samples(
            "dial readings too far from the base for a nibble, odd count",
            even(25),
            spikes,
            0,
            list(range(100, 2600, 100)),
            [True] * 25,
        ),
        "samples-edges": valid_samples(
            "-7 and 7 are nibbles, -8 and 8 exceptions",
            even(6),
            [811, 804, 818, 803, 819, 811],
            0,
            [7, 15, 15, 22, 30, 31],
            [False, True, True, True, False, False],
        ),
        "samples-jitter": valid_samples(
            "readings that came late", late, wave[:25], 1000, strokes[:25], [False] * 25
        ),
        "samples-stall": valid_samples(
            "readings that came 23 days late", stall, wave[:8], 0, [0] * 8, [False] * 8
        ),
        "samples-jitter-early": valid_samples(
            "a reading can come before its time, never before the one before",
            [100, 101, 102, 3100],
            [1, 2, 3, 4],
            0,
            [0, 0, 0, 0],
            [True, True, False, True],
            period_ms=1000,
        ),
        "samples-last-ones": valid_samples(
            "the last time and the last stroke that can be said",
            [T_MAX - 1, T_MAX],
            [4095, 4095],
            U32 - 1,
            [U32 - 1, U32],
            [True, True],
            period_ms=1,
        ),
        "samples-great-steps": valid_samples(
            "the longest exceptions",
            [0, 1, 2**31 - 1],
            [0, 4095, 0],
            0,
            [2**31 - 1, 2**31 - 1, U32 - 1],
            [True, False, True],
            period_ms=1,
        ),
        "samples-longer": valid_samples(
            "elements of a later minor version follow; jitter is then null",
            even(2),
            [5, 6],
            0,
            [0, 0],
            [True, True],
            extra=extra,
        ),
        "samples-jitter-longer": valid_samples(
            "jitter, and elements of a later minor version",
            [0, 21],
            [5, 6],
            0,
            [0, 0],
            [True, True],
            extra=extra,
        ),
        "samples-jitter-null": valid(
            "jitter may be null though nothing follows",
            "samples",
            [7, 1520, 1, 20, 1, 811, b"\x88", 0, b"\x88", b"\x01", None],
            readings={"t_ms": [1520], "dial": [811], "strokes": [0], "contact": [False]},
        ),
    }


# ---- invalid ----


def invalid(describes, step, reason, topic, message, pen=PEN):
    return {
        "describes": describes,
        "topic": topic,
        "pen": pen,
        "epoch": 1,
        "key": KEY.hex(),
        "key_note": "bench only",
        "message": message.hex(),
        "step": step,
        "reason": reason,
    }


CLOSE_PAYLOAD = payload_of("close", [9, 61_000, 1, 0, 14, 1822, 0])
RECORD_TOPIC = topic_of("record")


def invalid_topics():
    cases = {
        "too-short": ("a level is missing", "needletrail/1/bench/record", "topic_unknown"),
        "too-long": ("a level too many", RECORD_TOPIC + "/x", "topic_unknown"),
        "trailing-slash": ("an empty level at its end", RECORD_TOPIC + "/", "topic_unknown"),
        "leading-slash": ("an empty level at its start", "/" + RECORD_TOPIC, "topic_unknown"),
        "empty": ("no topic", "", "topic_unknown"),
        "root-other": ("another root", RECORD_TOPIC.replace("trail", "track"), "topic_unknown"),
        "root-capital": ("a capital in the root", "N" + RECORD_TOPIC[1:], "topic_unknown"),
        "version-2": ("a later major version", RECORD_TOPIC.replace("1", "2"), "version_unknown"),
        "version-0": ("version 0", RECORD_TOPIC.replace("1", "0"), "version_unknown"),
        "version-01": ("a zero too many", RECORD_TOPIC.replace("1", "01"), "version_unknown"),
        "version-empty": ("no version", RECORD_TOPIC.replace("1", ""), "version_unknown"),
        "clinic-empty": ("no clinic", topic_of("record", clinic=""), "topic_unknown"),
        "clinic-hyphen": ("clinic begins with -", topic_of("record", clinic="-a"), "topic_unknown"),
        "clinic-dot": ("a dot in the clinic", topic_of("record", clinic="a.b"), "topic_unknown"),
        "clinic-wildcard": ("a wildcard", topic_of("record", clinic="+"), "topic_unknown"),
        "clinic-long": ("33 characters", topic_of("record", clinic="a" * 33), "topic_unknown"),
        "pen-empty": ("no pen", topic_of("record", pen=""), "topic_unknown"),
        "pen-capital": ("a capital", topic_of("record", pen="Pen-07"), "topic_unknown"),
        "pen-hyphen": ("pen begins with -", topic_of("record", pen="-07"), "topic_unknown"),
        "pen-underscore": ("an underscore", topic_of("record", pen="pen_07"), "topic_unknown"),
        "pen-umlaut": ("a letter that is not a-z", topic_of("record", pen="pän"), "topic_unknown"),
        "pen-long": ("33 characters", topic_of("record", pen="p" * 33), "topic_unknown"),
        "channel-unknown": ("no such channel", topic_of("status"), "topic_unknown"),
        "channel-empty": ("an empty channel", topic_of(""), "topic_unknown"),
        "channel-capital": ("a capital", topic_of("Record"), "topic_unknown"),
        "channel-wildcard": ("a wildcard", topic_of("#"), "topic_unknown"),
    }
    vectors = {}
    for name, (describes, topic, reason) in cases.items():
        message = by_pycose(topic, CLOSE_PAYLOAD)
        vectors["topic-" + name] = invalid(describes, "topic", reason, topic, message)
    return vectors


def invalid_envelopes():
    def made(payload=CLOSE_PAYLOAD, **parts):
        return by_hand(RECORD_TOPIC, payload, **parts)

    def headed(head, body=CLOSE_PAYLOAD):
        return bytes.fromhex(head) + body

    def protected(item, **parts):
        return made(protected=item if isinstance(item, bytes) else cbor2.dumps(item), **parts)

    good = made()
    length = len(CLOSE_PAYLOAD)
    long_payload = payload_of("badge", [3, 2000, 1, b""]) + bytes(4096)
    cases = {
        "empty": ("nothing", b""),
        "one-byte": ("its first byte alone", good[:1]),
        "cut-in-protected": ("cut in the protected header", good[:6]),
        "cut-in-kid": ("cut before the key id", good[:8]),
        "cut-in-payload": ("cut in the payload", good[:16]),
        "cut-before-tag": ("cut before the tag", good[:-34]),
        "cut-in-tag": ("the last byte is missing", good[:-1]),
        "trailing-byte": ("one byte after it", good + b"\x00"),
        "leading-byte": ("one byte before it", b"\x00" + good),
        "twice": ("two messages in one", good + good),
        "too-long": ("longer than 4096 bytes", made(long_payload)),
        "untagged": ("no CBOR tag 17", made(start="84")),
        "tag-18": ("tagged as COSE_Sign1", made(start="d284")),
        "tag-97": ("tagged as COSE_Mac", made(start="d86184")),
        "tag-not-shortest": ("tag 17 in two bytes", made(start="d81184")),
        "tag-twice": ("tag 17 twice", made(start="d1d184")),
        "array-of-3": ("an array of three", made(start="d183")),
        "array-of-5": ("an array of five", made(start="d185") + b"\xf6"),
        "array-not-shortest": ("the array's length in two bytes", made(start="d19804")),
        "array-indefinite": ("an indefinite array", made(start="d19f") + b"\xff"),
        "algorithm-4": ("HMAC 256/64", protected({1: 4, 4: b"\x01"})),
        "algorithm-6": ("HMAC 384/384", protected({1: 6, 4: b"\x01"})),
        "algorithm-text": ("the algorithm by its name", protected({1: "HS256", 4: b"\x01"})),
        "algorithm-missing": ("no algorithm", protected({4: b"\x01"})),
        "algorithm-not-shortest": (
            "the algorithm in two bytes",
            protected(bytes.fromhex("a2011805044101")),
        ),
        "kid-missing": ("no key id", protected({1: 5})),
        "kid-empty": ("an empty key id", protected({1: 5, 4: b""})),
        "kid-zero": ("key epoch 0", protected({1: 5, 4: b"\x00"})),
        "kid-leading-zero": ("key epoch 1 in two bytes", protected({1: 5, 4: b"\x00\x01"})),
        "kid-of-5": ("a key id of five bytes", protected({1: 5, 4: b"\x01\0\0\0\0"})),
        "kid-text": ("a key id as text", protected({1: 5, 4: "1"})),
        "kid-integer": ("a key id as an integer", protected({1: 5, 4: 1})),
        "kid-not-shortest": (
            "the key id's length in two bytes",
            protected(bytes.fromhex("a20105045801") + b"\x01"),
        ),
        "kid-indefinite": (
            "an indefinite key id",
            protected(bytes.fromhex("a20105045f4101ff")),
        ),
        "protected-order": ("key id before algorithm", protected({4: b"\x01", 1: 5})),
        "protected-more": ("a third header", protected({1: 5, 4: b"\x01", 3: 0})),
        "protected-double": ("a header twice", protected(bytes.fromhex("a30105010504" + "4101"))),
        "protected-empty": ("an empty protected header", protected(b"")),
        "protected-trailing": (
            "a byte after the protected map",
            protected(bytes.fromhex("a20105044101") + b"\x00"),
        ),
        "protected-indefinite": ("an indefinite map", protected(bytes.fromhex("bf0105044101ff"))),
        "protected-bare": (
            "the protected header as a map",
            made(protected_item=cbor2.dumps({1: 5, 4: b"\x01"})),
        ),
        "protected-not-shortest": (
            "the protected header's length in two bytes",
            made(protected_item=bytes.fromhex("5806a20105044101")),
        ),
        "unprotected-kid": ("a key id unprotected", made(unprotected="a1044101")),
        "unprotected-content-type": ("a header unprotected", made(unprotected="a10300")),
        "unprotected-not-shortest": ("the empty map in two bytes", made(unprotected="b800")),
        "unprotected-indefinite": ("an indefinite empty map", made(unprotected="bfff")),
        "unprotected-array": ("an empty array instead of a map", made(unprotected="80")),
        "unprotected-missing": ("no unprotected header", made(unprotected="")),
        "payload-null": ("a detached payload", made(payload_item=b"\xf6")),
        "payload-text": (
            "the payload as text",
            made(payload_item=headed("%02x" % (0x60 + length))),
        ),
        "payload-missing": ("no payload", made(payload_item=b"")),
        "payload-bare": ("the payload not wrapped", made(payload_item=CLOSE_PAYLOAD)),
        "payload-not-shortest": (
            "the payload's length in two bytes",
            made(payload_item=headed("58%02x" % length)),
        ),
        "payload-not-shortest-2": (
            "the payload's length in three bytes",
            made(payload_item=headed("59%04x" % length)),
        ),
        "payload-not-shortest-4": (
            "the payload's length in five bytes",
            made(payload_item=headed("5a%08x" % length)),
        ),
        "payload-indefinite": (
            "an indefinite payload",
            made(payload_item=headed("5f%02x" % (0x40 + length)) + b"\xff"),
        ),
        "payload-length-short": (
            "the payload is longer than it says",
            made(payload_item=headed("%02x" % (0x40 + length - 1))),
        ),
        "payload-length-long": (
            "the payload is shorter than it says",
            made(payload_item=headed("%02x" % (0x40 + length + 1))),
        ),
        "payload-length-huge": (
            "a payload of 2^64 - 1 bytes",
            made(payload_item=headed("5bffffffffffffffff")),
        ),
        "mac-of-16": ("a tag cut to 16 bytes", made(tag_item=lambda tag: b"\x50" + tag[:16])),
        "mac-of-31": ("a tag of 31 bytes", made(tag_item=lambda tag: b"\x58\x1f" + tag[:31])),
        "mac-of-33": ("a tag of 33 bytes", made(tag_item=lambda tag: b"\x58\x21" + tag + b"\0")),
        "mac-text": ("the tag as text", made(tag_item=lambda tag: b"\x78\x20" + tag)),
        "mac-null": ("no tag", made(tag_item=lambda _: b"\xf6")),
        "mac-not-shortest": (
            "the tag's length in three bytes",
            made(tag_item=lambda tag: b"\x59\x00\x20" + tag),
        ),
        "json": (
            "not CBOR at all",
            b'{"alg":"HS256","seq":1,"note":"this is no COSE_Mac0 message"}',
        ),
    }
    return {
        "envelope-" + name: invalid(describes, "envelope", "envelope_malformed", RECORD_TOPIC, data)
        for name, (describes, data) in cases.items()
    }


def invalid_macs():
    good = by_pycose(RECORD_TOPIC, CLOSE_PAYLOAD)

    def flipped(at):
        changed = bytearray(good)
        changed[at] ^= 1
        return bytes(changed)

    def bound(*items):
        return by_hand(RECORD_TOPIC, CLOSE_PAYLOAD, external=cbor2.dumps(list(items)))

    cases = {
        "key-other": (
            "sealed with another key",
            by_pycose(RECORD_TOPIC, CLOSE_PAYLOAD, key=OTHER_KEY),
        ),
        "topic-other-channel": (
            "sealed for the pen's ack topic",
            by_pycose(topic_of("ack"), CLOSE_PAYLOAD),
        ),
        "record-urgent": (
            "the urgent copy of a record, as that record",
            by_pycose(topic_of("urgent"), CLOSE_PAYLOAD),
        ),
        "topic-other-clinic": (
            "sealed for another clinic",
            by_pycose(topic_of("record", clinic="elsewhere"), CLOSE_PAYLOAD),
        ),
        "topic-other-version": (
            "sealed for version 2 of the topic",
            by_pycose(RECORD_TOPIC.replace("1", "2"), CLOSE_PAYLOAD),
        ),
        "pen-other": (
            "sealed by another pen, for its own topic",
            by_pycose(topic_of("record", pen="pen-08"), CLOSE_PAYLOAD, pen="pen-08"),
        ),
        "external-other-pen": ("bound to another pen", bound(RECORD_TOPIC, "pen-08", 1)),
        "external-other-epoch": ("bound to another epoch", bound(RECORD_TOPIC, PEN, 2)),
        "external-short": ("bound to topic and pen only", bound(RECORD_TOPIC, PEN)),
        "external-empty": ("bound to nothing", by_hand(RECORD_TOPIC, CLOSE_PAYLOAD, external=b"")),
        "context": (
            'made in the context "MAC" of COSE_Mac',
            by_hand(RECORD_TOPIC, CLOSE_PAYLOAD, context="MAC"),
        ),
        "payload-flipped": ("a bit of the payload is flipped", flipped(-35)),
        "tag-flipped-first": ("the tag's first byte is altered", flipped(-32)),
        "tag-flipped-last": ("the tag's last byte is altered", flipped(-1)),
        "tag-zero": ("a tag of zeros", good[:-32] + bytes(32)),
        "tag-plain-hash": (
            "a hash without the key",
            good[:-32] + hashlib.sha256(CLOSE_PAYLOAD).digest(),
        ),
    }
    vectors = {
        "mac-" + name: invalid(describes, "mac", "mac_invalid", RECORD_TOPIC, data)
        for name, (describes, data) in cases.items()
    }
    vectors["epoch-other"] = invalid(
        "sealed in epoch 2 with epoch 2's key; this reader has a key of epoch 1 only",
        "key",
        "epoch_unknown",
        RECORD_TOPIC,
        by_pycose(RECORD_TOPIC, CLOSE_PAYLOAD, epoch=2, key=OTHER_KEY),
    )
    return vectors


def refused(describes, name, payload, step="payload", reason="payload_invalid"):
    """A payload that is refused though its MAC fits."""
    topic = topic_of(channel_of(name))
    return invalid(describes, step, reason, topic, by_pycose(topic, payload))


def invalid_cbor():
    # The payload is a badge record; its last field, or what comes after it, is the fault.
    start = "8504" + "01" + "02" + "03"  # [4, 1, 2, 3, ...
    cases = {
        "empty": ("an empty payload", ""),
        "cut-array": ("an element is missing", start),
        "cut-bytes": ("a byte string is cut", start + "4201"),
        "cut-text": ("a text is cut", start + "6261"),
        "cut-length": ("a length is cut", start + "59ff"),
        "cut-integer": ("an integer is cut", "8504" + "01" + "1a000001"),
        "trailing": ("a byte after the array", start + "40" + "00"),
        "trailing-null": ("a null after the array", start + "40" + "f6"),
        "two-items": ("two records in one", start + "40" + start + "40"),
        "indefinite-array": ("an indefinite array", "9f0401020340ff"),
        "indefinite-bytes": ("an indefinite byte string", start + "5f4101ff"),
        "indefinite-text": ("an indefinite text", start + "7f6161ff"),
        "indefinite-map": ("an indefinite map", start + "bfff"),
        "break": ("a break alone", start + "ff"),
        "long-integer-1": ("3 in two bytes", "850401021803" + "40"),
        "long-integer-2": ("255 in three bytes", "850401021900ff" + "40"),
        "long-integer-4": ("65535 in five bytes", "850401021a0000ffff" + "40"),
        "long-integer-8": ("4294967295 in nine bytes", "850401021b00000000ffffffff" + "40"),
        "long-negative": ("-1 in two bytes", "850401023800" + "40"),
        "long-kind": ("the kind in two bytes", "85180401020340"),
        "long-array-1": ("the array's length in two bytes", "98050401020340"),
        "long-array-2": ("the array's length in three bytes", "9900050401020340"),
        "long-bytes-1": ("a byte string's length in two bytes", start + "5800"),
        "long-bytes-2": ("a byte string's length in three bytes", start + "590001aa"),
        "long-bytes-4": ("a byte string's length in five bytes", start + "5a00000001aa"),
        "long-bytes-8": ("a byte string's length in nine bytes", start + "5b0000000000000001aa"),
        "long-text": ("a text's length in two bytes", start + "780161"),
        "reserved-28": ("additional information 28", start + "5c"),
        "reserved-30": ("additional information 30", start + "1e"),
        "map": ("a map", start + "a10102"),
        "map-alone": ("a map instead of an array", "a10401"),
        "tag": ("a tagged item", start + "c140"),
        "tag-bignum": ("an integer as a bignum", "8504" + "c24101" + "0203" + "40"),
        "tag-self-described": ("tag 55799 before it", "d9d9f7" + start + "40"),
        "float-16": ("a float", start + "f93c00"),
        "float-32": ("a float", start + "fa3f800000"),
        "float-64": ("a float", start + "fb3ff0000000000000"),
        "undefined": ("undefined", start + "f7"),
        "simple-0": ("simple value 0", start + "e0"),
        "simple-32": ("simple value 32", start + "f820"),
        "simple-long-false": ("false in two bytes", start + "f814"),
        "huge-bytes": ("a byte string of 2^64 - 1 bytes", start + "5bffffffffffffffff"),
        "huge-text": ("a text of 2^63 bytes", start + "7b8000000000000000"),
        "huge-array": ("an array of 2^64 - 1 elements", start + "9bffffffffffffffff"),
        "huge-array-4": ("an array of 2^32 - 1 elements", "9affffffff0401020340"),
        "deep": ("arrays in arrays, five deep", start + "8181818100"),
        "very-deep": ("arrays in arrays, a thousand deep", "81" * 1000 + "80"),
        "extra-float": ("a float after the known elements", "86" + start[2:] + "40" + "f93c00"),
        "extra-map": ("a map after the known elements", "86" + start[2:] + "40" + "a0"),
    }
    texts = {
        "continuation": ("a continuation byte alone", "80"),
        "cut-character": ("a character is cut", "e282"),
        "overlong-2": ("NUL in two bytes", "c080"),
        "overlong-slash": ("a slash in three bytes", "e080af"),
        "overlong-4": ("a character in four bytes too many", "f0808080"),
        "surrogate": ("half a surrogate pair", "eda080"),
        "surrogates": ("a surrogate pair", "eda081edb080"),
        "beyond": ("U+110000", "f4908080"),
        "beyond-far": ("U+13FFFF", "f4bfbfbf"),
        "five-bytes": ("a character of five bytes", "f888808080"),
        "latin-1": ("Latin-1", "fc"),
        "ff": ("a byte that is never UTF-8", "ff"),
    }
    vectors = {
        "cbor-" + name: refused(describes, "badge", bytes.fromhex(data), reason="payload_malformed")
        for name, (describes, data) in cases.items()
    }
    for name, (describes, data) in texts.items():
        code = bytes.fromhex(data)
        payload = bytes.fromhex("8506010203") + bytes([0x60 + len(code)]) + code
        vectors["cbor-utf8-" + name] = refused(
            describes, "alert-shown", payload, reason="payload_malformed"
        )
    return vectors


def invalid_fields():
    """Each rule of needletrail.cddl broken once, by itself."""
    vectors = {}
    for name, rows in FIELDS.items():
        sound = [_sound(row) for row in rows if row[0] not in ADDED]
        for index, row in enumerate(rows):
            for fault, describes, value in _faults(row):
                fields = [*sound[:index], value, *sound[index + 1 :]]
                vectors["-".join((name, row[0].replace("_", "-"), fault))] = refused(
                    "%s: %s %s" % (name, row[0], describes), name, payload_of(name, fields)
                )
            if row[0] not in OPTIONAL:
                vectors["-".join((name, row[0].replace("_", "-"), "missing"))] = refused(
                    "%s ends before %s" % (name, row[0]), name, payload_of(name, sound[:index])
                )
    return vectors


def _sound(row):
    name, kind, low, _, _ = row
    if name == "permits":
        return [["b-0042", 500]]
    return {int: low, str: "x", bytes: b"\x88", list: [0]}[kind]


def _faults(row):
    """(name, description, value) of what is wrong for one field."""
    name, kind, low, high, may_be_null = row
    faults = []
    if kind is int:
        faults.append(("too-small", "is %d" % (low - 1), low - 1))
        faults.append(("too-large", "is %d" % (high + 1), high + 1))
        faults.append(("true", "is true", True))
    elif kind is list:
        many = [["a", 0]] if name == "permits" else [0]
        faults.append(("too-long", "has %d elements" % (high + 1), many * (high + 1)))
        faults.append(("bytes", "is bytes", b""))
    else:
        other = "x" if kind is bytes else b"x"
        whole = b"\x88" if kind is bytes else "x"
        if low:
            faults.append(("empty", "is empty", whole[:0]))
        faults.append(("too-long", "has %d bytes" % (high + 1), whole * (high + 1)))
        faults.append(("other-string", "is the other kind of string", other))
        if kind is str:
            many = "é" * (high // 2) + "x"
            faults.append(("too-long-utf8", "has %d bytes in fewer characters" % (high + 1), many))
    if not may_be_null:
        faults.append(("null", "is null", None))
    return faults


def invalid_shapes():
    cases = {
        "record-integer": ("an integer instead of an array", "close", 5),
        "record-text": ("text instead of an array", "close", "close"),
        "record-null": ("null instead of an array", "close", None),
        "record-empty": ("an empty array", "close", []),
        "record-kind-text": ("the kind is text", "close", ["5", 1]),
        "record-kind-true": ("the kind is true", "close", [True, 1, 0, 1, None, "f", "b"]),
        "record-kind-null": ("the kind is null", "close", [None]),
        "record-kind-array": ("the kind is an array", "close", [[5]]),
        "hello-integer": ("an integer instead of an array", "hello", 1),
        "hello-empty": ("an empty array", "hello", []),
        "hello-order": (
            "the oldest record comes after the next",
            "hello",
            [10, 9, 1, "f", None, 0, 1, None, None],
        ),
        "will-integer": ("an integer instead of an array", "will", 2),
        "will-empty": ("an empty array", "will", []),
        "ack-null": ("null instead of an array", "ack", None),
        "ack-empty": ("an empty array", "ack", []),
        "grant-text": ("text instead of an array", "grant", "grant"),
        "alert-true": ("true instead of an array", "alert", True),
    }
    leads = {
        "too-large": ("a lead of 13 bits", [0, 4096]),
        "negative": ("a negative lead", [-1]),
        "true": ("a lead that is true", [True]),
        "null": ("a lead that is null", [811, None]),
        "array": ("a lead in an array", [[811]]),
    }
    for name, (describes, lead) in leads.items():
        record = [2, 2, 1500, 1, 1, None, None, lead, 0, None]
        cases["open-lead-item-" + name] = (describes, "open", record)
    permits = {
        "text": ("a permit that is text", "b-0042"),
        "empty": ("an empty permit", []),
        "short": ("a permit without a limit", ["b-0042"]),
        "until-text": ("an end that is text", ["b-0042", 500, "soon"]),
        "until-negative": ("an end before 1970", ["b-0042", 500, -1]),
        "until-too-large": ("an end beyond all time", ["b-0042", 500, UTC_MAX + 1]),
        "flags-null": ("flags that are null", ["b-0042", 500, UTC, None]),
        "flags-true": ("flags that are true", ["b-0042", 500, UTC, True]),
        "flags-negative": ("negative flags", ["b-0042", 500, UTC, -1]),
        "flags-too-large": ("flags of 33 bits", ["b-0042", 500, UTC, U32 + 1]),
        "id-bytes": ("a badge id as bytes", [b"b-0042", 500]),
        "id-null": ("a badge id that is null", [None, 500]),
        "limit-null": ("a limit that is null", ["b-0042", None]),
        "limit-true": ("a limit that is true", ["b-0042", True]),
        "limit-negative": ("a negative limit", ["b-0042", -1]),
        "limit-too-large": ("a limit beyond 20 mm", ["b-0042", 20_001]),
    }
    for name, (describes, permit) in permits.items():
        grant = [UTC, UTC + 1, "p", 0, [["b-0041", 0], permit], 0]
        cases["grant-permit-" + name] = (describes, "grant", grant)
    vectors = {
        name: refused(describes, message, cbor2.dumps(item))
        for name, (describes, message, item) in cases.items()
    }
    for kind in (0, 11, 23, 255, -1, 2**64 - 1):
        vectors["record-kind-%d" % kind] = refused(
            "record kind %d" % kind,
            "close",
            cbor2.dumps([kind, 9, 61_000, 1]),
            reason="kind_unknown",
        )
    return vectors


def invalid_columns():
    # Four readings; the steps and runs beside the faulty column are sound.
    def record(count=4, dial="8888", base=811, steps="8888", strokes=0, runs="04", jitter=None):
        fields = [7, 1520, 1, 20, count, base, bytes.fromhex(dial), strokes]
        fields += [bytes.fromhex(steps), bytes.fromhex(runs)]
        return fields if jitter is None else [*fields, bytes.fromhex(jitter)]

    odd = {"count": 3, "dial": "8888", "steps": "8888", "runs": "03"}
    cases = {
        "dial-column-short": ("fewer nibbles than readings", record(dial="88")),
        "dial-column-left-over": ("a byte left over", record(dial="888888")),
        "dial-column-padding-9": ("padded with 9", record(**odd | {"dial": "8889"})),
        "dial-column-padding-0": ("padded with an exception", record(**odd | {"dial": "888010"})),
        "dial-column-needless-0": ("an exception for 0", record(dial="880800")),
        "dial-column-needless-7": ("an exception for 7", record(dial="88080e")),
        "dial-column-needless-minus-7": ("an exception for -7", record(dial="88080d")),
        "dial-column-exception-missing": ("an exception without number", record(dial="8808")),
        "dial-column-exception-missing-2": ("one number for two", record(dial="880010")),
        "dial-column-exception-cut": ("an exception's number is cut", record(dial="880890")),
        "dial-column-exception-left-over": ("a number too many", record(dial="88081010")),
        "dial-column-exception-long": ("16 in two bytes", record(dial="88089000")),
        "dial-column-exception-huge": ("2^32", record(dial="88088080808010")),
        "dial-column-exception-endless": ("a number of 8 bytes", record(dial="8808" + "ff" * 8)),
        "dial-column-exception-zeros": (
            "16 in seven bytes, six of them zeros",
            record(dial="880890" + "80" * 5 + "00"),
        ),
        "dial-negative": ("a dial reading of -1", record(base=0, dial="8887")),
        "dial-too-large": ("a dial reading of 4096", record(base=4095, dial="8889")),
        "dial-first-too-large": ("the first reading is 4096", record(base=4095, dial="9888")),
        "dial-negative-far": ("a dial reading of -2^31", record(dial="8880ffffffff0f")),
        "strokes-column-short": ("fewer nibbles than readings", record(steps="88")),
        "strokes-column-left-over": ("a byte left over", record(steps="888888")),
        "strokes-column-padding": ("padded with 0xf", record(**odd | {"steps": "888f"})),
        "strokes-backwards": ("the counter runs backwards", record(steps="8987", strokes=5)),
        "strokes-backwards-first": (
            "the counter runs backwards at the first reading",
            record(steps="7888", strokes=5),
        ),
        "strokes-backwards-far": ("the counter falls by 8", record(steps="88080f", strokes=99)),
        "strokes-overflow": ("a counter of 2^32", record(steps="8889", strokes=U32)),
        "contact-too-few": ("the runs add up to 3 of 4", record(runs="03")),
        "contact-too-many": ("the runs add up to 5 of 4", record(runs="05")),
        "contact-too-many-2": ("the second run is too long", record(runs="0203")),
        "contact-left-over": ("a run after the last reading", record(runs="0401")),
        "contact-left-over-0": ("an empty run after the last reading", record(runs="0400")),
        "contact-empty-run": ("an empty run", record(runs="020002")),
        "contact-empty-runs": ("two empty runs first", record(runs="000004")),
        "contact-zero-alone": ("an empty run and nothing more", record(runs="00")),
        "contact-long": ("4 in two bytes", record(runs="8400")),
        "contact-cut": ("a run is cut", record(runs="0281")),
        "contact-huge": ("a run of 2^32 - 1", record(runs="ffffffff0f")),
        "jitter-zero": ("jitter where there is none", record(jitter="8888")),
        "jitter-first": ("the first reading is not at t_ms", record(jitter="9888")),
        "jitter-standstill": ("two readings at one time", record(jitter="880827")),
        "jitter-backwards": ("a reading before its predecessor", record(jitter="88082b")),
        "jitter-before-start": ("a reading before t_ms", record(jitter="8088" + "ff0f")),
        "jitter-short": ("fewer nibbles than readings", record(jitter="89")),
        "jitter-left-over": ("a byte left over", record(jitter="898888")),
    }
    vectors = {
        "samples-" + name: refused(describes, "samples", payload_of("samples", fields), "readings")
        for name, (describes, fields) in cases.items()
    }
    late = [7, T_MAX, 1, 1, 2, 811, b"\x88", 0, b"\x88", b"\x02"]
    vectors["samples-time-overflow"] = refused(
        "the last reading is later than any t_ms",
        "samples",
        payload_of("samples", late),
        "readings",
    )
    late = [7, T_MAX - 20, 1, 20, 2, 811, b"\x88", 0, b"\x88", b"\x02", b"\x89"]
    vectors["samples-time-overflow-jitter"] = refused(
        "jitter carries a reading beyond any t_ms",
        "samples",
        payload_of("samples", late),
        "readings",
    )
    return vectors


def invalid_vectors():
    makers = (
        invalid_topics,
        invalid_envelopes,
        invalid_macs,
        invalid_cbor,
        invalid_fields,
        invalid_shapes,
        invalid_columns,
    )
    vectors = {}
    for maker in makers:
        made = maker()
        if vectors.keys() & made.keys():
            raise AssertionError("two vectors of one name: %s" % (vectors.keys() & made.keys()))
        vectors |= made
    return vectors


def write(vectors, folder):
    """One file a vector, one line a member; other files in the folder are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        if path.stem not in vectors:
            path.unlink()
    for name, vector in vectors.items():
        members = [
            "  %s: %s" % (json.dumps(member), json.dumps(value, ensure_ascii=False))
            for member, value in vector.items()
        ]
        text = "{\n" + ",\n".join(members) + "\n}\n"
        (folder / (name + ".json")).write_text(text, encoding="utf-8", newline="\n")


def main(folder):
    write(valid_vectors(), folder / "valid")
    write(invalid_vectors(), folder / "invalid")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "v1")
