"""Every alert rule fires on what it should fire on, and stays quiet on what it should not.

The rules are read from the provisioning file that Grafana gets, and evaluated as Grafana does it
(rule_stage.py) on a real InfluxDB. Each test has a month of its own, so none sees another's.
"""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from end_to_end.influx_bench import InfluxBench
from filled_influx import write
from grafana_macros import Influx
from rule_stage import Watch, beyond, seconds

from needletrail_gateway.core.series.point import NS_PER_MS, Point, line
from needletrail_gateway.core.series.schema import (
    GATEWAY_HEALTH,
    NOTICE,
    PEN_HEALTH,
    STOCK,
    Measurement,
)

FILE = Path(__file__).resolve().parents[2] / "dashboards/out/provisioning/alerting/rules.yaml"
GROUPS = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"]
RULES = {
    rule["uid"].removeprefix("needletrail-"): (group, rule)
    for group in GROUPS
    for rule in group["rules"]
}
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
MONTHS = itertools.count()
WHO = {"clinic": "harbor", "pen": "pen-01", "practitioner": "rn-01"}
PEN = {"clinic": "harbor", "pen": "pen-01"}


class Scene:
    """A month in InfluxDB, and a rule that watches it."""

    def __init__(self, bench: InfluxBench) -> None:
        self._url = bench.url
        begin = datetime(2020, 1, 1, 12, tzinfo=UTC).timestamp()
        self.t_ms = round(begin * 1000) + next(MONTHS) * 31 * DAY_MS
        self._sequence = itertools.count()

    def tell(
        self, measurement: Measurement, after_ms: float, tags: dict[str, str], **fields: Any
    ) -> None:
        """A point so long after the scene's beginning. KeyError if the schema does not know it."""
        for name in fields:
            measurement.field(name)
        time_ns = (self.t_ms + round(after_ms)) * NS_PER_MS + next(self._sequence)
        point = Point(measurement.name, tuple(tags.items()), tuple(fields.items()), time_ns)
        write(self._url, [line(point)])

    def notice(self, code: str, after_ms: float = 0, **tags: str) -> None:
        self.tell(NOTICE, after_ms, WHO | tags | {"code": code}, notices=1, delay_ms=900)

    def watch(self, name: str, from_ms: float, to_ms: float) -> Watch:
        """The rule `name`, evaluated as often as its group says."""
        group, rule = RULES[name]
        watch = Watch(Influx(self._url), rule, seconds(group["interval"]))
        # Evaluations come at no particular moment.
        return watch.run(self.t_ms + round(from_ms) + 7_300, self.t_ms + round(to_ms))

    def is_quiet(self, name: str, from_ms: float, to_ms: float) -> bool:
        return self.watch(name, from_ms, to_ms).fired == []


@pytest.fixture
def scene(bench: InfluxBench) -> Scene:
    return Scene(bench)


@pytest.mark.parametrize("name", RULES)
def test_nothing_is_said_where_nothing_is_known(scene: Scene, name: str) -> None:
    _, rule = RULES[name]
    assert beyond(Influx(scene._url), rule, scene.t_ms) == {}
    assert scene.is_quiet(name, 0, 20 * MINUTE_MS)


# ---- what has happened: a breach, a reuse, a recalled lot ----

