"""Reading a tape: the raw readings of a pen's sensors during one treatment, as a CSV file.

The firmware reads the same file itself, on a machine with little memory and no one watching, and
trusts it. So this is the host's check beforehand: the file is read once, line by line and with
bounded lines, and the first thing that is not exactly in the form of tapes/bench/README.md ends it
with a `TapeError` that names the line, the cause and the remedy. Whatever bytes the file holds, the
outcome is a `Tape` or a `TapeError`. CRLF line ends and a byte-order mark are refused, as is a last
line without its line end, because a number cut short still looks like a number.

Not here: what readings mean (needletrail_protocol.measure), what tags say (ndef).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from needletrail_protocol.measure import DIAL_MAX_COUNTS
from needletrail_protocol.ndef import MESSAGE_MAX_LENGTH
from needletrail_protocol.topics import is_identifier

HEADER_KEYS = ("tape", "pen", "start", "hz")
COLUMNS = ("t_ms", "dial_counts", "strokes", "contact_adc")
COLUMN_LINE = ",".join(COLUMNS) + ",event"
START_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
CONTACT_MAX_ADC = 4095  # 12-bit converter
HZ_MAX = 1000  # the wire counts a reading's period in whole milliseconds
LINE_MAX_BYTES = 2000  # a row with the longest event, a full NTAG216, takes 1825 at most

_U32_MAX = (1 << 32) - 1
_MAXIMA = (_U32_MAX, DIAL_MAX_COUNTS, _U32_MAX, CONTACT_MAX_ADC)
_HEADER = re.compile(r"# ([a-z_]+): (.*)")
_INTEGER = re.compile(r"-?[0-9]{1,12}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_START = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_SHOWN_MAX = 40  # characters of a wrong value that an error repeats


class Event(NamedTuple):
    """Something at the NFC reader. `message` is the tag's NDEF message; empty for a removal."""

    kind: Literal["badge", "cartridge", "removed"]
    message: bytes


class Row(NamedTuple):
    """One reading of all sensors."""

    t_ms: int
    dial_counts: int
    strokes: int
    contact_adc: int
    event: Event | None


class Tape(NamedTuple):
    """A tape that was found to be in order. `start` is the UTC time of t_ms = 0."""

    name: str
    pen: str
    start: datetime
    hz: int
    rows: tuple[Row, ...]


class TapeError(Exception):
    """A file that is no tape. `line` counts from 1; 0 means the file as a whole."""

    def __init__(self, path: Path, line: int, cause: str, remedy: str) -> None:
        super().__init__(path, line, cause, remedy)
        self.path = path
        self.line = line
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.cause}. {self.remedy}"


