"""A real InfluxDB reads the lines as they were meant: any text, any number, each series once."""

import json
import urllib.parse
import urllib.request

from end_to_end.influx_bench import BUCKET, InfluxBench
from needletrail_gateway.core.series.cardinality import Size, bound, combinations
from needletrail_gateway.core.series.point import UTC_MOST_MS, Name, Point, line
from needletrail_gateway.core.series.schema import MEASUREMENTS

TEXTS = (
    *('say "no"', "back\\slash", "end\\", "a,b c=d", "\\,", '\\"', "a\\ b", " blanks ", "é µ 针 😀"),
    *("", "'single'", "# not a comment", "1i", "true", "a\\nb", "tab\\t", "=", ",", '"', "🙂\\"),
)
TAGS = tuple(text for text in TEXTS if text and not text.endswith("\\"))


def write(influx: InfluxBench, points: list[Point]) -> None:
    """Write points straight, as one body."""
    body = "\n".join(map(line, points)).encode()
    arguments = urllib.parse.urlencode({"bucket": BUCKET, "org": "bench", "precision": "ns"})
    request = urllib.request.Request(f"{influx.url}/api/v2/write?{arguments}", body, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 204


def test_texts_arrive_as_they_are(influx: InfluxBench) -> None:
    points = [
        Point("nasty", (("lot", tag),), (("why", text), ("number", number)), 1_000 + number)
        for number, (tag, text) in enumerate((tag, text) for tag in TAGS for text in TEXTS)
    ]
    write(influx, points)
    rows = influx.query('SELECT "number", "why", "lot" FROM "nasty"')
    found = {row["number"]: (row["lot"], row["why"], row["time"]) for row in rows}
    assert found == {
        dict(point.fields)["number"]: (
            dict(point.tags)["lot"],
            dict(point.fields)["why"],
            point.time_ns,
        )
        for point in points
    }


def test_what_a_line_can_not_hold_does_not_spoil_it(influx: InfluxBench) -> None:
    """Line's ends, control characters, a backslash at a tag's end, half a surrogate pair."""
    points = [
        Point("spoilt", (("lot", tag), ("z", "z")), (("why", tag), ("n", n)), n)
        for n, tag in enumerate(("a\nb", "a\r\nb", "a\x00b", "a\\", "a\\\\", "a\ud800"))
    ]
    write(influx, points)
    rows = influx.query('SELECT "n", "why", "lot", "z" FROM "spoilt"')
    found = {row["n"]: (row["lot"], row["why"], row["z"]) for row in rows}
    assert found == {
        0: ("a b", "a b", "z"),
        1: ("a  b", "a  b", "z"),
        2: ("a b", "a b", "z"),
        3: ("a?", "a\\", "z"),
        4: ("a\\?", "a\\\\", "z"),
        5: ("a?", "a?", "z"),
    }


def test_numbers_and_the_last_moment(influx: InfluxBench) -> None:
    last_ns = Name.of("pen-99-9999").time_ns(UTC_MOST_MS)
    numbers = {"most": 2**63 - 1, "least": -(2**63), "small": 1e-300, "exact": 0.1 + 0.2, "is": True}
    write(influx, [Point("numbers", (), tuple(numbers.items()), last_ns)])
    arguments = urllib.parse.urlencode({"db": BUCKET, "q": "SELECT * FROM numbers", "epoch": "ns"})
    with urllib.request.urlopen(f"{influx.url}/query?{arguments}", timeout=30) as answer:
        [series] = json.load(answer)["results"][0]["series"]
    found = dict(zip(series["columns"], series["values"][0], strict=True))
    assert found == numbers | {"time": last_ns}


def test_a_point_of_each_series_makes_as_many_series(influx: InfluxBench) -> None:
    size = Size(2, 2, 2, 3, 1, 30_000, 50, 20, 20, 5, 150)
    points = [
        Point(measurement.name, tags, (("n", 1),), 10**18)
        for clinic in ("a", "b")
        for measurement in MEASUREMENTS
        for tags in combinations(measurement, size, clinic)
    ]
    write(influx, points)
    rows = influx.query("SHOW SERIES EXACT CARDINALITY")
    assert sum(row["count"] for row in rows) == 2 * sum(bound(size).values()) == len(points)
