"""Whatever a file holds, reading it gives a tape in order or an error that names its line."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needletrail_gateway.bench.tapes import Event, Row, Tape, TapeError, read_tape

from .truth import BENCH_TAPES

ALL = sorted(BENCH_TAPES.glob("*.csv"))
GOOD = (
    b"# tape: small\n"
    b"# pen: pen-01\n"
    b"# start: 2026-07-01T09:00:00Z\n"
    b"# hz: 50\n"
    b"t_ms,dial_counts,strokes,contact_adc,event\n"
    b"0,410,0,900,badge:d10103550461\n"
    b"20,411,2,2900,cartridge:d10103550462\n"
    b"40,4095,4,4095,removed:cartridge\n"
)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_shared_tape_is_in_order(path: Path) -> None:
    tape = read_tape(path)
    assert tape.name == path.stem
    assert len(tape.rows) == path.read_bytes().count(b"\n") - 5


def test_tape_holds_what_the_file_says(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD) == Tape(
        "small",
        "pen-01",
        datetime(2026, 7, 1, 9, tzinfo=UTC),
        50,
        (
            Row(0, 410, 0, 900, Event("badge", bytes.fromhex("d10103550461"))),
            Row(20, 411, 2, 2900, Event("cartridge", bytes.fromhex("d10103550462"))),
            Row(40, 4095, 4, 4095, Event("removed", b"")),
        ),
    )


def test_removal_without_an_arrival_is_a_tape(tmp_path: Path) -> None:
    tape = read(tmp_path, GOOD.replace(b"cartridge:d10103550462", b""))
    assert tape.rows[2].event == Event("removed", b"")


WRONG = {
    "empty": (lambda good: good[:0], 0, "ends before the columns"),
    "header only": (lambda good: good[: good.index(b"t_ms")], 4, "ends before the columns"),
    "no readings": (lambda good: good[: good.index(b"0,410")], 5, "no readings"),
    "no header": (lambda good: good[good.index(b"t_ms") :], 1, "without tape, pen, start, hz"),
    "no pen": (lambda good: good.replace(b"# pen: pen-01\n", b""), 4, "without pen"),
    "two pens": (lambda good: good.replace(b"# hz: 50", b"# pen: p"), 4, "'pen' is given a second"),
    "garbled header": (lambda good: good.replace(b"# hz: ", b"#hz="), 4, "no header line"),
    "unknown header": (lambda good: good.replace(b"# hz", b"# hertz"), 4, "no key 'hertz'"),
    "nameless": (lambda good: good.replace(b"small", b" "), 1, "no name"),
    "bad pen": (lambda good: good.replace(b": pen-01", b": Pen 1"), 2, "no pen's id"),
    "bad start": (lambda good: good.replace(b"07-01T", b"07-32T"), 3, "no UTC time"),
    "local start": (lambda good: good.replace(b"00Z", b"00+02:00"), 3, "no UTC time"),
    "hz of 0": (lambda good: good.replace(b"hz: 50", b"hz: 0"), 4, "hz is 0"),
    "hz in words": (lambda good: good.replace(b"hz: 50", b"hz: fifty"), 4, "hz is 'fifty'"),
    "other columns": (lambda good: good.replace(b"strokes", b"turns"), 5, "does not name the col"),
    "header below": (lambda good: good + b"# hz: 50\n", 9, "1 fields"),
    "too few fields": (lambda good: good.replace(b"410,0,", b"410,"), 6, "4 fields"),
    "too many fields": (lambda good: good.replace(b"410,0,", b"410,0,0,"), 6, "6 fields"),
    "empty line": (lambda good: good + b"\n", 9, "1 fields"),
    "a decimal point": (lambda good: good.replace(b"411", b"4.1"), 7, "dial_counts is '4.1'"),
    "a blank": (lambda good: good.replace(b"411", b" 411"), 7, "dial_counts is ' 411'"),
    "an underscore": (lambda good: good.replace(b"411", b"4_1"), 7, "dial_counts is '4_1'"),
    "other digits": (lambda good: good.replace(b"411", "٤١١".encode()), 7, "dial_counts is"),
    "an endless number": (lambda good: good.replace(b"411", b"9" * 1500), 7, "dial_counts is '9"),
    "negative time": (lambda good: good.replace(b"\n0,410", b"\n-1,410"), 6, "t_ms is -1"),
    "dial beyond": (lambda good: good.replace(b"40,4095", b"40,4096"), 8, "dial_counts is 4096"),
    "contact beyond": (lambda good: good.replace(b"4,4095", b"4,4096"), 8, "contact_adc is 4096"),
    "strokes beyond": (lambda good: good.replace(b",4,", b",4294967296,"), 8, "strokes is 4294967"),
    "strokes fall": (lambda good: good.replace(b",4,", b",1,"), 8, "strokes go from 2 to 1"),
    "time stands": (lambda good: good.replace(b"\n40,", b"\n20,"), 8, "t_ms goes from 20 to 20"),
    "other event": (lambda good: good.replace(b"badge:", b"card:"), 6, "no event"),
    "other removal": (lambda good: good.replace(b"removed:c", b"removed:b"), 8, "no event"),
    "odd hex": (lambda good: good.replace(b"0461", b"046"), 6, "not hexadecimal"),
    "hex with blanks": (lambda good: good.replace(b"0461", b"04 61 "), 6, "not hexadecimal"),
    "no hex": (lambda good: good.replace(b"d10103550461", b""), 6, "not hexadecimal"),
    "more than a tag": (lambda good: good.replace(b"0461", b"61" * 889), 6, "has 893 bytes"),
    "CRLF": (lambda good: good.replace(b"\n", b"\r\n"), 1, "carriage return"),
    "a byte-order mark": (lambda good: b"\xef\xbb\xbf" + good, 1, "byte-order mark"),
    "not UTF-8": (lambda good: good.replace(b"small", b"sm\xe4ll"), 1, "not UTF-8"),
    "UTF-16": (lambda good: good.decode().encode("utf-16-le"), 1, "NUL"),
    "a NUL": (lambda good: good.replace(b"411", b"41\0"), 7, "NUL"),
    "a very long line": (lambda good: good + b"9" * 5000 + b"\n", 9, "longer than 2000 bytes"),
    "cut short": (lambda good: good[:-1], 8, "no line end"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_tape_is_refused_by_line(case: str, tmp_path: Path) -> None:
    change, line, words = WRONG[case]
    with pytest.raises(TapeError) as caught:
        read(tmp_path, change(GOOD))
    error = caught.value
    assert error.line == line
    assert words in error.cause
    assert str(error) == f"{tmp_path / 'tape.csv'}:{line}: {error.cause}. {error.remedy}"
    assert len(str(error).removeprefix(str(tmp_path))) < 250


def test_longest_event_is_read(tmp_path: Path) -> None:
    tape = read(tmp_path, GOOD.replace(b"d10103550461", b"61" * 888))
    assert tape.rows[0].event == Event("badge", b"a" * 888)


@pytest.mark.parametrize("name", ["nothing.csv", ".", "no\0name"])
def test_what_can_not_be_read_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="can not be read") as caught:
        read_tape(tmp_path / name)
    assert caught.value.line == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tapes")


@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_tape_or_an_error(folder: Path, data: bytes) -> None:
    assert_tape_or_error(folder, data)


@given(data=st.binary(max_size=60))
def test_any_rows_give_a_tape_or_an_error(folder: Path, data: bytes) -> None:
    assert_tape_or_error(folder, GOOD + data + b"\n")


@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, len(GOOD)),
            st.integers(0, 12),
            st.one_of(
                st.sampled_from([b"", b"\n", b",", b"-", b":", b"#", b"\0", b"\r", b"4096", b"\xff"]),
                st.binary(max_size=4),
                st.text("0123456789abcdef:,\n# ", max_size=6).map(str.encode),
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_damaged_tape_gives_a_tape_or_an_error(
    folder: Path, edits: list[tuple[int, int, bytes]]
) -> None:
    data = GOOD
    for at, removed, added in edits:
        data = data[:at] + added + data[at + removed :]
    assert_tape_or_error(folder, data)


def assert_tape_or_error(folder: Path, data: bytes) -> None:
    try:
        tape = read(folder, data)
    except TapeError as error:
        assert 0 <= error.line <= data.count(b"\n") + 1
        assert str(error).count("\n") == 0
        return
    assert tape.rows
    before = Row(-1, 0, 0, 0, None)
    for row in tape.rows:
        assert row.t_ms > before.t_ms and row.strokes >= before.strokes
        assert 0 <= row.dial_counts <= 4095 and 0 <= row.contact_adc <= 4095
        before = row


def read(folder: Path, data: bytes) -> Tape:
    path = folder / "tape.csv"
    path.write_bytes(data)
    return read_tape(path)
