"""Topics: built and parsed by exact inverses."""

from needletrail_protocol import topics
from needletrail_protocol.errors import TOPIC_UNKNOWN, VERSION_UNKNOWN, ProtocolError

IDENTIFIERS = ("a", "7", "bench", "pen-07", "a-", "0--9", "z" * 32)
NO_IDENTIFIERS = ("", "-", "-a", "A", "pen_07", "pen 07", "a/b", "+", "#", "é", "a\0", "z" * 33)


def raises(error, act, *arguments):
    try:
        act(*arguments)
    except error as raised:
        return raised
    raise AssertionError(f"nothing was raised for {arguments}")


def test_building_and_parsing_are_inverse():
    for clinic in IDENTIFIERS:
        for pen in IDENTIFIERS:
            for channel in topics.CHANNELS:
                topic = topics.build(clinic, pen, channel)
                assert topics.parse(topic) == (clinic, pen, channel)
                assert topics.build(*topics.parse(topic)) == topic


def test_a_topic_looks_as_the_readme_says():
    assert topics.build("bench", "pen-07", topics.RECORD) == "needletrail/1/bench/pen-07/record"


def test_what_is_no_identifier_is_neither_built_nor_parsed():
    for text in NO_IDENTIFIERS:
        assert not topics.is_identifier(text)
        raises(ValueError, topics.build, text, "pen-07", topics.RECORD)
        raises(ValueError, topics.build, "bench", text, topics.RECORD)
        for pair in ((text, "pen-07"), ("bench", text)):
            topic = f"needletrail/1/{pair[0]}/{pair[1]}/record"
            assert raises(ProtocolError, topics.parse, topic).reason == TOPIC_UNKNOWN


def test_channels_have_one_direction_each():
    assert set(topics.CHANNELS) == {"hello", "record", "urgent", "will", "ack", "grant", "alert"}
    assert not set(topics.UPWARD) & set(topics.DOWNWARD)
    raises(ValueError, topics.build, "bench", "pen-07", "status")
    error = raises(ProtocolError, topics.parse, "needletrail/1/bench/pen-07/status")
    assert error.reason == TOPIC_UNKNOWN


def test_another_version_is_refused_as_such():
    for version in ("2", "0", "", "01", "1.0", "one", "9" * 5000):
        topic = f"needletrail/{version}/bench/pen-07/record"
        error = raises(ProtocolError, topics.parse, topic)
        assert error.reason == VERSION_UNKNOWN
        assert len(error.detail) < 100
