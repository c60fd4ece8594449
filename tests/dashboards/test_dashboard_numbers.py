"""Every query of every panel, variable and mark, on a real InfluxDB filled with a year of 20 clinics.

Each is filled in as Grafana does it and its answer read as Grafana reads it. It must bring the columns
that its panel names, and the numbers that the clinics' ledgers say (expected.py).
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from clinics_year import CLINICS, clinic_id
from expected import EXPECTED, Answer, Look, Series, Table
from filled_influx import END_MS, HEALTH_MS, PERIOD_ENDS_MS, TAPES, Filled
from grafana_macros import (
    ALL,
    Frame,
    Influx,
    View,
    expanded,
    interval_ms,
    table,
    time_series,
    variable_values,
)
from ledger_facts import DAY_MS, Row
from needletrail_dashboards.board import Board
from needletrail_dashboards.influxql import Select
from needletrail_dashboards.panels import Panel
from needletrail_dashboards.render import BOARDS, plain

pytestmark = pytest.mark.timeout(900)  # the first test waits for the year

HOUR_MS = 3_600_000
TAPED = "harbor"  # the clinic of the tapes
NOBODY: dict[str, Any] = {
    **dict.fromkeys(("clinic", "pen", "practitioner", "tier"), ALL),
    "period": "1d",
    "zone": "UTC",
    "session": "none",
}
# Datasource and panel say how narrow a point may get.
DATASOURCE_LEAST_MS = 1_000

PANELS = [
    pytest.param(board, name, panel, id=f"{board.name}-{name}")
    for board in BOARDS
    for _, name, panel in board.panels()
]


def views(facts: dict[str, list[Row]]) -> dict[str, View]:
    """What people look at."""
    begun = max(row["time"] for row in facts["breaches"] if row["time"] > END_MS - 4 * DAY_MS)
    breach = next(row for row in facts["breaches"] if row["time"] == begun)
    session = next(
        row
        for row in facts["sessions"]
        if (row["clinic"], row["session"]) == (breach["clinic"], breach["session"])
    )
    one = {"clinic": [session["clinic"]], "session": session["session"]}
    return {
        "all of a year by weeks": View(
            END_MS - 365 * DAY_MS, END_MS, NOBODY | {"clinic": [ALL], "period": "7d"}
        ),
        "a month of two clinics in Los Angeles": View(
            END_MS - 30 * DAY_MS,
            END_MS,
            NOBODY | {"clinic": [clinic_id(4), clinic_id(7)], "zone": "America/Los_Angeles"},
        ),
        "an earlier quarter of one practitioner": View(
            END_MS - 130 * DAY_MS,
            PERIOD_ENDS_MS[1],
            NOBODY
            | {"practitioner": ["est-01"], "tier": ["cosmetic"], "pen": ["pen-01", "pen-02"]}
            | {"period": "28d", "zone": "Europe/Berlin"},
        ),
        "two hours of one session": View(
            session["time"] - HOUR_MS, session["time"] + HOUR_MS, NOBODY | one
        ),
        "a minute of one session": View(
            session["time"] - 5_000, session["time"] + 55_000, NOBODY | one
        ),
        "the last three hours": View(END_MS - HEALTH_MS, END_MS, NOBODY),
        "a day on a phone": View(
            END_MS - DAY_MS, END_MS, NOBODY | one | {"pen": ["pen-01"]}, width=390
        ),
    }


def frames(influx: Influx, target: dict[str, Any], view: View, least_ms: int) -> list[Frame]:
    """A target's answer, as the panel gets it."""
    width_ms = interval_ms(view.from_ms, view.to_ms, view.width, least_ms)
    rows = influx.rows(expanded(target["query"], view, width_ms))
    if target["resultFormat"] == "table":
        return table(rows)
    return time_series(rows, target.get("alias"))


def least_ms(panel: Panel) -> int:
    """How narrow a point may get: what the panel says, or else the datasource."""
    return DATASOURCE_LEAST_MS if panel.finest is None else int(panel.finest.removesuffix("ms"))


def as_table(found: list[Frame], wanted: Table) -> Table:
    """Rows without the time, unless it is asked for; Grafana hides it where it means nothing."""
    records = [row for frame in found for row in frame.records()]
    if wanted and "Time" in wanted[0]:
        return records
    return [{name: value for name, value in row.items() if name != "Time"} for row in records]


def as_series(found: list[Frame], has_time: bool) -> Series:
    """Values by series, and by time if there is one."""
    names = [frame.name for frame in found]
    assert len(set(names)) == len(names), f"two series have one name: {names}"
    if not has_time:
        return {frame.name: frame.columns["Value"][-1] for frame in found}
    return {
        frame.name: dict(zip(frame.columns["Time"], frame.columns["Value"], strict=True))
        for frame in found
    }


