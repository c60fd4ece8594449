"""What Grafana does with a query before InfluxDB sees it, and with the answer after that.

Written from Grafana's published source (12.x: packages/scenes `sceneInterpolator`, `formatRegistry`,
`MultiValueVariable`; packages/grafana-data `rangeutil.calculateInterval`; pkg/tsdb/influxdb
`models/query.go` and `influxql/buffered/response_parser.go`; datasource/influxdb `datasource.ts`).
First the browser fills in the variables, then the server the period and the width of a point.
"""

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ALL = "$__all"
YEAR_MS, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS = 31_536_000_000, 86_400_000, 3_600_000, 60_000, 1_000

# scenes, variables/constants.ts: $name, [[name:format]], ${name.path:format}
_VARIABLE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^\}]+))?(?::([^\}]+))?\}")
# grafana-data, escapeRegex
_REGEX_SIGNS = re.compile(r"[\\^$*+?.()|[\]{}/]")
# rangeutil.ts, roundInterval: up to the first, the second
_ROUNDED = (
    *((10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1_500, 1_000)),
    *((3_500, 2_000), (7_500, 5_000), (12_500, 10_000), (17_500, 15_000), (25_000, 20_000)),
    *((45_000, 30_000), (90_000, 60_000), (210_000, 120_000), (450_000, 300_000), (750_000, 600_000)),
    *((1_050_000, 900_000), (1_500_000, 1_200_000), (2_700_000, 1_800_000), (5_400_000, 3_600_000)),
    *((9_000_000, 7_200_000), (16_200_000, 10_800_000), (32_400_000, 21_600_000)),
    *((86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000)),
    *((3_628_800_000, 2_592_000_000),),
)

Value = str | list[str]


def round_interval(interval_ms: float) -> int:
    """A width that people like."""
    for most, rounded in _ROUNDED:
        if interval_ms <= most:
            return rounded
    return YEAR_MS


def interval_ms(from_ms: int, to_ms: int, points: int, least_ms: int = 1) -> int:
    """The width of a point, of so many across the period."""
    return max(round_interval((to_ms - from_ms) / points), least_ms)


