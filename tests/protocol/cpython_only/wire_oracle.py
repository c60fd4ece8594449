"""What the tests of this folder share: the vectors' script, receiving, and made-up messages."""

import importlib.util
import json
from pathlib import Path

from hypothesis import strategies as st

from needletrail_protocol import authentication, cbor, conversation, messages, topics
from needletrail_protocol.authentication import MacKey
from needletrail_protocol.columns import append_varint, decode_column, encode_column
from needletrail_protocol.readings import Readings, decode_record

PROTOCOL = Path(__file__).parents[3] / "protocol"
VECTORS = PROTOCOL / "vectors" / "v1"


def load_make_vectors():
    """protocol/vectors/make_vectors.py as a module."""
    spec = importlib.util.spec_from_file_location(
        "make_vectors", PROTOCOL / "vectors" / "make_vectors.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle = load_make_vectors()

KEY = MacKey(oracle.KEY, 1)
NAMES = {kind: name for name, kind in oracle.KINDS.items()}

DECODERS = {
    topics.HELLO: conversation.decode_hello,
    topics.RECORD: decode_record,
    topics.URGENT: decode_record,
    topics.WILL: conversation.decode_will,
    topics.ACK: conversation.decode_ack,
    topics.GRANT: conversation.decode_grant,
    topics.ALERT: conversation.decode_alert,
}
ENCODERS = {
    topics.HELLO: conversation.encode_hello,
    topics.WILL: lambda fields: conversation.encode_will(*fields),
    topics.ACK: lambda fields: conversation.encode_ack(*fields),
    topics.GRANT: conversation.encode_grant,
    topics.ALERT: conversation.encode_alert,
}


def vectors(folder):
    """(name, vector) of all valid or all invalid ones."""
    for path in sorted((VECTORS / folder).glob("*.json")):
        yield path.stem, json.loads(path.read_text(encoding="utf-8"))


def channel_of(topic):
    return topic.rsplit("/", 1)[1]


def payloads(folder="valid"):
    """(vector, payload) of the vectors whose envelope is sound."""
    for _, vector in vectors(folder):
        if vector.get("step", "payload") in ("payload", "readings"):
            yield vector, authentication.open_envelope(bytes.fromhex(vector["message"]))[1]


def receive(topic, message, key=KEY):
    """(message, payload) of what arrived, verified and decoded; ProtocolError otherwise."""
    _, pen, channel = topics.parse(topic)
    epoch, payload, tag = authentication.open_envelope(message)
    external = authentication.external_data(topic, pen, epoch)
    authentication.verify(key, external, payload, tag)
    decoded = DECODERS[channel](payload)
    if decoded.kind == messages.SAMPLES:
        Readings(decoded)
    return decoded, payload


def encoded_again(channel, decoded, payload):
    """What our encoders make of a decoded message; the payload's extra elements put back."""
    items = cbor.decode(payload)
    name = NAMES[decoded.kind] if decoded.kind else channel
    fields = [getattr(decoded, row[0]) for row in oracle.FIELDS[name]]
    if decoded.kind:
        if len(items) - 1 < len(fields):  # no jitter column
            fields.pop()
        again = cbor.decode(messages.encode_record(decoded.kind, fields))
    else:
        if len(items) < len(fields):  # no battery
            fields.pop()
        again = cbor.decode(ENCODERS[channel](fields))
    return cbor.encode(again + items[len(again) :])


def columns_again(record):
    """The packed columns of a samples record, from its readings."""
    readings = Readings(record)
    count = record.count
    runs = bytearray()
    for number, run in enumerate(_runs(readings.contact)):
        assert run or not number
        append_varint(runs, run)
    steps = [
        after - before
        for before, after in zip(
            [record.strokes_base, *readings.strokes], readings.strokes, strict=False
        )
    ]
    jitter = None
    if record.jitter_column is not None:
        stray = [t - record.t_ms - i * record.period_ms for i, t in enumerate(readings.t_ms)]
        assert stray == decode_column(record.jitter_column, count)
        jitter = encode_column(stray, 0, count)
    return (
        encode_column(readings.dial, record.dial_base, count),
        encode_column(steps, 0, count),
        bytes(runs),
        jitter,
    )


def _runs(contact):
    runs, state = [0], False
    for flag in contact:
        if flag != state:
            runs.append(0)
            state = flag
        runs[-1] += 1
    return runs


# ---- made-up messages ----


def whole(smallest, largest):
    """Integers, the ends of the range and of CBOR's heads among them."""
    edges = {smallest, largest, 0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32}
    inside = [edge for edge in sorted(edges) if smallest <= edge <= largest]
    return st.one_of(st.sampled_from(inside), st.integers(smallest, largest))


def text(smallest, largest):
    letters = st.characters(exclude_categories=["Cs"])
    return st.text(letters, min_size=smallest, max_size=largest).filter(
        lambda made: smallest <= len(made.encode()) <= largest
    )


def field(row):
    name, kind, smallest, largest, may_be_null = row
    if name == "permits":
        until = st.one_of(st.none(), whole(0, oracle.UTC_MAX))
        permit = st.tuples(text(0, 20), whole(0, 20_000), until, whole(0, oracle.U32))
        permit = st.tuples(permit, st.integers(2, 4)).map(lambda made: list(made[0][: made[1]]))
        made = st.lists(permit, max_size=20)
    elif kind is list:
        made = st.lists(whole(0, 4095), min_size=smallest, max_size=largest)
    elif kind is int:
        made = whole(smallest, largest)
    elif kind is bytes:
        made = st.binary(min_size=smallest, max_size=min(largest, 300))
    else:
        made = text(smallest, largest)
    return st.one_of(st.none(), made) if may_be_null else made


def fields_of(name):
    """All fields of one message, each within its own range."""
    made = st.tuples(*[field(row) for row in oracle.FIELDS[name]])
    return made.filter(lambda fields: fields[0] <= fields[1]) if name == "hello" else made


@st.composite
def readings(draw):
    """Arguments of encode_samples: a record's readings."""
    count = draw(st.integers(1, 200))
    period_ms = draw(whole(1, 1000))
    near = st.integers(-9, 9)
    start_ms = draw(whole(0, 2**39))
    times = [start_ms]
    is_steady = draw(st.booleans())
    for index in range(1, count):
        stray = 0 if is_steady else draw(st.one_of(near, st.integers(0, 2**22)))
        times.append(max(times[-1] + 1, start_ms + index * period_ms + stray))
    dial = draw(st.lists(whole(0, 4095), min_size=count, max_size=count))
    before = draw(whole(0, 2**31))
    step = draw(st.sampled_from((1, 8, 2**22)))
    strokes = [before]
    for _ in range(count):
        strokes.append(strokes[-1] + draw(st.integers(0, step)))
    contact = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    seq, session = draw(whole(1, 2**32 - 1)), draw(whole(1, 2**32 - 1))
    return seq, session, count, period_ms, times, dial, before, strokes[1:], contact