def rounded(value: Any) -> Any:
    """Numbers as one can compare them."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return round(float(value), 6) if isinstance(value, int | float) else value


def check(found: list[Frame], wanted: Answer, ask: Select) -> None:
    """The answer is what it should be."""
    if isinstance(wanted, list):
        got = as_table(found, wanted)
        assert Counter(json.dumps(rounded(row), sort_keys=True) for row in got) == Counter(
            json.dumps(rounded(row), sort_keys=True) for row in wanted
        )
    else:
        has_time = any(isinstance(value, dict) for value in wanted.values()) or ask.every is not None
        assert rounded(as_series(found, has_time)) == rounded(wanted)


@pytest.mark.parametrize(("board", "name", "panel"), PANELS)
def test_a_panel_shows_what_the_ledgers_say(
    filled: Filled, board: Board, name: str, panel: Panel
) -> None:
    influx = Influx(filled.url)
    answered = [0] * len(panel.asks)
    for view in views(filled.facts.rows).values():
        wanted = EXPECTED[board.name][name](Look(filled.facts, view, view.width))
        assert len(wanted) == len(panel.asks)
        targets = [plain(query) for query in panel.queries()]
        for index, (target, ask) in enumerate(zip(targets, panel.asks, strict=True)):
            found = frames(influx, target, view, least_ms(panel))
            check(found, wanted[index], ask)
            if found:
                answered[index] += 1
                check_columns(found, target, ask)
    assert all(answered), f"the year leaves a query without an answer: {answered}"


def check_columns(found: list[Frame], target: dict[str, Any], ask: Select) -> None:
    """Whatever the panel names is in the answer."""
    names = {column.name for column in ask.columns}
    if target["resultFormat"] == "table":
        assert set(found[0].columns) == {"Time", *names, *(tag.name for tag in ask.by)}
    elif ask.by:
        assert all(set(frame.labels) == {tag.name for tag in ask.by} for frame in found)
    else:
        assert {frame.name for frame in found} == names


def test_every_panel_has_an_expectation() -> None:
    for board in BOARDS:
        assert [name for _, name, _ in board.panels()] == [
            name for _, name, _ in board.panels() if name in EXPECTED[board.name]
        ]
        assert len(EXPECTED[board.name]) == len(list(board.panels()))


def test_the_year_is_large_enough(filled: Filled) -> None:
    rows = filled.facts.rows
    made = [row for row in rows["sessions"] if row["clinic"] != TAPED]
    assert len({row["clinic"] for row in made}) == CLINICS == 20
    assert len(made) >= 2_000 and len(rows["sessions"]) - len(made) == len(TAPES)
    assert {row["verdict"] for row in rows["sessions"]} == {"compliant", "review", "violation"}
    assert any(row["reused"] for row in rows["uses"]) and any(row["recalled"] for row in rows["uses"])
    assert any(row["open"] for row in rows["alerts"]) and not all(row["open"] for row in rows["alerts"])
    assert any("(client)" in row["why"] for row in rows["overrides"])


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_variables_offer_what_there_is(filled: Filled, board: Board) -> None:
    influx = Influx(filled.url)
    rows = filled.facts.rows["sessions"]
    two = [clinic_id(2), clinic_id(5)]
    for chosen in (ALL, two):
        view = View(END_MS - 30 * DAY_MS, END_MS, NOBODY | {"clinic": chosen})
        for variable in plain(board.model())["templating"]["list"]:
            if variable["type"] != "query":
                continue
            offered = variable_values(influx.rows(expanded(variable["query"]["query"], view, 1_000)))
            mine = [row for row in rows if chosen == ALL or row["clinic"] in two]
            if variable["name"] == "clinic":
                assert set(offered) == {row["clinic"] for row in rows}
            elif variable["name"] == "session":
                newest = sorted(mine, key=lambda row: -row["time"])
                quarter = [row for row in newest if row["time"] > END_MS - 92 * DAY_MS]
                assert set(offered) == {row["session"] for row in quarter[:1000]}
                assert offered[0] == newest[0]["session"]
            elif variable["name"] == "practitioner":  # who worked, and who holds a licence
                worked = {row["practitioner"] for row in mine}
                assert worked <= set(offered)
                licensed = filled.facts.rows["licence"]
                assert set(offered) - worked <= {row["practitioner"] for row in licensed}
            else:
                assert set(offered) == {row[variable["name"]] for row in mine}


def test_a_breach_is_marked_where_it_begins(filled: Filled) -> None:
    influx = Influx(filled.url)
    board = next(board for board in BOARDS if board.marks)
    view = views(filled.facts.rows)["two hours of one session"]
    (annotation,) = plain(board.model())["annotations"]["list"]
    (frame,) = frames(influx, annotation["target"], view, DATASOURCE_LEAST_MS)
    breaches = [
        row
        for row in filled.facts.rows["breaches"]
        if row["session"] == view.choices["session"] and row["clinic"] in view.choices["clinic"]
    ]
    assert sorted((row["Time"], row["text"]) for row in frame.records()) == sorted(
        (row["time"], row["duration_ms"]) for row in breaches
    )


def test_readings_are_drawn_only_when_one_zooms_in(filled: Filled) -> None:
    influx = Influx(filled.url)
    board = next(board for board in BOARDS if board.name == "session")
    panel = next(panel for _, name, panel in board.panels() if name == "depth_trace")
    readings = plain(panel.queries()[1])
    found = {
        name: sum(
            len(frame.columns["Time"]) for frame in frames(influx, readings, view, least_ms(panel))
        )
        for name, view in views(filled.facts.rows).items()
    }
    assert found.pop("a minute of one session") > 50
    assert set(found.values()) == {0}


def test_the_files_ask_the_same(filled: Filled) -> None:
    """What was asked here is what stands in dashboards/out."""
    folder = Path(__file__).resolve().parents[2] / "dashboards" / "out" / "dashboards"
    for board in BOARDS:
        document = json.loads((folder / f"{board.name}.json").read_text(encoding="utf-8"))
        asked = [target["query"] for panel in document["panels"] for target in panel.get("targets", [])]
        assert asked == [query.query for _, _, panel in board.panels() for query in panel.queries()]
