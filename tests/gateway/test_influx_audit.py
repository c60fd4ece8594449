"""A real InfluxDB held against the ledger, repaired, and made again: as live writing had left it."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from end_to_end.influx_bench import InfluxBench
from gateway_clinic import KEYS, NOW_UTC_MS, TODAY
from gateway_clinic import clinic as registry_of
from gateway_desk import Desk
from honest_ledger import CLIENT
from honest_pen import HonestPen
from influx_desk import Held, InfluxDesk, held
from typer.testing import CliRunner

from needletrail_gateway.cli import app
from needletrail_gateway.core.notes import Acknowledgement
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record.alerts import acknowledge, alerts
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.record.retention import expire, redact
from needletrail_gateway.replay.amend import amend
from needletrail_gateway.series import days, outbox
from needletrail_gateway.series.audit import Audit, Difference
from needletrail_gateway.series.days import begins_utc_ms, day_of
from needletrail_gateway.series.nightly import CHECKED, Changed, Nightly, ranges
from needletrail_gateway.series.rebuild import REBUILT, Period, rebuild
from needletrail_gateway.series.target import raw_from
from needletrail_gateway.shell.documents import DocumentError
from needletrail_gateway.shell.view import INFLUX

DAYS = 3
_DAY = timedelta(days=1)
_DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxBench]:
    """A real InfluxDB."""
    started = InfluxBench(tmp_path_factory.mktemp("bench") / "influx")
    started.start()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def clinic(desk: Desk, bench: InfluxBench, monkeypatch: pytest.MonkeyPatch) -> InfluxDesk:
    """Some days of work, of which InfluxDB was told day by day."""
    monkeypatch.setattr(days, "AT_MOST_EVERY_S", 0.0)
    found = InfluxDesk(desk, bench)
    found.empty()
    found.work(DAYS)
    return found


def audit_of(clinic: InfluxDesk) -> Audit:
    return Audit(clinic.ledger, clinic.target, clinic.clock, raw_from(clinic.settings, clinic.clock))


def differences(clinic: InfluxDesk, *, is_repair: bool = False) -> list[Difference]:
    """What differs on all days so far."""
    audit = audit_of(clinic)
    found = audit.compare(TODAY, day_of(clinic.clock()))
    for one in found:
        audit.examine(one, is_repair=is_repair)
    return found


def without_today(found: Held, clinic: InfluxDesk) -> Held:
    """Without the daily points of today, which the outbox writes and a rebuild does, too, but later."""
    today_ns = begins_utc_ms(day_of(clinic.clock())) * 1_000_000
    return {
        name: {key: fields for key, fields in points.items() if key[0] != today_ns}
        for name, points in found.items()
    }


# ---- made again ----


def test_a_rebuilt_influxdb_is_what_live_writing_left(clinic: InfluxDesk) -> None:
    live = held(clinic.target)
    assert len(live) == 14, "every measurement but the live ones"
    clinic.empty()
    told: list[tuple[int, int]] = []
    done = rebuild(
        clinic.ledger, clinic.target, clinic.clock, Period(), heard=lambda *one: told.append(one)
    )
    again = held(clinic.target)
    assert again.keys() == live.keys()
    for name, points in without_today(live, clinic).items():
        assert without_today(again, clinic)[name] == points, name
    assert done.from_entry == 0 and done.rejected == 0
    assert told[-1] == (clinic.ledger.last_entry_id(), clinic.ledger.last_entry_id())
    assert clinic.ledger.delivered(REBUILT) == 0, "the next one begins anew"
    assert differences(clinic) == []


def say_it_all_afterwards(clinic: InfluxDesk) -> None:
    """What may be entered of days that are over, told as it comes."""
    desk, ledger, now_utc_ms = clinic.desk, clinic.ledger, clinic.clock()
    cream = {"id": "cream", "name": "Cream", "kind": "numbing_cream", "unit": "g", "received": 50}
    ledger.import_registry(registry_of(consumable=[cream]), KEYS, now_utc_ms)
    judged = [said["session_id"] for said in desk.statements()]
    of_client = {"who": "desk", "at_utc_ms": NOW_UTC_MS, "practitioner": "rn-01", "client": CLIENT}
    late = of_client | {"session": judged[0], "used": {"cream": 3}}
    forgotten = [ledger.note("note", late, now_utc_ms)]
    amend(ledger, judged[0], "note", now_utc_ms)
    attested = of_client | {"device": "roller", "needle_mm": 0.3, "minutes": 5, "used": {"cream": 4}}
    forgotten.append(ledger.note("attested", attested, now_utc_ms))
    ledger.note("note", of_client | {"used": {"cream": 5}}, now_utc_ms)
    clinic.tell()
    for said in desk.statements():
        for rule in said["rules"]:
            name, code = said["session_id"], rule["code"]
            word = {"who": "md-01", "session": name, "code": code, "why": f"for {CLIENT}"}
            ledger.note("override", word, now_utc_ms, name)
            amend(ledger, name, "override", now_utc_ms)
    clinic.tell()
    for raised in alerts(ledger, is_open=True):
        one = Acknowledgement(who="md-01", session=raised.session_id, code=raised.code, why=None)
        acknowledge(ledger, one, now_utc_ms + 500)
    clinic.tell()
    assert redact(ledger, forgotten, "asked for", "desk", now_utc_ms) is not None
    clinic.tell()


def test_whatever_is_entered_later_live_rebuilt_and_told_twice_are_the_same(
    clinic: InfluxDesk,
) -> None:
    before = held(clinic.target)
    say_it_all_afterwards(clinic)
    live = held(clinic.target)
    for name in ("session", "override", "alert", "stock"):
        assert live[name] != before[name], f"nothing was said that changes {name}"
    used = [fields["used"] for key, fields in live["stock"].items() if ("item", "cream") in key]
    assert used[-1] == 5, "what was noted and is forgotten is not counted any more"
    assert CLIENT not in repr(live)
    for is_emptied in (False, True):
        if is_emptied:
            clinic.empty()
        rebuild(clinic.ledger, clinic.target, clinic.clock, Period(), is_restart=True)
        again = held(clinic.target)
        assert again.keys() == live.keys()
        for name in live:
            assert again[name] == live[name], (name, is_emptied)
    assert differences(clinic) == []


def test_expired_readings_stay_in_influxdb_and_all_else_can_be_made_again(clinic: InfluxDesk) -> None:
    live = held(clinic.target)
    cutoff_utc_ms = begins_utc_ms(TODAY + 2 * _DAY)
    assert expire(clinic.ledger, cutoff_utc_ms, "desk", "old", clinic.clock()).entries > 0
    clinic.tell()
    assert held(clinic.target) == live, "expiry in the ledger takes nothing from InfluxDB"
    clinic.empty()
    rebuild(clinic.ledger, clinic.target, clinic.clock, Period())
    again = held(clinic.target)
    for name in live.keys() - {"depth", "depth_1s"}:
        assert without_today(again, clinic)[name] == without_today(live, clinic)[name], name
    for name in ("depth", "depth_1s"):
        kept = {key: fields for key, fields in live[name].items() if key in again[name]}
        assert again[name] == kept
        assert 0 < len(kept) < len(live[name])


def test_two_clinics_may_share_an_influxdb(clinic: InfluxDesk, tmp_path: Path, policy: Policy) -> None:
    """Their pens have the same names, and worked at the same moments."""
    quay = Ledger.open(tmp_path / "quay.sqlite")
    named = registry_of().clinic.model_dump() | {"id": "quay"}
    quay.import_registry(registry_of(clinic=named), KEYS, NOW_UTC_MS)
    other = InfluxDesk(Desk(quay, policy), clinic.bench)
    other._pens = [HonestPen(pen_id, clinic="quay") for pen_id in KEYS]
    other.work(DAYS)
    assert differences(clinic) == differences(other) == []
    both = held(clinic.target)
    rebuild(quay, other.target, other.clock, Period())
    assert without_today(held(clinic.target), other) == without_today(both, other)
    of_clinics = {
        name: {value for key in both[name] for tag, value in key[1:] if tag == "clinic"}
        for name in ("depth", "session", "notice", "stock")
    }
    assert set(map(frozenset, of_clinics.values())) == {frozenset({"harbor", "quay"})}
    quay.close()


def test_a_rebuild_that_was_stopped_goes_on(
    clinic: InfluxDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = without_today(held(clinic.target), clinic)
    monkeypatch.setattr(outbox, "BATCH_POINTS", 500)
    clinic.empty()
    stopped = threading.Event()

    def stop_halfway(entry: int, last: int) -> None:
        if entry > last // 2:
            stopped.set()

    rebuild(clinic.ledger, clinic.target, clinic.clock, Period(), heard=stop_halfway, stopped=stopped)
    mark = clinic.ledger.delivered(REBUILT)
    assert 0 < mark < clinic.ledger.last_entry_id()
    assert without_today(held(clinic.target), clinic) != live
    done = rebuild(clinic.ledger, clinic.target, clinic.clock, Period())
    assert done.from_entry == mark
    assert without_today(held(clinic.target), clinic) == live
    rebuild(
        clinic.ledger, clinic.target, clinic.clock, Period(), heard=lambda *_: None, is_restart=True
    )
    assert without_today(held(clinic.target), clinic) == live


def test_a_rebuild_of_one_day_brings_that_day(clinic: InfluxDesk) -> None:
    live = held(clinic.target)
    clinic.empty()
    day = TODAY + _DAY
    rebuild(clinic.ledger, clinic.target, clinic.clock, Period(day, day))
    first_ns, next_ns = (begins_utc_ms(one) * 1_000_000 for one in (day, day + _DAY))
    wanted = {
        name: {key: fields for key, fields in points.items() if first_ns <= key[0] < next_ns}
        for name, points in live.items()
    }
    assert held(clinic.target) == {name: points for name, points in wanted.items() if points}
    assert sum(map(len, wanted.values())) > 500


def test_after_a_rebuild_the_gateway_need_not_tell_it_all_again(clinic: InfluxDesk) -> None:
    clinic.ledger.deliver(INFLUX, 0)
    rebuild(clinic.ledger, clinic.target, clinic.clock, Period(last=TODAY))
    assert clinic.ledger.delivered(INFLUX) == 0, "some days are not everything"
    rebuild(clinic.ledger, clinic.target, clinic.clock, Period())
    assert clinic.ledger.delivered(INFLUX) == clinic.ledger.last_entry_id()


# ---- held against the ledger ----


def test_what_live_writing_left_is_what_the_ledger_makes(clinic: InfluxDesk) -> None:
    assert differences(clinic) == []


@pytest.mark.parametrize("measurement", ["depth", "depth_1s", "session", "notice", "stock"])
def test_a_deleted_day_is_named_and_repaired(measurement: str, clinic: InfluxDesk) -> None:
    live = held(clinic.target)
    day = TODAY + _DAY
    from_ns, to_ns = (begins_utc_ms(one) * 1_000_000 for one in (day, day + _DAY))
    clinic.bench.query(
        f'DELETE FROM "{measurement}" WHERE time >= {from_ns} AND time < {to_ns}', "POST"
    )
    [one] = differences(clinic, is_repair=True)
    assert (one.measurement, one.day, one.held, one.foreign) == (measurement, day, 0, 0)
    assert one.missing == one.made > 0
    assert one.is_repaired
    assert differences(clinic) == []
    assert held(clinic.target) == live


def test_one_missing_reading_is_named_with_its_session_written_again(clinic: InfluxDesk) -> None:
    live = held(clinic.target)
    time_ns = sorted(live["depth"])[100][0]
    clinic.bench.query(f'DELETE FROM "depth" WHERE "pen" = \'pen-02\' AND time = {time_ns}', "POST")
    [one] = differences(clinic, is_repair=True)
    assert (one.measurement, one.day, one.missing, one.foreign) == ("depth", TODAY, 1, 0)
    assert held(clinic.target) == live


def test_a_foreign_point_is_named_and_left_alone(clinic: InfluxDesk) -> None:
    noon_ns = begins_utc_ms(TODAY) * 1_000_000 + 12 * 3_600 * 10**9
    clinic.target.write(
        "long", [f'session,clinic=harbor,pen=pen-99,tier=home sessions=1i,session="x" {noon_ns}']
    )
    clinic.target.write("raw", [f'depth,clinic=harbor,pen=pen-99 depth_mm=0.1,session="x" {noon_ns}'])
    clinic.target.write("long", [f'session,clinic=other,pen=pen-01 sessions=1i,session="y" {noon_ns}'])
    depth, session = differences(clinic, is_repair=True)
    assert (depth.measurement, depth.foreign, depth.missing) == ("depth", 1, 0)
    assert depth.examples == ("session x: 1 instead of 0",)
    assert (session.measurement, session.foreign, session.missing) == ("session", 1, 0)
    assert session.examples == (f"session,clinic=harbor,pen=pen-99,tier=home {noon_ns}",)
    assert [one.foreign for one in differences(clinic)] == [1, 1]


def test_one_missing_and_one_foreign_point_are_not_taken_for_each_other(clinic: InfluxDesk) -> None:
    key = min(held(clinic.target)["notice"])
    clinic.bench.query(f'DELETE FROM "notice" WHERE time = {key[0]}', "POST")
    clinic.target.write(
        "long", [f'notice,clinic=harbor,pen=pen-01,code=X notices=1i,delay_ms=7i,session="x" {key[0]}']
    )
    [one] = differences(clinic)
    assert (one.made, one.held) == (one.held, one.made), "counts alone do not see it"
    assert (one.missing, one.foreign, one.stale) == (1, 1, ("delay_ms",))


def test_a_point_that_was_not_written_again_is_old(clinic: InfluxDesk) -> None:
    live = held(clinic.target)
    key = next(key for key, fields in live["alert"].items() if fields["open"] == 0)
    tags = ",".join(f"{name}={value}" for name, value in key[1:])
    clinic.target.write("long", [f"alert,{tags} open=1i {key[0]}"])
    [one] = differences(clinic, is_repair=True)
    assert (one.measurement, one.missing, one.foreign, one.stale) == ("alert", 0, 0, ("open",))
    assert held(clinic.target) == live


def test_readings_that_have_expired_are_not_missed(clinic: InfluxDesk) -> None:
    cutoff_utc_ms = begins_utc_ms(TODAY + 2 * _DAY)
    assert expire(clinic.ledger, cutoff_utc_ms, "desk", "old", clinic.clock()).entries > 0
    clinic.tell()
    assert differences(clinic) == []


def test_days_that_influxdb_no_longer_keeps_are_not_missed(
    desk: Desk, bench: InfluxBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days, "AT_MOST_EVERY_S", 0.0)
    clinic = InfluxDesk(desk, bench, raw_days=2)
    clinic.empty()
    clinic.work(DAYS)
    day = TODAY
    clinic.bench.query(f'DELETE FROM "depth" WHERE time < {begins_utc_ms(day + _DAY)}000000', "POST")
    assert differences(clinic) == []


# ---- every night ----


def test_the_night_repairs_what_has_changed_and_looks_at_nothing_twice(clinic: InfluxDesk) -> None:
    live = held(clinic.target)
    nightly = Nightly(clinic.ledger, clinic.target, clinic.clock, threading.Event())
    for measurement in ("depth", "pass", "licence"):
        clinic.bench.query(f'DELETE FROM "{measurement}"', "POST")
    found = nightly.check()
    assert {(one.measurement, one.day) for one in found} >= {
        ("depth", TODAY),
        ("depth", TODAY + _DAY),
        ("pass", TODAY),
        ("licence", TODAY),
    }
    assert without_today(held(clinic.target), clinic) == without_today(live, clinic)
    clinic.bench.query('DELETE FROM "pass"', "POST")
    assert nightly.check() == [], "nothing has changed on these days"
    assert clinic.ledger.delivered(CHECKED) == clinic.ledger.last_entry_id()


def test_a_night_in_which_the_outbox_is_not_empty_waits(
    clinic: InfluxDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.ledger.deliver(INFLUX, 1)
    stopped = threading.Event()
    stopped.set()
    nightly = Nightly(clinic.ledger, clinic.target, clinic.clock, stopped)
    assert nightly.check() == []
    assert clinic.ledger.delivered(CHECKED) == 0


@pytest.fixture
def loud_logs() -> Iterator[None]:
    """Logs are heard again, while a test lasts."""
    quiet = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    yield
    structlog.configure(wrapper_class=quiet)


def test_a_night_that_fails_loses_none_after_it(
    clinic: InfluxDesk, loud_logs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clinic.target.settings, "check_at", "03:30")
    utc_ms = clinic.clock()
    stopped = threading.Event()
    nightly = Nightly(clinic.ledger, clinic.target, lambda: utc_ms, stopped, look_s=0.01)
    clinic.bench.query('DELETE FROM "pass"', "POST")

    def rename(name: str, other: str) -> None:
        with clinic.ledger.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {other}")

    def wait_for(message: str) -> dict[str, Any]:
        deadline_s = time.monotonic() + 20
        while time.monotonic() < deadline_s:
            for line in said:
                if line["event"] == message:
                    return line
            time.sleep(0.01)
        raise AssertionError(said)

    with structlog.testing.capture_logs() as said:
        nightly.start()
        try:
            rename("outbox", "lost")
            utc_ms += _DAY_MS
            why = wait_for("InfluxDB could not be checked; the next night will")["why"]
            rename("lost", "outbox")
            utc_ms += _DAY_MS
            assert wait_for("InfluxDB checked")["differences"] > 0
        finally:
            stopped.set()
            nightly.join(10)
    assert "OperationalError" in why
    assert differences(clinic) == [], "and it has repaired what the night before could not"


def test_what_is_entered_today_is_looked_at_again_tomorrow(clinic: InfluxDesk) -> None:
    ledger, last_id = clinic.ledger, clinic.ledger.last_entry_id()
    last_day = day_of(ledger.entries(last_id - 1)[0].committed_utc_ms)
    changed = Changed.between(ledger, 0, last_id, last_day)
    assert 0 < changed.last_id < last_id
    assert max(changed.days) == last_day - _DAY
    rest = Changed.between(ledger, changed.last_id, last_id, last_day + _DAY)
    assert rest.last_id == last_id
    assert last_day in rest.days


def test_stretches_of_days() -> None:
    first = date(2026, 7, 1)
    assert list(ranges([])) == []
    assert list(ranges([first])) == [(first, first)]
    found = {first, first + _DAY, first + 3 * _DAY}
    assert list(ranges(found)) == [(first, first + _DAY), (first + 3 * _DAY, first + 3 * _DAY)]


# ---- on the command line ----


def needletrail(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "needletrail_gateway", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def config(clinic: InfluxDesk, tmp_path: Path) -> Path:
    """The settings of that clinic's gateway."""
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'[ledger]\nlocation = "{clinic.ledger.engine.url.database}"\n'
        f'[influx]\nurl = "{clinic.bench.url}"\nraw_days = 0\n'
    )
    return path


