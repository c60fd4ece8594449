"""Made-up messages: what is encoded is decoded the same, by us and by cbor2."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_oracle import (
    DECODERS,
    ENCODERS,
    columns_again,
    encoded_again,
    field,
    fields_of,
    oracle,
    readings,
)

from needletrail_protocol import messages
from needletrail_protocol.errors import ProtocolError
from needletrail_protocol.readings import Readings, decode_record


@pytest.mark.parametrize("name", sorted(oracle.FIELDS))
@given(data=st.data())
def test_a_message_is_decoded_as_it_was_encoded(name, data):
    fields = data.draw(fields_of(name))
    channel = oracle.channel_of(name)
    if name in oracle.KINDS:
        payload = messages.encode_record(oracle.KINDS[name], fields)
    else:
        payload = ENCODERS[channel](fields)
    assert payload == oracle.payload_of(name, fields)
    decoded = DECODERS[channel](payload)
    for row, value in zip(oracle.FIELDS[name], fields, strict=True):
        assert getattr(decoded, row[0]) == value
        assert type(getattr(decoded, row[0])) is type(value)
    assert encoded_again(channel, decoded, payload) == payload


@pytest.mark.parametrize("name", sorted(oracle.FIELDS))
@given(data=st.data())
def test_a_message_with_one_field_of_another_sort_is_refused_both_ways_or_neither(name, data):
    fields = list(data.draw(fields_of(name)))
    at = data.draw(st.integers(0, len(fields) - 1))
    rows = [row for message in oracle.FIELDS.values() for row in message]
    fields[at] = data.draw(field(data.draw(st.sampled_from(rows))))
    channel = oracle.channel_of(name)
    try:
        if name in oracle.KINDS:
            messages.encode_record(oracle.KINDS[name], fields)
        else:
            ENCODERS[channel](fields)
        is_written = True
    except ValueError:
        is_written = False
    try:
        DECODERS[channel](oracle.payload_of(name, fields))
        is_read = True
    except ProtocolError:
        is_read = False
    assert is_written == is_read


@given(
    made=readings(),
    column=st.sampled_from((4, 5, 7)),
    value=st.sampled_from((-1, 0, 4095, 4096, 2**31, 2**32 - 1, 2**32, 2**40 - 1, 2**40)),
    data=st.data(),
)
def test_a_faulty_reading_is_refused_both_ways_or_neither(made, column, value, data):
    made = list(made)
    made[column] = list(made[column])
    made[column][data.draw(st.integers(0, made[2] - 1))] = value
    seq, session, _, period_ms, times, dial, before, strokes, contact = made
    fields = oracle.samples(seq, session, period_ms, times, dial, before, strokes, contact)
    try:
        messages.encode_samples(*made)
        is_written = True
    except ValueError:
        is_written = False
    try:
        Readings(decode_record(oracle.payload_of("samples", fields)))
        is_read = True
    except ProtocolError:
        is_read = False
    assert is_written == is_read


@given(readings())
def test_samples_unpack_to_the_readings_they_were_made_of(made):
    seq, session, count, period_ms, times, dial, before, strokes, contact = made
    payload = messages.encode_samples(*made)
    expected = oracle.samples(seq, session, period_ms, times, dial, before, strokes, contact)
    assert payload == cbor2.dumps([3, *expected])
    record = decode_record(payload)
    unpacked = Readings(record)
    assert (unpacked.t_ms, unpacked.dial) == (times, dial)
    assert (unpacked.strokes, unpacked.contact) == (strokes, contact)
    assert (record.seq, record.session, record.count) == (seq, session, count)
    assert columns_again(record) == (
        record.dial_column,
        record.strokes_column,
        record.contact_runs,
        record.jitter_column,
    )
