"""A line of InfluxDB's line protocol read back, character by character, by its published rules."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

Value = str | int | float | bool


@dataclass(frozen=True)
class Read:
    """What a line says."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Value]
    time_ns: int

    @property
    def place(self) -> tuple[str, tuple[tuple[str, str], ...], int]:
        """What InfluxDB tells points apart by."""
        return self.measurement, tuple(sorted(self.tags.items())), self.time_ns


def read_line(text: str) -> Read:
    """Measurement, tags, fields and time. In a tag only comma, equals sign and blank are escaped."""
    characters = iter(text)

    def until(stops: str) -> Iterator[str]:
        for character in characters:
            if character == "\\":
                following = next(characters)
                if following == "\\":  # the first stands for itself, the second may escape
                    yield "\\"
                    following = next(characters)
                yield following if following in ",= " else "\\" + following
            elif character in stops:
                ends.append(character)
                return
            else:
                yield character

    ends: list[str] = []
    measurement = "".join(until(", "))
    tags = {}
    while ends[-1] == ",":
        key = "".join(until("="))
        tags[key] = "".join(until(", "))
    fields: dict[str, Value] = {}
    body, _, time_text = "".join(characters).rpartition(" ")
    while body:
        key, _, body = body.partition("=")
        quoted = re.match(r'"((?:[^"\\]|\\.)*)"', body, re.DOTALL)
        if quoted:
            fields[key] = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
            body = body[quoted.end() + 1 :]
            continue
        text_value, _, body = body.partition(",")
        if text_value in ("true", "false"):
            fields[key] = text_value == "true"
        elif text_value.endswith("i"):
            fields[key] = int(text_value[:-1])
        else:
            fields[key] = float(text_value)
    return Read(measurement, tags, fields, int(time_text))
