"""pycose and hmac read our messages, and we read theirs."""

import hashlib
import hmac

import cbor2
from hypothesis import given
from hypothesis import strategies as st
from pycose.keys import SymmetricKey
from pycose.messages import Mac0Message
from wire_oracle import oracle, whole

from needletrail_protocol import topics
from needletrail_protocol.authentication import (
    MacKey,
    external_data,
    open_envelope,
    seal,
    verify,
)

identifiers = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)
messages = {
    "secret": st.binary(min_size=32, max_size=32),
    "epoch": whole(1, 2**32 - 1),
    "clinic": identifiers,
    "pen": identifiers,
    "channel": st.sampled_from(topics.CHANNELS),
    "payload": st.binary(max_size=600),
}


@given(**messages)
def test_pycose_verifies_what_we_seal(secret, epoch, clinic, pen, channel, payload):
    topic = topics.build(clinic, pen, channel)
    message = seal(MacKey(secret, epoch), external_data(topic, pen, epoch), payload)
    # Mac0Message.decode() in two steps: it trips over what cbor2 6 makes of an array in a tag.
    assert message[0] == 0xC0 | Mac0Message.cbor_tag
    theirs = Mac0Message.from_cose_obj(cbor2.loads(message[1:]), allow_unknown_attributes=False)
    theirs.key = SymmetricKey(k=secret)
    theirs.external_aad = cbor2.dumps([topic, pen, epoch])
    assert theirs.verify_tag()
    assert theirs.payload == payload
    theirs.external_aad = cbor2.dumps([topic, pen, epoch + 1])
    assert not theirs.verify_tag()


@given(**messages)
def test_we_verify_what_pycose_seals_and_seal_the_same(secret, epoch, clinic, pen, channel, payload):
    topic = topics.build(clinic, pen, channel)
    message = oracle.by_pycose(topic, payload, pen, epoch, secret)
    opened_epoch, opened, tag = open_envelope(message)
    assert (opened_epoch, opened) == (epoch, payload)
    key = MacKey(secret, epoch)
    external = external_data(topic, pen, epoch)
    verify(key, external, opened, tag)
    assert seal(key, external, payload) == message


@given(
    secret=st.binary(min_size=32, max_size=32),
    epoch=whole(1, 2**32 - 1),
    external=st.binary(max_size=300),
    payload=st.binary(max_size=4000),
)
def test_our_hmac_is_hmac(secret, epoch, external, payload):
    key = MacKey(secret, epoch)
    structure = cbor2.dumps(["MAC0", key.protected, external, payload])
    assert key.tag(external, payload) == hmac.digest(secret, structure, hashlib.sha256)
    assert cbor2.loads(key.protected) == {1: 5, 4: oracle.kid_of(epoch)}
