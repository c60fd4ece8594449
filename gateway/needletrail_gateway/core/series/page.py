"""The reference page of the time series, made from the schema; docs/reference has what writes it.

Whatever the schema names is on the page, and the page names nothing else. The number of series is
computed here; how many InfluxDB counted is told by the benchmark.
"""

from dataclasses import dataclass, fields

from needletrail_gateway.core.series.cardinality import Size, bound
from needletrail_gateway.core.series.schema import MEASUREMENTS, Measurement

CLINICS = 100
COMMAND = ".venv/bin/python benchmarks/series.py --page"

_SOURCES = {
    "ledger": "from the ledger's entries; can be made again",
    "daily": "from the ledger, one point a day and series, written again until the day is over",
    "live": "as it happens; in no record, can not be made again",
}
_BUCKETS = {"raw": "raw: kept for `raw_days`", "long": "long: kept for ever"}

_HEAD = """\
# The time series

This page is made from the schema, `needletrail_gateway.core.series.schema`: see the end of the page.
Writer, dashboards and rules take their names from there, too.

- **Nothing here is evidence.** The [ledger](ledger.md) is the record. What InfluxDB holds can be thrown
  away and made again, but for the two measurements that are `live`.
- **A time is the moment that a point is of,** by the clock that counts for the session
  ([0009](../decisions/0009-a-boot-is-pinned-by-its-hello.md)), in nanoseconds. Only the milliseconds
  are measured. The six digits below them are four of the session's number and two of the key epoch, so
  two readings are never one point.
- **A point may be written again,** with the same tags and time, and takes the place of the old one:
  after an amended verdict, an override, an acknowledgement. So count with `sum("sessions")`; why it is
  so is in [0017](../decisions/0017-what-is-a-tag-and-what-a-field.md).
- **A session without a place in time** has no points here: its pen's clock was never set and the
  gateway heard no hello of that boot. Its verdict is in the ledger all the same, and so are the notices
  of its alerts here, which are of the gateway's time. A simulated pen's sessions are where the tape
  says.
- **People, products and lots** are those of the registry as it stood at the session. Of others the tag
  is `unregistered`.
- **Readings that have [expired](ledger.md) in the ledger** can not be made again. Their sessions can.
- **Clients are nowhere.** A pseudonym in the reason of an override is left out.
- A text has no line's ends: a blank stands for one.
"""


@dataclass(frozen=True)
class Counted:
    """What the benchmark counted in InfluxDB: its version, and the series of so many clinics."""

    version: str
    clinics: int
    series: int


def page(counted: Counted | None) -> str:
    """The whole page, as Markdown. counted: None if it has not been yet."""
    parts = [_HEAD, _contents(), *map(_section, MEASUREMENTS), _cardinality(counted), _MAKING]
    return "\n".join(parts)


def _contents() -> str:
    rows = [
        f"| [{one.name}](#{one.name}) | {one.text} | {one.source} | {one.retention} |"
        for one in MEASUREMENTS
    ]
    said = [f"- `{source}`: {text}." for source, text in _SOURCES.items()]
    return "\n".join(
        [
            "## Measurements",
            "",
            "| measurement | what it is | source | bucket |",
            "|---|---|---|---|",
            *rows,
            "",
            *said,
            "",
        ]
    )


def _section(one: Measurement) -> str:
    tags = [f"| `{tag.name}` | tag | | {tag.text} |" for tag in one.tags]
    values = [
        f"| `{field.name}` | {field.kind} | {field.unit} | {field.text} |" for field in one.fields
    ]
    return "\n".join(
        [
            f"## {one.name}",
            "",
            one.text,
            "",
            f"Time: {one.time}. Source: {one.source}. Bucket: {_BUCKETS[one.retention]}.",
            "",
            "| name | kind | unit | what it is |",
            "|---|---|---|---|",
            *tags,
            *values,
            "",
        ]
    )


def _cardinality(counted: Counted | None) -> str:
    size = Size()
    of_clinic, for_ever = bound(size), bound(size, is_for_ever=True)
    total, most = sum(of_clinic.values()), sum(for_ever.values())
    rows = [
        f"| {name} | {series:,} | {series * CLINICS:,} | {for_ever[name]:,} |"
        for name, series in of_clinic.items()
    ]
    words = [f"{getattr(size, one.name):,} {one.name}" for one in fields(Size)]
    measured = "Not counted in InfluxDB yet."
    if counted is not None:
        measured = (
            f"Counted: InfluxDB {counted.version} has {counted.series:,} series\n"
            "(`SHOW SERIES EXACT CARDINALITY`) after one point of each series of\n"
            f"{counted.clinics:,} such clinics was written to it."
        )
    return "\n".join(
        [
            "## How many series",
            "",
            "Each combination of tag values is a series. No session, no serial number and no client is",
            "a tag, so their number follows from the registry's size and stops growing. At the most,",
            "after a year of a clinic with",
            f"{', '.join(words[:6])},",
            f"{', '.join(words[6:])}:",
            "",
            f"| measurement | one clinic | {CLINICS} clinics | one clinic, for ever |",
            "|---|--:|--:|--:|",
            *rows,
            f"| **all** | **{total:,}** | **{total * CLINICS:,}** | **{most:,}** |",
            "",
            "A combination is there once it has a point, so where few things happen in a year their",
            "number is the bound. The last column is what that registry can not exceed.",
            "",
            measured,
            "",
        ]
    )


_MAKING = f"""\
## How this page is made

`.venv/bin/python docs/reference/make_series_page.py` writes it and keeps what was counted. To count
again, which takes a minute: `{COMMAND}`.
A test checks that the page is of the present schema.
"""