@pytest.mark.parametrize("command", ["check", "rebuild"])
@pytest.mark.parametrize(
    ("days_asked", "words"),
    [
        (("--from", "2026-07-02", "--to", "2026-07-01"), "is after 2026-07-01"),
        (("--from", "2200-01-01"), "is after today"),
        (("--from", "0001-01-01"), "knows days from 1970-01-02"),
        (("--to", "9999-12-31"), "to 2261-12-31"),
    ],
)
def test_days_that_are_none_are_named(
    command: str, days_asked: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    """Not a traceback, and not “InfluxDB holds what the ledger makes”."""
    asked = ["influx", command, "--config", str(tmp_path / "gateway.toml"), *days_asked]
    told = CliRunner().invoke(app, asked)
    assert isinstance(told.exception, DocumentError)
    assert words in str(told.exception)


@pytest.mark.parametrize("command", ["check", "rebuild"])
def test_a_ledger_without_a_registry_is_said(command: str, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'[ledger]\nlocation = "{tmp_path}/typo.sqlite"\n[influx]\nurl = "http://127.0.0.1:1"\n'
    )
    told = CliRunner().invoke(app, ["influx", command, "--config", str(config)])
    assert isinstance(told.exception, LedgerError)
    assert "no such ledger" in str(told.exception)
    assert not (tmp_path / "typo.sqlite").exists()
    Ledger.open(tmp_path / "typo.sqlite").close()
    told = CliRunner().invoke(app, ["influx", command, "--config", str(config)])
    assert isinstance(told.exception, LedgerError)
    assert "no registry" in str(told.exception)


def test_check_and_rebuild_from_the_command_line(config: Path, clinic: InfluxDesk) -> None:
    to = day_of(clinic.clock()) - _DAY
    before_ns = begins_utc_ms(TODAY + _DAY) * 1_000_000
    clinic.bench.query(f'DELETE FROM "session" WHERE time < {before_ns}', "POST")
    told = needletrail("influx", "check", "--config", config, "--to", to, "--json")
    [one] = json.loads(told.stdout)["differences"]
    assert told.returncode == 3
    assert (one["measurement"], one["day"], one["is_repaired"]) == ("session", str(TODAY), False)
    told = needletrail("influx", "check", "--config", config, "--to", to, "--repair")
    assert told.returncode == 0, told.stderr
    assert "Written again. 0 of 1 still differ." in told.stdout
    clinic.empty()
    clinic.ledger.deliver(INFLUX, 1)
    told = needletrail("influx", "check", "--config", config)
    assert told.returncode == 1
    assert "needletrail influx rebuild" in told.stderr
    told = needletrail("influx", "rebuild", "--config", config, "--to", to, "--json")
    assert json.loads(told.stdout)["points"] > 500
    assert [one for one in differences(clinic) if one.day <= to] == []
