"""The builder of InfluxQL refuses what the schema has not; macros are filled in as Grafana does it."""

import pytest
from grafana_macros import (
    ALL,
    View,
    escape_regex,
    expanded,
    interval_ms,
    interval_text,
    is_beyond,
    table,
    time_series,
    variable_values,
)
from needletrail_dashboards.influx_query import InfluxQuery
from needletrail_dashboards.influxql import (
    Every,
    Select,
    at_end_of_period,
    chosen,
    compare,
    identifier,
    is_text,
    newest,
    oldest,
    plain,
    share,
    string,
    the_one_chosen,
    total,
)

from needletrail_gateway.core.series.schema import CLINIC, DEPTH, LOT, PASS, PEN, SESSION

SESSIONS = SESSION.field("sessions")


def test_a_field_of_another_measurement_is_refused() -> None:
    with pytest.raises(KeyError, match="pass has no sessions"):
        Select(PASS, (total(SESSIONS),))
    with pytest.raises(KeyError, match="session has no lot"):
        Select(SESSION, (total(SESSIONS),), by=(LOT,))
    with pytest.raises(KeyError, match="pass has no tier"):
        Select(PASS, (plain(PASS.field("number")),), (is_text(SESSION.tag("tier"), "home"),))


def test_a_field_that_is_renamed_breaks_the_build() -> None:
    with pytest.raises(KeyError, match="compliance"):
        SESSION.field("compliance")


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        Select(SESSION, (total(SESSIONS), newest(SESSIONS)))


def test_a_select_can_be_the_source_of_another_and_is_as_strict() -> None:
    inner = Select(SESSION, (total(SESSIONS).named("n"),), by=(CLINIC,))
    outer = Select(inner, (total(inner.field("n")),), by=(CLINIC,))
    assert outer.text() == (
        'SELECT sum("n") AS "n" FROM '
        '(SELECT sum("sessions") AS "n" FROM "session" GROUP BY "clinic") GROUP BY "clinic"'
    )
    assert outer.source_name == "session"
    with pytest.raises(KeyError):
        Select(inner, (total(SESSIONS),))
    with pytest.raises(KeyError):
        Select(inner, (total(inner.field("n")),), by=(PEN,))


def test_a_query_around_another_is_of_the_same_time() -> None:
    """Else InfluxDB opens all that it has stored."""
    inner = Select(SESSION, (newest(SESSIONS),), (chosen(CLINIC), at_end_of_period("2d")), by=(PEN,))
    outer = Select(
        inner, (total(inner.field("sessions")),), (compare(inner.field("sessions"), ">", 0),)
    )
    time = "time > ${__to}ms - 2d AND time <= ${__to}ms"
    assert outer.text().count(time) == 2
    assert outer.text().endswith(f'WHERE "sessions" > 0 AND {time}')
    assert Select(outer, (total(outer.field("sessions")),)).text().count(time) == 3


def test_the_parts_stand_in_the_order_that_influxql_wants() -> None:
    found = Select(
        SESSION,
        (share(SESSION.field("compliant"), SESSIONS, "rate"),),
        (chosen(CLINIC), compare(SESSIONS, ">=", 1)),
        by=(PEN,),
        every=Every("1d", "UTC", "0"),
        newest_first=True,
        limit=3,
    )
    assert found.text() == (
        'SELECT 100 * sum("compliant") / sum("sessions") AS "rate" FROM "session" '
        'WHERE "clinic" =~ /^${clinic:regex}$/ AND "sessions" >= 1 '
        "GROUP BY time(1d), \"pen\" fill(0) ORDER BY time DESC LIMIT 3 tz('UTC')"
    )
    assert found.columns[0].unit == "%"


def test_raw_readings_are_of_their_own_retention() -> None:
    assert ' FROM "raw"."depth"' in Select(DEPTH, (plain(DEPTH.field("depth_mm")),)).text()


