"""Every published vector is read, or refused at the step and for the reason that it names."""

import json
import os

from needletrail_protocol import authentication, conversation, messages, topics
from needletrail_protocol.errors import EPOCH_UNKNOWN, REASONS, ProtocolError
from needletrail_protocol.readings import Readings, decode_record

HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
VECTORS = HERE + "/../../protocol/vectors/v1/"

DECODERS = {
    topics.HELLO: conversation.decode_hello,
    topics.RECORD: decode_record,
    topics.URGENT: decode_record,
    topics.WILL: conversation.decode_will,
    topics.ACK: conversation.decode_ack,
    topics.GRANT: conversation.decode_grant,
    topics.ALERT: conversation.decode_alert,
}


def vector_names(folder):
    names = sorted(os.listdir(VECTORS + folder))  # noqa: PTH208 (no pathlib on MicroPython)
    assert len(names) > 50
    return names


def load(folder, name):
    path = VECTORS + folder + "/" + name
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return json.load(file)


def take(vector, steps):
    """Read a vector as a receiver does; `steps` names the step that is under way."""
    steps.append("topic")
    topic = vector["topic"]
    _, pen, channel = topics.parse(topic)
    steps.append("envelope")
    epoch, payload, tag = authentication.open_envelope(bytes.fromhex(vector["message"]))
    steps.append("key")
    if epoch != vector["epoch"]:
        raise ProtocolError(EPOCH_UNKNOWN, "the vector's key is of another epoch")
    key = authentication.MacKey(bytes.fromhex(vector["key"]), epoch)
    steps.append("mac")
    authentication.verify(key, authentication.external_data(topic, pen, epoch), payload, tag)
    steps.append("payload")
    message = DECODERS[channel](payload)
    steps.append("readings")
    readings = Readings(message) if message.kind == messages.SAMPLES else None
    return message, readings


def plain(value):
    """A field as a vector writes it: bytes in hex. (MicroPython's b"".hex() is b"".)"""
    return (value.hex() or "") if isinstance(value, bytes) else value


def test_valid_vectors_are_read():
    for name in vector_names("valid"):
        vector = load("valid", name)
        message, readings = take(vector, [])
        for field, value in vector["fields"].items():
            assert plain(getattr(message, field)) == value, (name, field)
        assert (readings is not None) == ("readings" in vector), name
        if readings is not None:
            for column, values in vector["readings"].items():
                assert getattr(readings, column) == values, (name, column)


def test_invalid_vectors_are_refused_at_their_step_for_their_reason():
    for name in vector_names("invalid"):
        vector = load("invalid", name)
        assert vector["reason"] in REASONS, name
        steps = []
        try:
            take(vector, steps)
        except ProtocolError as error:
            assert error.reason == vector["reason"], (name, error.reason, error.detail)
            assert steps[-1] == vector["step"], (name, steps[-1])
        else:
            raise AssertionError(name + " is accepted")


def test_each_reason_of_this_package_has_a_vector():
    reasons = set()
    for name in vector_names("invalid"):
        reasons.add(load("invalid", name)["reason"])
    of_the_gateway = {"pen_unknown", "sequence_conflict", "sequence_gap", "state_invalid"}
    assert reasons | of_the_gateway == set(REASONS)
    assert not reasons & of_the_gateway
