"""Kinds of panels: how an answer is shown. Each kind turns a Panel into Grafana's model of it.

A Panel says what it asks, what it is called and what it means in plain English, and what stands there
when there is nothing to show. Units come from the columns it asks for, so none can be forgotten. What a
panel is about is said in its dashboard's module; this one knows no measurement.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from grafana_foundation_sdk.models import (
    barchart,
    common,
    dashboard,
    stat,
    statetimeline,
    table,
    timeseries,
)

from needletrail_dashboards.colours import (
    NEUTRAL,
    State,
    Steps,
    by_threshold,
    mapping,
    one_colour,
    shades,
    thresholds,
)
from needletrail_dashboards.influx_query import CHOSEN_DATASOURCE, InfluxQuery, ResultFormat
from needletrail_dashboards.influxql import Column, Select

UNITS = {
    "": "none",
    "mm": "lengthmm",
    "ms": "ms",
    "s": "s",
    "d": "suffix:d",  # Grafana's own `d` turns 45 days into weeks
    "%": "percent",
    "/s": "suffix:/s",
}
TEXT_UNIT = "string"
NOTHING_THERE = "—"

Property = dashboard.DynamicConfigValue


def unit_of(column: Column) -> str:
    """Grafana's name of a column's unit."""
    return TEXT_UNIT if column.kind == "text" else UNITS[column.unit]


@dataclass(frozen=True)
class Series:
    """How one column of the answers is shown."""

    column: str
    name: str
    colour: str = NEUTRAL
    right_axis: bool = False
    dashed: bool = False
    fill: int | None = None
    fill_below_to: str | None = None
    width: int | None = None
    decimals: int | None = None
    steps: Steps | None = None


@dataclass(frozen=True)
class Panel:
    """One panel. `empty` stands there when the queries find nothing. `finest`: how narrow a point may
    get when one zooms in, if narrower than the datasource's own 1 s."""

    title: str
    text: str
    asks: tuple[Select, ...]
    kind: "Kind"
    empty: str
    finest: str | None = None

    def columns(self) -> Iterator[Column]:
        """All columns of its answers."""
        for ask in self.asks:
            yield from ask.columns

    def queries(self) -> list[InfluxQuery]:
        """What it asks, as Grafana has it."""
        return [
            InfluxQuery(
                ask.text(),
                self.kind.result_format,
                chr(ord("A") + number),
                self.kind.alias(ask),
                datasource=CHOSEN_DATASOURCE,
            )
            for number, ask in enumerate(self.asks)
        ]

    def model(self, panel_id: int, place: dashboard.GridPos) -> dashboard.Panel:
        """Grafana's model of it."""
        settings, overrides = self.kind.fields(self)
        settings.no_value = self.empty
        return dashboard.Panel(
            type_val=self.kind.plugin,
            id_val=panel_id,
            title=self.title,
            description=self.text,
            targets=list(self.queries()),
            datasource=CHOSEN_DATASOURCE,
            grid_pos=place,
            interval=self.finest,
            transformations=self.kind.transformations(self) or None,
            options=self.kind.options(self),
            field_config=dashboard.FieldConfigSource(defaults=settings, overrides=overrides),
        )


class Kind(ABC):
    """A way to show an answer."""

    plugin: str
    result_format: ResultFormat = "time_series"

    def alias(self, ask: Select) -> str | None:
        """What a series is called: the value of what it is grouped by, or else its column."""
        return " ".join(f"$tag_{tag.name}" for tag in ask.by) if ask.by else "$col"

    def transformations(self, panel: Panel) -> list[dashboard.DataTransformerConfig]:
        """What Grafana does with the answers first."""
        return []

    @abstractmethod
    def options(self, panel: Panel) -> object:
        """The plug-in's options."""

    @abstractmethod
    def fields(self, panel: Panel) -> "Fields":
        """Units, colours and so on: in general, and for single columns."""


Overrides = list[dashboard.DashboardFieldConfigSourceOverrides]
Fields = tuple[dashboard.FieldConfig, Overrides]


def _override(name: str, properties: list[Property]) -> dashboard.DashboardFieldConfigSourceOverrides:
    return dashboard.DashboardFieldConfigSourceOverrides(
        matcher=dashboard.MatcherConfig(id_val="byName", options=name), properties=properties
    )