def interval_text(width_ms: int) -> str:
    """gtime.FormatInterval: whole units, the largest that fits."""
    for unit, name in (
        *((YEAR_MS, "y"), (DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s")),
    ):
        if width_ms >= unit:
            return f"{width_ms // unit}{name}"
    return f"{width_ms}ms"


def escape_regex(text: str) -> str:
    """As a part of a regular expression between slashes."""
    return _REGEX_SIGNS.sub(lambda found: "\\" + found[0], text)


def formatted(value: Value, name: str) -> str:
    """formatRegistry.ts, as far as our queries use it."""
    if name == "regex":
        if isinstance(value, str):
            return escape_regex(value)
        escaped = [escape_regex(one) for one in value]
        return escaped[0] if len(escaped) == 1 else "(" + "|".join(escaped) + ")"
    if name == "raw":
        return value if isinstance(value, str) else ",".join(value)
    if name == "pipe":
        return value if isinstance(value, str) else "|".join(value)
    if name == "singlequote":
        ones = [value] if isinstance(value, str) else value
        return ",".join("'" + one.replace("'", "\\'") + "'" for one in ones)
    raise ValueError(f"the test knows no format {name}")


@dataclass
class View:
    """What a person looks at: a period, the choices, a screen so many pixels wide."""

    from_ms: int
    to_ms: int
    choices: dict[str, Value] = field(default_factory=dict)
    width: int = 1280

    def variable(self, name: str, path: str | None, how: str | None) -> str | None:
        """A variable's value; None if there is none of that name, or the server fills it in."""
        if name in ("__from", "__to") and path is None:
            return str(self.from_ms if name == "__from" else self.to_ms)
        if name not in self.choices or path is not None:
            return None
        value = self.choices[name]
        if value in (ALL, [ALL]):
            return ".*"  # a custom value for all is never escaped (CustomAllValue)
        if how is None:
            raise ValueError(f"${name} has no format of its own")
        return formatted(value, how)

    def filled_in(self, text: str) -> str:
        """The browser's part. What it does not know stays as it is."""

        def one(found: re.Match[str]) -> str:
            name = found[1] or found[2] or found[4]
            value = self.variable(name, found[5], found[3] or found[6])
            return found[0] if value is None else value

        return _VARIABLE.sub(one, text)


def expanded(text: str, view: View, width_ms: int) -> str:
    """The query as InfluxDB gets it."""
    text = view.filled_in(text)
    period = f"time >= {view.from_ms}ms and time <= {view.to_ms}ms"
    for macro, value in (
        ("$timeFilter", period),
        ("$interval", interval_text(width_ms)),
        ("$__interval_ms", str(width_ms)),
        ("$__interval", interval_text(width_ms)),
    ):
        text = text.replace(macro, value)
    left = re.search(r"\$\w+|\$\{|\[\[", text)
    assert left is None, f"Grafana leaves {left and left[0]} in: {text}"
    return text


class Influx:
    """InfluxDB as Grafana's datasource asks it."""

    def __init__(self, url: str, database: str = "needletrail") -> None:
        self._url, self._database = url, database

    def rows(self, text: str) -> list[dict[str, Any]]:
        """The answer's series: name, tags, columns, values. An error is a failure."""
        parameters = urllib.parse.urlencode({"db": self._database, "epoch": "ms"})
        request = urllib.request.Request(
            f"{self._url}/query?{parameters}", urllib.parse.urlencode({"q": text}).encode()
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        result = answer["results"][0]
        assert "error" not in answer and "error" not in result, (text, answer)
        found: list[dict[str, Any]] = result.get("series", [])
        return found


@dataclass(frozen=True)
class Frame:
    """A data frame: columns of equal length. `labels` are those of a series."""

    name: str
    columns: dict[str, list[Any]]
    labels: Mapping[str, str] = field(default_factory=dict)

    def records(self) -> list[dict[str, Any]]:
        """Row by row."""
        names = list(self.columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]


def table(rows: list[dict[str, Any]]) -> list[Frame]:
    """transformRowsForTable: one frame, the tags as columns between time and values."""
    if not rows:
        return []
    names = rows[0]["columns"]
    columns: dict[str, list[Any]] = {}

    def take(index: int, name: str) -> None:
        columns[name] = [value[index] for row in rows for value in row["values"]]

    take(0, "Time" if names[0] == "time" else names[0])
    for tag in rows[0].get("tags", {}):
        columns[tag] = [row["tags"][tag] for row in rows for _ in row["values"]]
    for index in range(1, len(names)):
        take(index, names[index])
    return [Frame(rows[0]["name"], columns)]


def time_series(rows: list[dict[str, Any]], alias: str | None) -> list[Frame]:
    """transformRowsForTimeSeries: a frame for each column of each series; or lists of values."""
    frames = []
    for row in rows:
        tags = row.get("tags", {})
        if "time" not in row["columns"]:  # SHOW TAG VALUES
            frames.append(Frame(row["name"], {"Value": [value[1] for value in row["values"]]}))
            continue
        for index, column in enumerate(row["columns"]):
            if column == "time":
                continue
            values = [value[index] for value in row["values"]]
            times = [value[0] for value in row["values"]]
            name = _named(alias, row["name"], column, tags)
            frames.append(Frame(name, {"Time": times, "Value": values}, tags))
    return frames


def _named(alias: str | None, measurement: str, column: str, tags: Mapping[str, str]) -> str:
    """FormatFrameName."""
    if not alias:
        shown = ", ".join(f"{key}: {value}" for key, value in tags.items())
        return f"{measurement}.{column}" + (f" {{ {shown} }}" if shown else "")

    def one(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name in ("m", "measurement"):
            return measurement
        if name == "col":
            return column
        return tags.get(name.removeprefix("tag_"), found[0]) if name.startswith("tag_") else found[0]

    return re.sub(r"\$(\w+)|\[\[([\s\S]+?)\]\]", one, alias)


def variable_values(rows: list[dict[str, Any]]) -> list[str]:
    """toMetricFindValue: the first texts of every frame, each once, in their order."""
    found: dict[str, None] = {}
    for frame in time_series(rows, None):
        for value in frame.columns["Value"]:
            found[str(value)] = None
    return list(found)


# ---- server-side expressions, as alert rules use them ----


def reduced(frames: list[Frame], how: str) -> dict[tuple[tuple[str, str], ...], float | None]:
    """pkg/expr/mathexp/reduce.go, `last`: by labels; None for a series that ends in nothing."""
    assert how == "last", f"the test knows no reducer {how}"
    found: dict[tuple[tuple[str, str], ...], float | None] = {}
    for frame in frames:
        values = frame.columns["Value"]
        assert all(value is None or isinstance(value, int | float) for value in values), (
            "Grafana: input data must be a wide series of numbers"
        )
        labels = tuple(sorted(frame.labels.items()))
        assert labels not in found, f"two series have the labels {labels}"
        found[labels] = values[-1] if values else None
    return found


def is_beyond(value: float | None, kind: str, bounds: list[float]) -> bool:
    """pkg/expr/threshold.go."""
    if value is None:
        return False
    if kind == "gt":
        return value > bounds[0]
    if kind == "within_range":
        return bounds[0] < value < bounds[1]
    raise ValueError(f"the test knows no threshold {kind}")
