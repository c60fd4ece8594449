"""zcbor reads needletrail.cddl: our payloads fit it, and what does not fit it we refuse.

zcbor 0.9 takes a label in an array that is also the name of a rule (`boot: seq`) for the key of a
map, so such labels get another name before it reads the text; in an array they mean nothing. It
wants names that cbor2 6 no longer has, and plain dicts; both are put right here.
"""

import re
import sys

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_oracle import PROTOCOL, channel_of, fields_of, oracle, payloads, readings, vectors

from needletrail_protocol import messages

if not hasattr(cbor2, "CBORDecodeValueError"):
    cbor2.CBORDecodeValueError = cbor2.CBORDecodeError
import zcbor
from zcbor.zcbor.zcbor import PRELUDE_PATH


def read_cddl():
    text = (PROTOCOL / "needletrail.cddl").read_text(encoding="utf-8")
    text = re.sub(r"(?<![\w-])([\w-]+): ", r"the-\1: ", re.sub(r";.*", "", text))
    prelude = PRELUDE_PATH.read_text(encoding="utf-8")
    return zcbor.DataTranslator.from_cddl(prelude + text, 400).my_types


RULES = read_cddl()

# Faults that zcbor does not see: a relation of two fields, which no grammar says; a faulty jitter
# column or battery, which the grammar takes for an element of a later version, as these are optional
# and "* any" follows; and the length of text, which zcbor counts in characters, not in bytes (RFC 8610,
# 3.8.1).
UNSEEN = re.compile(
    r"hello-order|hello-battery-percent-.*|samples-jitter-column-(too-long|empty|other-string)|.*-utf8"
)


def fits(rule, payload):
    try:
        return RULES[rule].validate_str(payload)
    except zcbor.CddlValidationError:
        return False


def test_payloads_of_valid_vectors_fit():
    for vector, payload in payloads():
        assert fits(channel_of(vector["topic"]), payload), vector["describes"]


def test_messages_and_external_data_fit():
    for _, vector in vectors("valid"):
        message = cbor2.loads(bytes.fromhex(vector["message"]))
        parts = list(message.value)
        parts[1] = dict(parts[1])
        assert RULES["message"].validate_obj(cbor2.CBORTag(message.tag, parts))
        external = [vector["topic"], vector["pen"], vector["epoch"]]
        assert fits("external-data", cbor2.dumps(external))


@pytest.mark.parametrize(
    "faulty",
    [
        pytest.param(vector, id=name)
        for name, vector in vectors("invalid")
        if vector["step"] == "payload" and vector["reason"] != "payload_malformed"
    ],
)
def test_payloads_of_invalid_vectors_do_not_fit(faulty, request):
    name = request.node.callspec.id
    payload = cbor2.loads(bytes.fromhex(faulty["message"])).value[2]
    assert fits(channel_of(faulty["topic"]), payload) == bool(UNSEEN.fullmatch(name))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_we_write_fits(data):
    name = data.draw(st.sampled_from(sorted(oracle.FIELDS)))
    if name == "samples":
        payload = messages.encode_samples(*data.draw(readings()))
    elif name in oracle.KINDS:
        payload = messages.encode_record(oracle.KINDS[name], data.draw(fields_of(name)))
    else:
        payload = oracle.payload_of(name, data.draw(fields_of(name)))
    assert fits(oracle.channel_of(name), payload)


def test_zcbor_sees_the_whole_text():
    channels = {"record", "urgent", "hello", "will", "ack", "grant", "alert"}
    assert {"message", "external-data"} | channels <= set(RULES)
    assert "zcbor" in sys.modules