def _column(panel: Panel, name: str) -> Column:
    for column in panel.columns():
        if column.name == name:
            return column
    raise KeyError(f"{panel.title}: no column {name}")


def _series_overrides(panel: Panel, series: tuple[Series, ...]) -> Overrides:
    """One for each column that is told apart."""
    found: Overrides = []
    for one in series:
        properties = [
            Property("displayName", one.name),
            Property("unit", unit_of(_column(panel, one.column))),
        ]
        if one.steps is None:
            properties.append(Property("color", one_colour(one.colour)))
        else:
            properties += [
                Property("thresholds", thresholds(one.steps)),
                Property("color", by_threshold()),
            ]
        if one.right_axis:
            properties.append(Property("custom.axisPlacement", "right"))
        if one.dashed:
            properties.append(Property("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}))
        for name, value in (
            ("custom.fillOpacity", one.fill),
            ("custom.fillBelowTo", one.fill_below_to),
            ("custom.lineWidth", one.width),
            ("decimals", one.decimals),
        ):
            if value is not None:
                properties.append(Property(name, value))
        found.append(_override(one.column, properties))
    return found


def _check_series(panel: Panel, series: tuple[Series, ...]) -> None:
    """Whoever tells columns apart tells them all apart, so that each has a unit."""
    shown = {one.column for one in series}
    asked = {column.name for column in panel.columns()}
    if shown != asked:
        raise ValueError(f"{panel.title}: asks for {sorted(asked)} and shows {sorted(shown)}")


def _legend(show: bool) -> common.VizLegendOptions:
    return common.VizLegendOptions(
        calcs=[],
        display_mode=common.LegendDisplayMode.LIST,
        placement=common.LegendPlacement.BOTTOM,
        show_legend=show,
    )


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions(
        mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING
    )


@dataclass(frozen=True)
class Stat(Kind):
    """One number or word, large; or several, each with its name."""

    steps: Steps = ((None, NEUTRAL),)
    states: dict[str, State] = field(default_factory=dict)
    series: tuple[Series, ...] = ()
    decimals: int | None = None
    plugin: str = "stat"

    def options(self, panel: Panel) -> stat.Options:
        """Words are shown only if they are named."""
        only = next(iter(panel.columns()))
        return stat.Options(
            graph_mode=common.BigValueGraphMode.NONE,
            color_mode=common.BigValueColorMode.VALUE,
            text_mode=common.BigValueTextMode.VALUE_AND_NAME
            if self.series
            else common.BigValueTextMode.VALUE,
            reduce_options=common.ReduceDataOptions(
                calcs=["lastNotNull"],
                values=False,
                fields=f"/^{only.name}$/" if only.kind == "text" else "",
            ),
        )

    def fields(self, panel: Panel) -> Fields:
        """Coloured by thresholds or by state."""
        columns = list(panel.columns())
        settings = dashboard.FieldConfig(
            unit=unit_of(columns[0]),
            decimals=self.decimals,
            thresholds=thresholds(self.steps),
            color=by_threshold(),
            mappings=[mapping(self.states)] if self.states else None,
        )
        if not self.series:
            if len(columns) != 1:
                raise ValueError(f"{panel.title}: several numbers need names")
            return settings, []
        _check_series(panel, self.series)
        return settings, _series_overrides(panel, self.series)


@dataclass(frozen=True)
class Graph(Kind):
    """Lines or bars over time: named columns, or shades of one colour for whatever there is."""

    series: tuple[Series, ...] = ()
    style: Literal["line", "bars"] = "line"
    stacked: bool = False
    colour: str = NEUTRAL
    lowest: float | None = 0
    highest: float | None = None
    stepped: bool = False
    dots: bool = False
    decimals: int | None = None
    names: tuple[tuple[str, str], ...] = ()
    plugin: str = "timeseries"

    def options(self, panel: Panel) -> timeseries.Options:
        """A legend below, all values in the tooltip."""
        return timeseries.Options(legend=_legend(True), tooltip=_tooltip())

    def fields(self, panel: Panel) -> Fields:
        """Units by column."""
        is_bars = self.style == "bars"
        custom = common.GraphFieldConfig(
            draw_style=common.GraphDrawStyle.BARS if is_bars else common.GraphDrawStyle.LINE,
            fill_opacity=80 if is_bars else 0,
            line_width=1 if is_bars else 2,
            line_interpolation=common.LineInterpolation.STEP_AFTER
            if self.stepped
            else common.LineInterpolation.LINEAR,
            show_points=common.VisibilityMode.ALWAYS if self.dots else common.VisibilityMode.NEVER,
            stacking=common.StackingConfig(
                mode=common.StackingMode.NORMAL if self.stacked else common.StackingMode.NONE,
                group="A",
            ),
        )
        units = [unit_of(column) for column in panel.columns()]
        settings = dashboard.FieldConfig(
            unit=units[0],
            min_val=self.lowest,
            max_val=self.highest,
            decimals=self.decimals,
            color=shades(self.colour),
            custom=custom,
        )
        if self.series:
            _check_series(panel, self.series)
            return settings, _series_overrides(panel, self.series)
        if len(set(units)) != 1:
            raise ValueError(f"{panel.title}: columns of different units need names")
        return settings, []


@dataclass(frozen=True)
class Shown:
    """A column of a table. `opens_session`: a click on the session's id opens its dashboard at that
    time. `goes_there`: a click on a time goes there, with the session that is chosen."""

    column: str
    header: str
    states: dict[str, State] = field(default_factory=dict)
    steps: Steps | None = None
    width: int | None = None
    decimals: int | None = None
    opens_session: bool = False
    goes_there: bool = False


TIME = "Time"
SESSION_WINDOW_MS = 7_200_000  # an hour before the session's beginning and an hour after it


@dataclass(frozen=True)
class Table(Kind):
    """Rows. What is not among `shown` is left out. `join`: answers side by side, one row for each."""

    shown: tuple[Shown, ...]
    sort: tuple[str, bool] | None = None  # a header, and whether the highest comes first
    join: str | None = None
    session_dashboard: str = "needletrail-session"
    plugin: str = "table"
    result_format: ResultFormat = "table"

    def alias(self, ask: Select) -> str | None:
        """Tables have columns."""
        return None

    def transformations(self, panel: Panel) -> list[dashboard.DataTransformerConfig]:
        """Side by side, in order, under headers."""
        found = []
        if self.join is not None:
            options: object = {"byField": self.join, "mode": "outer"}
            found.append(dashboard.DataTransformerConfig(id_val="joinByField", options=options))
        wanted = [one.column for one in self.shown]
        times = [TIME, *(f"{TIME} {number + 1}" for number in range(len(panel.asks)))]
        there = [
            *times[: None if self.join else 1],
            *(tag.name for ask in panel.asks for tag in ask.by),
            *(column.name for column in panel.columns()),
        ]
        for name in wanted:
            if name not in there:
                raise KeyError(f"{panel.title}: no column {name}")
        organize = {
            "excludeByName": {name: True for name in sorted(set(there) - set(wanted))},
            "indexByName": {name: number for number, name in enumerate(wanted)},
            "renameByName": {one.column: one.header for one in self.shown},
        }
        found.append(dashboard.DataTransformerConfig(id_val="organize", options=organize))
        return found

    def options(self, panel: Panel) -> table.Options:
        """Sorted, if it says how."""
        sort_by = None
        if self.sort is not None:
            header, highest_first = self.sort
            if header not in [one.header for one in self.shown]:
                raise KeyError(f"{panel.title}: no header {header}")
            sort_by = [common.TableSortByFieldState(display_name=header, desc=highest_first)]
        return table.Options(show_header=True, sort_by=sort_by)

    def fields(self, panel: Panel) -> Fields:
        """A unit, a word or a link for each column."""
        columns = {column.name: column for column in panel.columns()}
        overrides: Overrides = []
        for one in self.shown:
            properties = []
            if one.column != TIME:
                column = columns.get(one.column)
                unit = TEXT_UNIT if column is None or one.states else unit_of(column)
                properties += [Property("unit", unit), Property("noValue", NOTHING_THERE)]
            if one.states:
                properties.append(Property("mappings", [mapping(one.states)]))
            if one.steps is not None:
                properties += [
                    Property("thresholds", thresholds(one.steps)),
                    Property("color", by_threshold()),
                ]
            if one.states or one.steps is not None:
                properties.append(Property("custom.cellOptions", {"type": "color-text"}))
            if one.width is not None:
                properties.append(Property("custom.width", one.width))
            if one.decimals is not None:
                properties.append(Property("decimals", one.decimals))
            if one.opens_session:
                properties.append(Property("links", [self._session_link()]))
            if one.goes_there:
                properties.append(Property("links", [self._time_link()]))
            overrides.append(_override(one.header, properties))
        settings = dashboard.FieldConfig(
            custom=common.TableFieldOptions(min_width=70, filterable=True),
        )
        return settings, overrides

    def _session_link(self) -> dict[str, object]:
        """To the session's dashboard, at the session. Two clinics' pens may have one name."""
        if "Clinic" not in [one.header for one in self.shown]:
            raise KeyError("a table that leads to sessions needs a column Clinic")
        url = (
            f"/d/{self.session_dashboard}?var-session=${{__value.raw}}"
            f"&time=${{__value.time}}&time.window={SESSION_WINDOW_MS}"
            "&var-clinic=${__data.fields.Clinic}&${datasource:queryparam}"
        )
        return {"title": "Open the session", "url": url}

    def _time_link(self) -> dict[str, object]:
        """To a moment of the session that is chosen."""
        url = (
            f"/d/{self.session_dashboard}?${{session:queryparam}}&${{clinic:queryparam}}"
            f"&time=${{__value.raw}}&time.window={SESSION_WINDOW_MS}&${{datasource:queryparam}}"
        )
        return {"title": "Go there", "url": url}


@dataclass(frozen=True)
class BarChart(Kind):
    """A bar for each value of a tag, the longest first."""

    by: str
    series: tuple[Series, ...]
    plugin: str = "barchart"
    result_format: ResultFormat = "table"

    def alias(self, ask: Select) -> str | None:
        """The columns have names."""
        return None

    def transformations(self, panel: Panel) -> list[dashboard.DataTransformerConfig]:
        """Without the time, sorted by the first column."""
        return [
            dashboard.DataTransformerConfig(
                id_val="sortBy",
                options={"fields": {}, "sort": [{"field": self.series[0].column, "desc": True}]},
            ),
            dashboard.DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {TIME: True}, "indexByName": {}, "renameByName": {}},
            ),
        ]

    def options(self, panel: Panel) -> barchart.Options:
        """Bars lie, so that their names can be read."""
        if self.by not in [tag.name for ask in panel.asks for tag in ask.by]:
            raise KeyError(f"{panel.title}: not grouped by {self.by}")
        return barchart.Options(
            x_field=self.by,
            orientation=common.VizOrientation.HORIZONTAL,
            show_value=common.VisibilityMode.ALWAYS,
            stacking=common.StackingMode.NONE,
            legend=_legend(len(self.series) > 1),
            tooltip=_tooltip(),
            bar_width=0.8,
            group_width=0.8,
        )

    def fields(self, panel: Panel) -> Fields:
        """Units by column."""
        _check_series(panel, self.series)
        units = [unit_of(column) for column in panel.columns()]
        settings = dashboard.FieldConfig(
            unit=units[0],
            min_val=0,
            color=one_colour(NEUTRAL),
            custom=barchart.FieldConfig(fill_opacity=80, line_width=1),
        )
        return settings, _series_overrides(panel, self.series)


@dataclass(frozen=True)
class Timeline(Kind):
    """A band for each thing, with words for its states."""

    states: dict[str, State]
    plugin: str = "state-timeline"

    def options(self, panel: Panel) -> statetimeline.Options:
        """Equal states run together."""
        return statetimeline.Options(
            show_value=common.VisibilityMode.AUTO,
            merge_values=True,
            row_height=0.8,
            legend=_legend(True),
            tooltip=_tooltip(),
        )

    def fields(self, panel: Panel) -> Fields:
        """Words."""
        settings = dashboard.FieldConfig(
            unit=TEXT_UNIT,
            mappings=[mapping(self.states)],
            color=by_threshold(),
            thresholds=thresholds(((None, NEUTRAL),)),
            custom=statetimeline.FieldConfig(fill_opacity=80),
        )
        return settings, []
