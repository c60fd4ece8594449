"""A dashboard, put together from rows of panels.

Its uid comes from its file's name, a panel's id from the name of its function: both stay what they are
when others come or go, and so do links to them.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import cast

from grafana_foundation_sdk.models import dashboard

from needletrail_dashboards import variables
from needletrail_dashboards.influx_query import CHOSEN_DATASOURCE, InfluxQuery
from needletrail_dashboards.influxql import Select
from needletrail_dashboards.panels import Panel

TAG = "needletrail"
COLUMNS = 24

PanelFunction = Callable[[], Panel]


@dataclass(frozen=True)
class Row:
    """Panels side by side under a heading (or below the row before). Widths add up to 24."""

    heading: str | None
    height: int
    panels: tuple[tuple[PanelFunction, int], ...]


@dataclass(frozen=True)
class Mark:
    """What is marked in graphs: a moment, with a word."""

    name: str
    ask: Select
    colour: str


@dataclass(frozen=True)
class Board:
    """A dashboard's parts. `since`: what it shows at first, up to now."""

    module: str
    title: str
    text: str
    rows: tuple[Row, ...]
    since: str
    refresh: str
    marks: tuple[Mark, ...] = ()
    with_session: bool = False

    @property
    def name(self) -> str:
        """Its file's name."""
        return self.module.rpartition(".")[2]

    @property
    def uid(self) -> str:
        """What links call it."""
        return f"{TAG}-{self.name}"

    def panels(self) -> Iterator[tuple[int, str, Panel]]:
        """Id, name and panel, in their order."""
        for row in self.rows:
            for function, _ in row.panels:
                yield panel_id(function), function.__name__, function()

    def query_texts(self) -> list[str]:
        """Everything that is asked for panels and marks, and for the choice of a session."""
        texts = [query.query for _, _, panel in self.panels() for query in panel.queries()]
        texts += [mark.ask.text() for mark in self.marks]
        if self.with_session:
            texts.append(variables.SESSION_CHOICES)
        return texts

    def model(self) -> dashboard.Dashboard:
        """Grafana's model of it."""
        return dashboard.Dashboard(
            uid=self.uid,
            title=self.title,
            description=self.text,
            tags=[TAG],
            timezone="browser",
            editable=False,
            graph_tooltip=dashboard.DashboardCursorSync.CROSSHAIR,
            time=dashboard.DashboardDashboardTime(from_val=self.since, to="now"),
            timepicker=dashboard.TimePickerConfig(refresh_intervals=["30s", "1m", "5m", "15m"]),
            refresh=self.refresh,
            week_start="monday",
            version=1,
            panels=list(self._placed()),
            templating=dashboard.DashboardDashboardTemplating(
                list_val=variables.for_queries(self.query_texts(), self.with_session)
            ),
            annotations=dashboard.AnnotationContainer(
                list_val=[self._annotation(mark) for mark in self.marks]
            ),
            links=[
                dashboard.DashboardLink(
                    title="Needletrail",
                    type_val=dashboard.DashboardLinkType.DASHBOARDS,
                    icon="dashboard",
                    tooltip="The other dashboards, with what is chosen here",
                    tags=[TAG],
                    as_dropdown=False,
                    include_vars=True,
                    keep_time=True,
                )
            ],
        )

    def _placed(self) -> Iterator[dashboard.Panel | dashboard.RowPanel]:
        seen: set[int] = set()
        y = 0
        for row in self.rows:
            if row.heading is not None:
                row_id = _number(f"row {row.heading}")
                _check_new(row_id, seen, row.heading)
                yield dashboard.RowPanel(
                    title=row.heading,
                    id_val=row_id,
                    grid_pos=dashboard.GridPos(x=0, y=y, w=COLUMNS, h=1),
                    collapsed=False,
                    panels=[],
                )
                y += 1
            if sum(width for _, width in row.panels) != COLUMNS:
                raise ValueError(f"{self.name}: a row is not {COLUMNS} wide")
            x = 0
            for function, width in row.panels:
                number = panel_id(function)
                _check_new(number, seen, function.__name__)
                place = dashboard.GridPos(x=x, y=y, w=width, h=row.height)
                yield function().model(number, place)
                x += width
            y += row.height

    @staticmethod
    def _annotation(mark: Mark) -> dashboard.AnnotationQuery:
        query = InfluxQuery(mark.ask.text(), "table", "Marks", datasource=CHOSEN_DATASOURCE)
        return dashboard.AnnotationQuery(
            name=mark.name,
            datasource=CHOSEN_DATASOURCE,
            enable=True,
            icon_color=mark.colour,
            # The SDK's model has the members of Grafana's own datasource alone.
            target=cast(dashboard.AnnotationTarget, query),
        )


def _check_new(number: int, seen: set[int], name: str) -> None:
    if number in seen:
        raise ValueError(f"{name}: its id {number} is taken; give it another name")
    seen.add(number)


def _number(name: str) -> int:
    return 1 + zlib.crc32(name.encode()) % 99_999


def panel_id(function: PanelFunction) -> int:
    """The id of a panel, which stays when panels before it come or go."""
    return _number(function.__name__)


def boards_of(modules: tuple[ModuleType, ...]) -> tuple[Board, ...]:
    """The dashboards of modules, each of which has one as BOARD."""
    return tuple(module.BOARD for module in modules)