EVENTS = {
    "out-of-scope": "DEPTH_EXCEEDED",
    "cartridge-reused": "CARTRIDGE_REUSED",
    "recalled-lot": "CARTRIDGE_RECALLED",
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_told_within_a_minute_and_once(scene: Scene, name: str) -> None:
    scene.notice(EVENTS[name], 5 * MINUTE_MS + 123)
    watch = scene.watch(name, 0, HOUR_MS)
    ((fired_ms, labels),) = watch.fired
    assert 0 <= fired_ms - scene.t_ms - 5 * MINUTE_MS <= MINUTE_MS - 20_000
    assert dict(labels) == WHO
    ((ended_ms, _),) = watch.ended
    assert 14 * MINUTE_MS < ended_ms - fired_ms < 16 * MINUTE_MS


@pytest.mark.parametrize("name", EVENTS)
def test_the_next_event_of_one_pen_does_not_end_and_begin_it_anew(scene: Scene, name: str) -> None:
    for minutes in (5, 12, 25):
        scene.notice(EVENTS[name], minutes * MINUTE_MS)
    watch = scene.watch(name, 0, HOUR_MS)
    assert (len(watch.fired), len(watch.ended)) == (1, 1)


@pytest.mark.parametrize("name", EVENTS)
def test_events_of_two_pens_are_told_apart(scene: Scene, name: str) -> None:
    scene.notice(EVENTS[name], 5 * MINUTE_MS)
    scene.notice(EVENTS[name], 5 * MINUTE_MS, pen="pen-02", practitioner="none")
    fired = scene.watch(name, 0, 30 * MINUTE_MS).fired
    assert sorted(dict(labels)["pen"] for _, labels in fired) == ["pen-01", "pen-02"]


@pytest.mark.parametrize("name", EVENTS)
def test_other_codes_say_nothing(scene: Scene, name: str) -> None:
    for code in {"DEPTH_AT_LIMIT", "CARTRIDGE_EXPIRED", *EVENTS.values()} - {EVENTS[name]}:
        scene.notice(code, 5 * MINUTE_MS)
    assert scene.is_quiet(name, 0, 30 * MINUTE_MS)


@pytest.mark.parametrize("name", EVENTS)
def test_what_is_written_again_later_says_nothing(scene: Scene, name: str) -> None:
    """A rebuild writes notices of old, under their old times."""
    scene.notice(EVENTS[name], -3 * HOUR_MS)
    scene.notice(EVENTS[name], -9 * DAY_MS)
    assert scene.is_quiet(name, 0, 30 * MINUTE_MS)


# ---- again and again ----


def test_a_third_session_beyond_the_limit_in_a_week_is_told(scene: Scene) -> None:
    for days in (0, 2, 6):
        scene.notice("DEPTH_EXCEEDED", days * DAY_MS, pen=f"pen-0{days}")
    watch = scene.watch("repeated-breaches", 5.9 * DAY_MS, 7.5 * DAY_MS)
    ((fired_ms, labels),) = watch.fired
    assert dict(labels) == {"clinic": "harbor", "practitioner": "rn-01"}
    assert 0 <= fired_ms - scene.t_ms - 6 * DAY_MS <= 5 * MINUTE_MS
    assert len(watch.ended) == 1


def test_two_in_a_week_or_three_in_a_longer_time_are_not(scene: Scene) -> None:
    for days in (0, 3.6, 7.2):
        scene.notice("DEPTH_EXCEEDED", days * DAY_MS)
    assert scene.is_quiet("repeated-breaches", 3.5 * DAY_MS, 8 * DAY_MS)


def test_who_is_nobody_is_no_practitioner(scene: Scene) -> None:
    for number in range(5):
        scene.notice("DEPTH_EXCEEDED", number, practitioner="unregistered")
        scene.notice("DEPTH_EXCEEDED", number, practitioner="none")
        scene.notice("DEPTH_EXCEEDED", number, practitioner=f"rn-0{number}")
    assert scene.is_quiet("repeated-breaches", 0, HOUR_MS)


# ---- stock ----


def stock(scene: Scene, day: int, is_low: int, item: str = "sleeve") -> None:
    midnight_ms = -12 * HOUR_MS
    tags = {"clinic": "harbor", "item": item}
    scene.tell(STOCK, midnight_ms + day * DAY_MS, tags, is_low=is_low, left=3)


def test_low_stock_is_told_once_until_it_is_filled_up(scene: Scene) -> None:
    for day, is_low in enumerate((0, 0, 1, 1, 1, 0, 0)):
        stock(scene, day, is_low)
        stock(scene, day, 0, "cream")
    watch = scene.watch("stock-low", 0, 6 * DAY_MS)
    assert [dict(labels)["item"] for _, labels in watch.fired] == ["sleeve"]
    assert [dict(labels)["item"] for _, labels in watch.ended] == ["sleeve"]


def test_a_day_that_is_told_late_does_not_end_it(scene: Scene) -> None:
    stock(scene, 0, 1)
    watch = scene.watch("stock-low", 0, 1.4 * DAY_MS)  # day 1's point is still to come
    assert (len(watch.fired), watch.ended) == (1, [])


# ---- pens ----


def health(scene: Scene, after_ms: float, **fields: int) -> None:
    known = {"online": 1, "in_session": 0, "silent_s": 2, "backlog": 0}
    scene.tell(PEN_HEALTH, after_ms, PEN, **(known | fields))


def half_minutes(minutes: float) -> Iterator[int]:
    """Each half minute of so many minutes, in ms."""
    return iter(range(0, round(minutes * MINUTE_MS), 30_000))


def test_a_pen_that_falls_silent_in_a_session_is_told(scene: Scene) -> None:
    for at_ms in half_minutes(10):
        silent_s = max(1, (at_ms - 2 * MINUTE_MS) // 1000)
        health(scene, at_ms, in_session=1, silent_s=silent_s)
    ((fired_ms, labels),) = scene.watch("pen-silent", 0, 10 * MINUTE_MS).fired
    assert dict(labels) == PEN
    silent_ms = fired_ms - scene.t_ms - 2 * MINUTE_MS
    assert 3 * MINUTE_MS <= silent_ms <= 4.5 * MINUTE_MS


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"in_session": 1, "silent_s": 120}, id="just as long as it may"),
        pytest.param({"in_session": 0, "silent_s": 4_000}, id="idle in its drawer"),
        pytest.param({"in_session": 1, "silent_s": 40_000}, id="hours ago"),
    ],
)
def test_a_pen_that_may_be_silent_is_not(scene: Scene, fields: dict[str, int]) -> None:
    for at_ms in half_minutes(10):
        health(scene, at_ms, **fields)
    assert scene.is_quiet("pen-silent", 0, 12 * MINUTE_MS)


