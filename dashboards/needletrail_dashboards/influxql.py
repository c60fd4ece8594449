"""InfluxQL, put together from the schema's own objects: a renamed field breaks the build, not a graph.

A Select knows its source, and refuses fields and tags that the source has not. It can be the source of
another Select. What Grafana fills in before InfluxDB sees the text stands here, too: the period shown
($timeFilter), the width of a point ($__interval) and the choices made at the top of a dashboard. Each
choice says its own format (`:regex`, `:singlequote`, `:raw`), so it does not matter how a variable is
set up. Nothing here knows a measurement, a panel or Grafana's JSON.
"""

from dataclasses import dataclass, replace
from typing import Union

from needletrail_gateway.core.series.schema import Field, Kind, Measurement, Tag

Thing = Field | Tag
Source = Union[Measurement, "Select"]

RETENTION_RAW = "raw"


@dataclass(frozen=True)
class Column:
    """A column of an answer. `unit` is one of the schema's; `needs` is what it reads of the source."""

    text: str
    name: str
    unit: str
    kind: Kind
    needs: tuple[Thing, ...]

    def named(self, name: str) -> "Column":
        """The same under another name."""
        return replace(self, name=name)

    def __mul__(self, other: "Column") -> "Column":
        return self._with("*", other)

    def __sub__(self, other: "Column") -> "Column":
        return self._with("-", other)

    def _with(self, sign: str, other: "Column") -> "Column":
        needs = (*self.needs, *other.needs)
        return Column(f"{self.text} {sign} {other.text}", self.name, self.unit, self.kind, needs)


@dataclass(frozen=True)
class Condition:
    """A part of a WHERE. One of time holds for a Select around it, too: see Select.text()."""

    text: str
    needs: tuple[Thing, ...] = ()
    is_of_time: bool = False


@dataclass(frozen=True)
class Every:
    """Points of equal width. `width` is what Grafana fills in; weeks begin on a Monday of `zone`."""

    width: str
    zone: str | None = None
    fill: str = "none"


PIXEL = Every("$__interval")


def per_period(fill: str = "0") -> Every:
    """One point for each day, week or four weeks, as chosen at the top, in the clinic's time zone."""
    return Every("${period:raw}, -3d", "${zone:raw}", fill)


def per_utc_period(fill: str = "0") -> Every:
    """The same for what is counted by days of UTC."""
    return Every("${period:raw}, -3d", None, fill)


@dataclass(frozen=True)
class Select:
    """A query. KeyError if it reads what its source has not."""

    source: Source
    columns: tuple[Column, ...]
    where: tuple[Condition, ...] = ()
    by: tuple[Tag, ...] = ()
    every: Every | None = None
    newest_first: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        known: tuple[Thing, ...] = (*self.source.fields, *self.source.tags)
        needed = [thing for column in self.columns for thing in column.needs]
        needed += [thing for condition in self.where for thing in condition.needs]
        for thing in (*needed, *self.by):
            if thing not in known:
                raise KeyError(f"{self.source_name} has no {thing.name}")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"two columns have one name: {names}")

    @property
    def source_name(self) -> str:
        """The measurement that it reads in the end."""
        source = self.source
        return source.source_name if isinstance(source, Select) else source.name

    @property
    def measurement(self) -> Measurement:
        """The same, whole."""
        source = self.source
        return source.measurement if isinstance(source, Select) else source

    @property
    def fields(self) -> tuple[Field, ...]:
        """Its columns, as what a Select around it can read."""
        return tuple(Field(one.name, one.kind, one.unit, "") for one in self.columns)

    @property
    def tags(self) -> tuple[Tag, ...]:
        """What a Select around it can group by and choose by."""
        return self.by

    def field(self, name: str) -> Field:
        """One of its columns; KeyError if there is none."""
        for one in self.fields:
            if one.name == name:
                return one
        raise KeyError(f"no column {name}")

    def column(self, name: str) -> Column:
        """One of its columns as such; KeyError if there is none."""
        for one in self.columns:
            if one.name == name:
                return one
        raise KeyError(f"no column {name}")

    def conditions(self) -> tuple[Condition, ...]:
        """Its own, and of its source those of time.

        InfluxDB opens all that it has stored, in all years, for a query that does not say itself of
        what time it is, whatever the query inside it says.
        """
        source = self.source
        inner = source.conditions() if isinstance(source, Select) else ()
        return (*self.where, *(one for one in inner if one.is_of_time and one not in self.where))

    def text(self) -> str:
        """The InfluxQL."""
        columns = ", ".join(
            one.text if one.text == identifier(one.name) else f"{one.text} AS {identifier(one.name)}"
            for one in self.columns
        )
        parts = [f"SELECT {columns} FROM {self._from()}"]
        conditions = self.conditions()
        if conditions:
            parts.append("WHERE " + " AND ".join(one.text for one in conditions))
        groups = [identifier(tag.name) for tag in self.by]
        if self.every is not None:
            groups.insert(0, f"time({self.every.width})")
        if groups:
            parts.append("GROUP BY " + ", ".join(groups))
        if self.every is not None:
            parts.append(f"fill({self.every.fill})")
        if self.newest_first:
            parts.append("ORDER BY time DESC")
        if self.limit is not None:
            parts.append(f"LIMIT {self.limit}")
        if self.every is not None and self.every.zone is not None:
            parts.append(f"tz('{self.every.zone}')")
        return " ".join(parts)

    def _from(self) -> str:
        if isinstance(self.source, Select):
            return f"({self.source.text()})"
        name = identifier(self.source.name)
        if self.source.retention == "raw":
            return f"{identifier(RETENTION_RAW)}.{name}"
        return name


