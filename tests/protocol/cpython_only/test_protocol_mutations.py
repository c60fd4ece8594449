"""Altered messages: only ProtocolError comes of them, and none is accepted that was not sent.

The mutations are random but the same in every run.
"""

import random

from wire_oracle import (
    KEY,
    channel_of,
    columns_again,
    encoded_again,
    oracle,
    payloads,
    receive,
    vectors,
)

from needletrail_protocol import cbor, messages
from needletrail_protocol.authentication import MAX_MESSAGE_LENGTH, external_data, seal
from needletrail_protocol.errors import (
    ENVELOPE_MALFORMED,
    KIND_UNKNOWN,
    MAC_INVALID,
    PAYLOAD_INVALID,
    PAYLOAD_MALFORMED,
    ProtocolError,
)

MESSAGE_MUTATIONS = 20_000
PAYLOAD_MUTATIONS = 30_000
FIELD_MUTATIONS = 20_000

AWKWARD = (
    None, True, False, 0, 1, -1, 7, 8, 15, 23, 24, 200, 201, 255, 256, 4095, 4096, 20_000, 20_001,
    2**31, 2**32 - 1, 2**32, 2**40 - 1, 2**40, 2**43, 2**63, 2**64 - 1, -(2**64), b"", b"\x00",
    b"\x80", b"\x88", b"\x01", b"\x00\x00", b"\x80\x80", b"\xff" * 6, b"\x88" * 100, b"\x00" * 1200,
    "", "a", "\x00", "x" * 32, "x" * 33, "\u00e9" * 17, [], [0], [[]], [None], [[[]]], [0] * 201,
)  # fmt: skip


def mutated(data, others, chance):
    """`data` with one to three flips, cuts, insertions, deletions, repeats or splices."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((1, 1, 2, 4, 16, 64)))
        match chance.randrange(7):
            case 0 if at < len(data):
                data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
            case 1:
                data = data[:at]
            case 2:
                data = data[:at] + chance.randbytes(chance.choice((1, 2, 8))) + data[at:]
            case 3:
                data = data[:at] + data[to:]
            case 4:
                data = data[:to] + data[at:]
            case 5:
                other = chance.choice(others)
                data = data[:at] + other[chance.randrange(len(other) + 1) :]
            case _:
                data = data[:at] + chance.choice((b"\x00", b"\x80", b"\xff", b"\xf6")) + data[to:]
    return data


def test_no_altered_message_is_accepted():
    chance = random.Random(1)
    sent = [(v["topic"], bytes.fromhex(v["message"])) for _, v in vectors("valid")]
    everything = [message for _, message in sent]
    genuine = set(sent)
    refused = {ENVELOPE_MALFORMED: 0, MAC_INVALID: 0}
    while sum(refused.values()) < MESSAGE_MUTATIONS:
        topic, message = chance.choice(sent)
        altered = mutated(message, everything, chance)
        try:
            receive(topic, altered)
        except ProtocolError as error:
            refused[error.reason] += 1
        else:
            assert (topic, altered) in genuine
    assert min(refused.values()) > MESSAGE_MUTATIONS // 100


def test_every_single_bit_counts():
    for name, vector in vectors("valid"):
        message = bytes.fromhex(vector["message"])
        if name not in ("close", "hello", "samples-edges", "epoch-65536"):
            continue
        for bit in range(8 * len(message)):
            altered = bytearray(message)
            altered[bit // 8] ^= 1 << bit % 8
            try:
                receive(vector["topic"], bytes(altered))
            except ProtocolError as error:
                assert error.reason in (ENVELOPE_MALFORMED, MAC_INVALID)
            else:
                raise AssertionError(name)


def accepted_is_canonical(topic, payload):
    """The reason for refusing a payload that has been sealed with the right key, or None."""
    message = seal(KEY, external_data(topic, oracle.PEN, 1), payload)
    try:
        decoded, _ = receive(topic, message)
    except ProtocolError as error:
        return error.reason
    channel = channel_of(topic)
    assert encoded_again(channel, decoded, payload) == payload
    if decoded.kind == messages.SAMPLES:
        packed = (decoded.dial_column, decoded.strokes_column, decoded.contact_runs)
        assert columns_again(decoded) == (*packed, decoded.jitter_column)
    return None


def seeds():
    return [
        (vector["topic"], payload)
        for folder in ("valid", "invalid")
        for vector, payload in payloads(folder)
        if vector["pen"] == oracle.PEN
    ]


def test_an_altered_payload_is_refused_or_has_one_encoding():
    chance = random.Random(2)
    known = seeds()
    everything = [payload for _, payload in known]
    outcomes = {}
    for _ in range(PAYLOAD_MUTATIONS):
        topic, payload = chance.choice(known)
        altered = mutated(payload, everything, chance)
        if len(altered) < MAX_MESSAGE_LENGTH - 64:
            reason = accepted_is_canonical(topic, altered)
            outcomes[reason] = outcomes.get(reason, 0) + 1
    assert set(outcomes) == {None, PAYLOAD_MALFORMED, PAYLOAD_INVALID, KIND_UNKNOWN}
    assert min(outcomes.values()) > PAYLOAD_MUTATIONS // 1000


def test_an_altered_field_is_refused_or_has_one_encoding():
    chance = random.Random(3)
    known = [
        (vector["topic"], cbor.decode(payload))
        for vector, payload in payloads()
        if vector["pen"] == oracle.PEN
    ]
    columns = [item for _, items in known for item in items if isinstance(item, bytes)]
    outcomes = {}
    for _ in range(FIELD_MUTATIONS):
        topic, items = chance.choice(known)
        altered = list(items)
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(len(altered))
            item = altered[at]
            if isinstance(item, bytes) and chance.random() < 0.7:
                altered[at] = mutated(item, columns, chance)
            elif type(item) is int and abs(item) < 2**63 and chance.random() < 0.5:
                altered[at] = item + chance.choice((-256, -8, -1, 1, 8, 256))
            else:
                altered[at] = chance.choice(AWKWARD)
        payload = cbor.encode(altered)
        if len(payload) < MAX_MESSAGE_LENGTH - 64:
            reason = accepted_is_canonical(topic, payload)
            outcomes[reason] = outcomes.get(reason, 0) + 1
    assert set(outcomes) == {None, PAYLOAD_INVALID, KIND_UNKNOWN}
    assert min(outcomes.values()) > FIELD_MUTATIONS // 1000