def test_a_session_that_ends_ends_the_silence(scene: Scene) -> None:
    for at_ms in half_minutes(10):
        health(scene, at_ms, in_session=int(at_ms < 30_000), silent_s=125 + at_ms // 1000)
    assert scene.is_quiet("pen-silent", 0, 10 * MINUTE_MS)


def test_a_gateway_that_dies_does_not_make_pens_silent(scene: Scene) -> None:
    for at_ms in half_minutes(2):
        health(scene, at_ms, in_session=1)
    assert scene.is_quiet("pen-silent", 0, 20 * MINUTE_MS)


def test_a_backlog_that_grows_is_told(scene: Scene) -> None:
    for at_ms in half_minutes(60):
        health(scene, at_ms, backlog=at_ms // MINUTE_MS * 20)
    ((fired_ms, labels),) = scene.watch("backlog-growing", 0, 60 * MINUTE_MS).fired
    assert dict(labels) == PEN
    assert 25 * MINUTE_MS <= fired_ms - scene.t_ms <= 28 * MINUTE_MS


def test_a_backlog_that_grows_slowly_is_not(scene: Scene) -> None:
    for at_ms in half_minutes(90):
        health(scene, at_ms, backlog=at_ms // MINUTE_MS * 10)
    assert scene.is_quiet("backlog-growing", 0, 90 * MINUTE_MS)


def test_a_pen_that_comes_back_late_has_a_backlog_and_that_is_well(scene: Scene) -> None:
    for at_ms in half_minutes(90):
        is_back = at_ms >= 40 * MINUTE_MS
        backlog = max(0, 20_000 - (at_ms - 40 * MINUTE_MS) // 100) if is_back else 0
        health(scene, at_ms, online=int(is_back), backlog=backlog)
    assert scene.is_quiet("backlog-growing", 0, 90 * MINUTE_MS)


def test_a_pen_that_is_away_grows_a_backlog_and_that_is_well(scene: Scene) -> None:
    for at_ms in half_minutes(60):
        health(scene, at_ms, online=0, backlog=at_ms // 1000)
    assert scene.is_quiet("backlog-growing", 0, 60 * MINUTE_MS)


# ---- the gateway ----


def gateway(scene: Scene, after_ms: float, outbox_s: int, clinic: str = "harbor") -> None:
    scene.tell(GATEWAY_HEALTH, after_ms, {"clinic": clinic}, outbox_s=outbox_s, outbox=1)


def test_an_outbox_that_waits_is_told(scene: Scene) -> None:
    for at_ms in half_minutes(30):
        gateway(scene, at_ms, max(0, at_ms // 1000 - 300))
        gateway(scene, at_ms, 2, "quay")
    ((fired_ms, labels),) = scene.watch("outbox-stuck", 0, 30 * MINUTE_MS).fired
    assert dict(labels) == {"clinic": "harbor"}
    assert 20 * MINUTE_MS <= fired_ms - scene.t_ms <= 21.5 * MINUTE_MS


@pytest.mark.parametrize("minutes", [20, 21.5, 24])
def test_a_gateway_that_falls_silent_is_told_and_the_others_are_not(
    scene: Scene, minutes: float
) -> None:
    for at_ms in half_minutes(50):
        gateway(scene, at_ms, 2, "quay")
        if at_ms < minutes * MINUTE_MS:
            gateway(scene, at_ms, 2)
    ((fired_ms, labels),) = scene.watch("outbox-stuck", 0, 50 * MINUTE_MS).fired
    assert dict(labels) == {"clinic": "harbor"}
    assert 10 * MINUTE_MS <= fired_ms - scene.t_ms - minutes * MINUTE_MS <= 16 * MINUTE_MS


@pytest.mark.parametrize("minutes", [20, 22, 24])
def test_a_gateway_that_is_started_anew_is_not(scene: Scene, minutes: int) -> None:
    for at_ms in half_minutes(50):
        if not 0 <= at_ms - minutes * MINUTE_MS < 9 * MINUTE_MS:
            gateway(scene, at_ms, 2)
    assert scene.is_quiet("outbox-stuck", 0, 50 * MINUTE_MS)


def test_an_outbox_that_is_busy_for_a_while_is_not(scene: Scene) -> None:
    for at_ms in half_minutes(60):
        busy_ms = at_ms - 20 * MINUTE_MS
        gateway(scene, at_ms, 200 + busy_ms // 1000 if 0 < busy_ms < 4 * MINUTE_MS else 300)
    assert scene.is_quiet("outbox-stuck", 0, 60 * MINUTE_MS)