def identifier(name: str) -> str:
    """A name, quoted."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def string(value: str) -> str:
    """A string, quoted."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


# ---- columns ----


def plain(thing: Thing) -> Column:
    """A field or a tag as it is."""
    if isinstance(thing, Tag):
        return Column(identifier(thing.name), thing.name, "", "text", (thing,))
    return Column(identifier(thing.name), thing.name, thing.unit, thing.kind, (thing,))


def _aggregate(function: str, field: Field, kind: Kind | None = None) -> Column:
    text = f"{function}({identifier(field.name)})"
    return Column(text, field.name, field.unit, kind or field.kind, (field,))


def total(field: Field) -> Column:
    """The sum."""
    return _aggregate("sum", field)


def mean(field: Field) -> Column:
    """The mean."""
    return _aggregate("mean", field, "float")


def lowest(field: Field) -> Column:
    """The minimum."""
    return _aggregate("min", field)


def highest(field: Field) -> Column:
    """The maximum."""
    return _aggregate("max", field)


def newest(field: Field) -> Column:
    """The newest value."""
    return _aggregate("last", field)


def oldest(field: Field) -> Column:
    """The oldest value."""
    return _aggregate("first", field)


def how_many(field: Field) -> Column:
    """How many points have the field."""
    return replace(_aggregate("count", field, "integer"), unit="")


def grown_per_s(field: Field) -> Column:
    """By how much a counter grows in a second. Where it begins anew, there is no value."""
    text = f"non_negative_derivative(max({identifier(field.name)}), 1s)"
    return Column(text, field.name, "/s", "float", (field,))


def ratio(part: Field, whole: Field, name: str) -> Column:
    """The sum of one beside the sum of the other."""
    text = f"sum({identifier(part.name)}) / sum({identifier(whole.name)})"
    return Column(text, name, "", "float", (part, whole))


def share(part: Field, whole: Field, name: str) -> Column:
    """The same in percent."""
    one = ratio(part, whole, name)
    return replace(one, text=f"100 * {one.text}", unit="%")


# ---- conditions ----

IN_PERIOD = Condition("$timeFilter", is_of_time=True)


def at_end_of_period(back: str) -> Condition:
    """The last moments ("2d", "5m") before the end of the period shown: how things stood then."""
    return Condition(f"time > ${{__to}}ms - {back} AND time <= ${{__to}}ms", is_of_time=True)


def chosen(tag: Tag) -> Condition:
    """What is chosen at the top, of a variable with the tag's name."""
    return Condition(f"{identifier(tag.name)} =~ /^${{{tag.name}:regex}}$/", (tag,))


def the_one_chosen(field: Field) -> Condition:
    """The one text that is chosen at the top."""
    return Condition(f"{identifier(field.name)} = ${{{field.name}:singlequote}}", (field,))


def is_text(thing: Thing, value: str) -> Condition:
    """A tag or a text has this value."""
    return Condition(f"{identifier(thing.name)} = {string(value)}", (thing,))


def is_no(tag: Tag, *values: str) -> Condition:
    """A tag has none of these values, which are words."""
    return Condition(f"{identifier(tag.name)} !~ /^({'|'.join(values)})$/", (tag,))


def compare(field: Field, sign: str, value: float | bool) -> Condition:
    """A number or a boolean beside a constant; `sign` is one of = != < <= > >=."""
    shown = str(value).lower() if isinstance(value, bool) else f"{value:g}"
    return Condition(f"{identifier(field.name)} {sign} {shown}", (field,))


def zoomed_in(point_ms: int) -> Condition:
    """True while a point on the screen is no wider than this. Else a query finds and costs nothing."""
    return Condition(f"$__interval_ms <= {point_ms}")
