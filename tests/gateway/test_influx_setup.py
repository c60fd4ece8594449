"""`needletrail influx setup`: InfluxDB 1 for real, InfluxDB 2 by its published API; twice is once."""

import json
import re
from collections.abc import Iterator

import pytest
from end_to_end.influx_bench import BUCKET, InfluxBench
from influx2_double import ORG, TOKEN, Influx2
from typer.testing import CliRunner

from needletrail_gateway.cli import app
from needletrail_gateway.desk.influx_commands import InfluxError
from needletrail_gateway.series.setup import SetupError, Step, seconds_of, set_up
from needletrail_gateway.series.target import Target
from needletrail_gateway.shell.documents import DocumentError
from needletrail_gateway.shell.settings import InfluxSettings

DAY_S = 86_400


def outcomes(steps: list[Step]) -> list[str]:
    return [one.outcome for one in steps]


# ---- InfluxDB 1 ----


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxBench]:
    """A real InfluxDB without buckets."""
    started = InfluxBench(tmp_path_factory.mktemp("bench") / "influx")
    started.start_empty()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def empty(bench: InfluxBench) -> InfluxBench:
    """The same for each test."""
    bench.query(f'DROP DATABASE "{BUCKET}"', "POST")
    return bench


def policies(bench: InfluxBench) -> dict[str, int]:
    """How long each retention policy keeps, in days; 0 for ever."""
    rows = bench.query(f'SHOW RETENTION POLICIES ON "{BUCKET}"')
    return {row["name"]: seconds_of(row["duration"]) // DAY_S for row in rows}


def of_version_1(bench: InfluxBench, raw_days: int = 90, **options: bool) -> list[Step]:
    with Target(InfluxSettings(url=bench.url, raw_days=raw_days)) as target:
        return set_up(target, **options)


def test_an_influxdb_1_is_set_up_and_can_be_written(empty: InfluxBench) -> None:
    assert outcomes(of_version_1(empty)) == ["made", "made"]
    assert policies(empty) == {"autogen": 0, "raw": 90}
    with Target(InfluxSettings(url=empty.url)) as target:
        target.write("long", ["pass number=1i 1"])
        target.write("raw", ["depth depth_mm=0.1 4000000000000000000"])
    assert empty.count("depth", "depth_mm", "raw") == empty.count("pass", "number") == 1


def test_again_it_changes_nothing(empty: InfluxBench) -> None:
    of_version_1(empty)
    assert outcomes(of_version_1(empty)) == ["there"] * 3


@pytest.mark.parametrize("raw_days", [0, 1, 7, 365])
def test_how_long_it_keeps_is_changed(raw_days: int, empty: InfluxBench) -> None:
    of_version_1(empty)
    empty.query(f'ALTER RETENTION POLICY "autogen" ON "{BUCKET}" DURATION 30d', "POST")
    steps = of_version_1(empty, raw_days)
    assert outcomes(steps) == ["there", "changed", "changed"]
    assert policies(empty) == {"autogen": 0, "raw": raw_days}
    assert outcomes(of_version_1(empty, 90)) == ["there", "there", "changed"]


def test_a_dry_run_does_nothing(empty: InfluxBench) -> None:
    assert outcomes(of_version_1(empty, is_dry_run=True)) == ["made", "made"]
    assert BUCKET not in {row["name"] for row in empty.query("SHOW DATABASES")}


def test_influxdb_1_has_no_tokens(empty: InfluxBench) -> None:
    with pytest.raises(SetupError, match="CREATE USER"):
        of_version_1(empty, with_tokens=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("2160h0m0s", 90 * DAY_S), ("1h30m0s", 5_400), ("2w1d", 15 * DAY_S)],
)
def test_durations(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


# ---- InfluxDB 2 ----


@pytest.fixture
def influx2() -> Iterator[Influx2]:
    """An InfluxDB 2 with an organisation and nothing else."""
    with Influx2() as started:
        yield started


def of_version_2(influx2: Influx2, token: str = TOKEN, org: str = ORG, **more: object) -> list[Step]:
    settings = {"url": influx2.url, "token": token, "org": org}
    options = {name: more.pop(name) for name in ("is_dry_run", "with_tokens") if name in more}
    with Target(InfluxSettings.model_validate(settings | more)) as target:
        return set_up(target, **options)


def test_an_influxdb_2_gets_buckets_names_and_tokens(influx2: Influx2) -> None:
    steps = of_version_2(influx2, with_tokens=True)
    assert outcomes(steps) == ["made"] * 6
    kept = {one["name"]: one["retentionRules"] for one in influx2.buckets}
    assert kept == {
        "needletrail": [],
        "needletrail/raw": [{"type": "expire", "everySeconds": 90 * DAY_S}],
    }
    ids = {one["name"]: one["id"] for one in influx2.buckets}
    names = {
        (one["database"], one["retention_policy"]): (one["bucketID"], one["default"])
        for one in influx2.dbrps
    }
    assert names == {
        ("needletrail", "autogen"): (ids["needletrail"], True),
        ("needletrail", "raw"): (ids["needletrail/raw"], False),
    }
    gateway, grafana = (
        {(one["action"], one["resource"]["id"]) for one in token["permissions"]}
        for token in influx2.authorizations
    )
    assert gateway == {(action, one) for action in ("read", "write") for one in ids.values()}
    assert grafana == {("read", one) for one in ids.values()}
    assert [one.secret for one in steps[4:]] == ["token 0", "token 1"]


def test_without_the_nightly_check_the_gateway_may_only_write(influx2: Influx2) -> None:
    of_version_2(influx2, with_tokens=True, check_at="off")
    assert {one["action"] for one in influx2.authorizations[0]["permissions"]} == {"write"}


def test_an_influxdb_2_that_is_set_up_stays_as_it_is(influx2: Influx2) -> None:
    of_version_2(influx2, with_tokens=True)
    influx2.changes.clear()
    steps = of_version_2(influx2, with_tokens=True)
    assert outcomes(steps) == ["there"] * 6
    assert [one.secret for one in steps] == [None] * 6
    assert influx2.changes == []


def test_retention_and_default_are_changed(influx2: Influx2) -> None:
    influx2.bucket("needletrail", 30 * DAY_S)
    influx2.bucket("needletrail/raw", 0)
    of_version_2(influx2)
    influx2.dbrps[0]["default"] = False
    steps = of_version_2(influx2, raw_days=30)
    assert outcomes(steps) == ["there", "changed", "changed", "there"]
    [raw] = influx2.buckets[1]["retentionRules"]
    assert raw["everySeconds"] == 30 * DAY_S
    assert influx2.buckets[0]["retentionRules"][0]["everySeconds"] == 0
    assert influx2.dbrps[0]["default"] is True
    assert outcomes(of_version_2(influx2, raw_days=30)) == ["there"] * 4


def test_a_name_that_belongs_to_another_bucket_is_not_taken_away(influx2: Influx2) -> None:
    other = influx2.bucket("other", 0)
    influx2.dbrps.append(
        {
            "id": "d9",
            "orgID": "0a",
            "bucketID": other["id"],
            "database": "needletrail",
            "retention_policy": "raw",
            "default": True,
        }
    )
    with pytest.raises(SetupError, match=r"needletrail\.raw belongs to another bucket.*--id d9"):
        of_version_2(influx2)


def test_a_dry_run_asks_and_changes_nothing(influx2: Influx2) -> None:
    assert outcomes(of_version_2(influx2, is_dry_run=True, with_tokens=True)) == ["made"] * 6
    assert influx2.changes == []


@pytest.mark.parametrize(
    ("token", "org", "words"),
    [("wrong", ORG, "--admin-token"), (TOKEN, "nix", "no organisation nix")],
    ids=["token", "organisation"],
)
def test_what_is_wrong_is_said(token: str, org: str, words: str, influx2: Influx2) -> None:
    with pytest.raises(SetupError, match=re.escape(words)):
        of_version_2(influx2, token, org)


@pytest.mark.parametrize(
    ("version", "words"), [("3.3.0", "made by hand"), ("", "does not say which InfluxDB")]
)
def test_others_are_not_set_up(version: str, words: str, influx2: Influx2) -> None:
    influx2.version = version
    with pytest.raises(SetupError, match=words):
        of_version_2(influx2)


# ---- on the command line ----


def test_setup_from_the_command_line(influx2: Influx2) -> None:
    asked = ["influx", "setup", "--url", influx2.url, "--org", ORG, "--admin-token", TOKEN, "--tokens"]
    told = CliRunner().invoke(app, [*asked, "--dry-run"])
    assert told.exit_code == 0, told.output
    assert "would make   bucket needletrail/raw, kept for 90 days" in told.output
    told = CliRunner().invoke(app, asked)
    assert "made         bucket needletrail, kept for ever" in told.output
    assert "token 0" in told.output
    told = CliRunner().invoke(app, [*asked, "--json"])
    assert {one["outcome"] for one in json.loads(told.stdout)["steps"]} == {"there"}
    told = CliRunner().invoke(app, [*asked, "--admin-token", "wrong"])
    assert isinstance(told.exception, InfluxError)
    assert "--admin-token" in str(told.exception)
    assert isinstance(CliRunner().invoke(app, asked[:2]).exception, DocumentError)
    for token in ("wr\u00f6ng", "two\nlines"):
        told = CliRunner().invoke(app, [*asked, "--admin-token", token])
        assert isinstance(told.exception, DocumentError)
        assert "--admin-token" in str(told.exception) and token not in str(told.exception)