class _Wrong(Exception):
    """What is wrong with the line being read: cause and remedy."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy


def read_tape(path: Path) -> Tape:
    """The tape in the file `path`; TapeError for anything else."""
    line_number = 0
    try:
        with path.open("rb") as file:
            header: dict[str, str] = {}
            rows: list[Row] = []
            in_header = True
            for line in _lines(file):
                line_number += 1
                if not in_header:
                    rows.append(_row(line, rows[-1] if rows else None))
                elif line.startswith("#"):
                    _take_header_line(line, header)
                else:
                    _check_column_line(line, header)
                    in_header = False
        if in_header:
            raise _Wrong(
                "the file ends before the columns",
                f"After the header comes the line {COLUMN_LINE}",
            )
        if not rows:
            raise _Wrong("the tape has no readings", "Record the treatment again")
    except _UnreadableLine as unreadable:
        raise TapeError(path, line_number + 1, unreadable.cause, unreadable.remedy) from None
    except _Wrong as wrong:
        raise TapeError(path, line_number, wrong.cause, wrong.remedy) from None
    except (OSError, ValueError) as error:  # ValueError: a path that no system call accepts
        cause = getattr(error, "strerror", None) or str(error)
        raise TapeError(
            path, 0, f"the file can not be read: {cause}", "Check the path and its permissions"
        ) from None
    start = datetime.strptime(header["start"], START_FORMAT).replace(tzinfo=UTC)
    return Tape(header["tape"], header["pen"], start, int(header["hz"]), tuple(rows))


class _UnreadableLine(_Wrong):
    """The line after the last one that could be read."""


def _lines(file: BinaryIO) -> Iterator[str]:
    while raw := file.readline(LINE_MAX_BYTES + 1):
        if len(raw) > LINE_MAX_BYTES:
            raise _UnreadableLine(
                f"the line is longer than {LINE_MAX_BYTES} bytes", "No tape has such lines"
            )
        if raw.startswith(b"\xef\xbb\xbf"):
            raise _UnreadableLine(
                "the line begins with a byte-order mark", "Save the file as UTF-8 without a mark"
            )
        if b"\0" in raw:
            raise _UnreadableLine("the line holds a NUL byte", "Copy the tape again, it is damaged")
        if b"\r" in raw:
            raise _UnreadableLine(
                "the line holds a carriage return", "Save the file with LF line ends, not CRLF"
            )
        if not raw.endswith(b"\n"):
            raise _UnreadableLine(
                "the last line has no line end", "Copy the tape again, it may be cut short"
            )
        try:
            yield raw[:-1].decode()
        except UnicodeDecodeError:
            raise _UnreadableLine("the line is not UTF-8", "Save the file as UTF-8") from None


def _take_header_line(line: str, header: dict[str, str]) -> None:
    match = _HEADER.fullmatch(line)
    if match is None:
        raise _Wrong(f"{_shown(line)} is no header line", "Write it as '# key: value'")
    key, value = match.groups()
    if key not in HEADER_KEYS:
        raise _Wrong(f"the header has no key {_shown(key)}", f"Its keys are {', '.join(HEADER_KEYS)}")
    if key in header:
        raise _Wrong(f"'{key}' is given a second time", "Leave one of the two lines out")
    header[key] = value
    if key == "tape" and not (value.strip() and value.isprintable()):
        raise _Wrong(f"{_shown(value)} is no name of a tape", "Give it a name in plain characters")
    if key == "pen" and not is_identifier(value):
        raise _Wrong(
            f"{_shown(value)} is no pen's id",
            "An id is 1 to 32 of a-z, 0-9 and '-', and does not begin with '-'",
        )
    if key == "start" and not _is_start(value):
        raise _Wrong(f"{_shown(value)} is no UTC time", "Write it like 2026-07-01T09:00:00Z")
    if key == "hz":
        hz = _integer("hz", value)
        if not 1 <= hz <= HZ_MAX:
            raise _Wrong(f"hz is {hz}", f"Readings a second are 1 to {HZ_MAX}")


def _is_start(value: str) -> bool:
    if not _START.fullmatch(value):
        return False
    try:
        datetime.strptime(value, START_FORMAT)
    except ValueError:
        return False
    return True


def _check_column_line(line: str, header: dict[str, str]) -> None:
    missing = [key for key in HEADER_KEYS if key not in header]
    if missing:
        raise _Wrong(
            f"the header ends here without {', '.join(missing)}",
            f"Above the columns, write a line '# {missing[0]}: value'",
        )
    if line != COLUMN_LINE:
        raise _Wrong(f"{_shown(line)} does not name the columns", f"Write {COLUMN_LINE}")


def _row(line: str, before: Row | None) -> Row:
    fields = line.split(",")
    if len(fields) != len(COLUMNS) + 1:
        raise _Wrong(
            f"the row has {len(fields)} fields",
            f"A row has {len(COLUMNS) + 1}: {COLUMN_LINE}; the event may be empty",
        )
    values = [_integer(column, field) for column, field in zip(COLUMNS, fields[:-1], strict=True)]
    for column, value, maximum in zip(COLUMNS, values, _MAXIMA, strict=True):
        if not 0 <= value <= maximum:
            raise _Wrong(f"{column} is {value}", f"It goes from 0 to {maximum}")
    t_ms, dial_counts, strokes, contact_adc = values
    if before is not None and t_ms <= before.t_ms:
        raise _Wrong(f"t_ms goes from {before.t_ms} to {t_ms}", "Time must rise from row to row")
    if before is not None and strokes < before.strokes:
        raise _Wrong(
            f"strokes go from {before.strokes} to {strokes}",
            "Strokes are counted since power-on and never fall",
        )
    return Row(t_ms, dial_counts, strokes, contact_adc, _event(fields[-1]))


def _event(field: str) -> Event | None:
    if not field:
        return None
    if field == "removed:cartridge":
        return Event("removed", b"")
    kind, _, text = field.partition(":")
    if kind not in {"badge", "cartridge"}:
        raise _Wrong(
            f"{_shown(field)} is no event",
            "Events are badge:HEX, cartridge:HEX and removed:cartridge",
        )
    if not _HEX.fullmatch(text):
        raise _Wrong(
            f"{_shown(text)} is not hexadecimal",
            "A tag's message is an even number, at least two, of 0-9 and a-f",
        )
    message = bytes.fromhex(text)
    if len(message) > MESSAGE_MAX_LENGTH:
        raise _Wrong(f"the tag's message has {len(message)} bytes", f"A tag holds {MESSAGE_MAX_LENGTH}")
    return Event("badge" if kind == "badge" else "cartridge", message)


def _integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _Wrong(f"{name} is {_shown(text)}", "Write a whole number in plain digits")
    return int(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…")