def test_sums_of_columns_keep_their_units_and_needs() -> None:
    field = SESSION.field("work_ms")
    column = newest(field) - oldest(field)
    assert (column.text, column.unit) == ('last("work_ms") - first("work_ms")', "ms")
    assert set(column.needs) == {field}


def test_names_and_texts_are_quoted() -> None:
    assert identifier('a"b\\') == '"a\\"b\\\\"'
    assert string("it's \\") == "'it\\'s \\\\'"


def test_a_query_that_is_not_raw_is_not_read() -> None:
    with pytest.raises(ValueError, match="no raw"):
        InfluxQuery.from_json({"refId": "A", "query": "x", "resultFormat": "table"})
    with pytest.raises(ValueError, match="no raw"):
        InfluxQuery.from_json(
            {"refId": "A", "rawQuery": True, "query": "x", "resultFormat": "table", "tags": []}
        )


# ---- Grafana's part; expectations from Grafana's own tests of the functions named ----


@pytest.mark.parametrize(
    ("span_ms", "points", "least_ms", "wanted"),
    [
        (600_000, 1_000, 1, 500),  # 600 ms
        (3_600_000, 1_000, 1, 5_000),  # 3.6 s
        (86_400_000, 1_280, 1_000, 60_000),  # 67.5 s
        (31_536_000_000, 1_280, 1_000, 21_600_000),  # 6.8 h
        (10_000, 1_280, 1_000, 1_000),
        (10_000, 1_280, 10, 10),
    ],
)
def test_a_point_is_as_wide_as_grafana_makes_it(
    span_ms: int, points: int, least_ms: int, wanted: int
) -> None:
    assert interval_ms(0, span_ms, points, least_ms) == wanted


def test_widths_are_written_in_whole_units() -> None:
    found = [interval_text(ms) for ms in (20, 1_000, 90_000, 43_200_000, 604_800_000)]
    assert found == ["20ms", "1s", "1m", "12h", "7d"]


def test_choices_are_filled_in() -> None:
    choices = {"clinic": ["a.b", "c/d"], "pen": ALL, "session": "o'neil", "tier": ["home"]}
    view = View(1_000, 2_000, choices)
    text = (
        "${clinic:regex} ${pen:regex} ${session:singlequote} ${tier:regex} ${__to} "
        "$timeFilter $__interval $__interval_ms"
    )
    assert expanded(text, view, 20_000) == (
        r"(a\.b|c\/d) .* 'o\'neil' home 2000 time >= 1000ms and time <= 2000ms 20s 20000"
    )
    assert escape_regex("pen-01") == "pen-01"


def test_what_nobody_fills_in_is_found() -> None:
    with pytest.raises(AssertionError, match="leaves"):
        expanded("$unknown", View(0, 1), 1)


def test_answers_are_read_as_grafana_reads_them() -> None:
    rows = [
        {"name": "m", "tags": {"pen": "p"}, "columns": ["time", "a", "b"], "values": [[1, 2, None]]},
        {"name": "m", "tags": {"pen": "q"}, "columns": ["time", "a", "b"], "values": [[3, 4, 5]]},
    ]
    (frame,) = table(rows)
    assert frame.columns == {"Time": [1, 3], "pen": ["p", "q"], "a": [2, 4], "b": [None, 5]}
    names = [(one.name, dict(one.labels)) for one in time_series(rows, "$tag_pen $col")]
    assert names == [(f"{pen} {col}", {"pen": pen}) for pen in "pq" for col in "ab"]
    shown = [{"name": "m", "columns": ["key", "value"], "values": [["pen", "p"], ["pen", "q"]]}]
    assert variable_values([*shown, *shown]) == ["p", "q"]


def test_bounds_are_not_within() -> None:
    assert [is_beyond(value, "gt", [2]) for value in (1, 2, 3, None)] == [False, False, True, False]
    assert [is_beyond(value, "within_range", [1, 3]) for value in (1, 2, 3)] == [False, True, False]


def test_the_one_chosen_is_quoted_by_grafana() -> None:
    condition = the_one_chosen(SESSION.field("session"))
    assert condition.text == '"session" = ${session:singlequote}'
