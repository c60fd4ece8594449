"""cbor2, in its canonical mode, agrees with our CBOR both ways."""

import cbor2
from hypothesis import example, given
from hypothesis import strategies as st
from wire_oracle import text, whole

from needletrail_protocol import cbor
from needletrail_protocol.errors import PAYLOAD_MALFORMED, ProtocolError

scalars = st.one_of(
    st.none(),
    st.booleans(),
    whole(-(2**64), 2**64 - 1),
    st.binary(max_size=300),
    text(0, 300),
)
items = scalars
for _ in range(cbor.MAX_DEPTH):
    items = st.one_of(scalars, st.lists(items, max_size=30))


@given(items)
def test_we_write_what_cbor2_writes(item):
    assert cbor.encode(item) == cbor2.dumps(item, canonical=True)


@given(items)
def test_we_read_what_cbor2_writes_and_cbor2_what_we_write(item):
    assert cbor.decode(cbor2.dumps(item, canonical=True)) == item
    assert cbor2.loads(cbor.encode(item)) == item


@given(st.one_of(st.binary(max_size=40), items.map(cbor2.dumps).map(lambda data: data[:-1])))
@example(b"\x81" * 3000)
@example(b"\x5b" + b"\xff" * 8)
@example(b"\x62\xc3\x28")
def test_any_bytes_are_refused_or_are_the_one_encoding_of_what_cbor2_reads(data):
    try:
        item = cbor.decode(data)
    except ProtocolError as error:
        assert error.reason == PAYLOAD_MALFORMED
    else:
        assert cbor.encode(item) == data
        assert cbor2.loads(data) == item
        assert cbor2.dumps(item, canonical=True) == data
