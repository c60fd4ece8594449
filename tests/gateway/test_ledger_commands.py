"""`needletrail ledger …` as a person types it."""

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from gateway_clinic import NOW_UTC_MS
from honest_ledger import CLIENT, clinic_ledger

from needletrail_gateway import cli
from needletrail_gateway.core.packs.model import RetentionRule
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record import archive, schema
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import read_pack_file
from needletrail_gateway.shell.rulebook import POLICY

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger, its signing key and its public key."""
    folder = tmp_path_factory.mktemp("honest")
    _, kept = clinic_ledger(folder, 150)
    (folder / "kept.checkpoint").write_bytes(kept.data)
    return folder


@pytest.fixture
def needletrail(
    honest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Typed:
    """Type a command in a folder with a ledger. Returns the exit code, stdout and stderr."""
    for path in honest.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "ledger.key").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("NEEDLETRAIL_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["needletrail", "ledger", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        code = ended.value.code
        return (code if isinstance(code, int) else int(code is not None)), captured.out, captured.err

    return run


ON_IT = ("--ledger", "ledger.sqlite")


def alter(statement: str) -> None:
    with sqlite3.connect("ledger.sqlite") as connection:
        assert connection.execute(statement).rowcount
    connection.close()


def test_verify_says_what_is_proven_and_what_is_not(needletrail: Typed) -> None:
    code, out, _ = needletrail("verify", *ON_IT)
    assert code == 0
    assert out.startswith("Intact: ")
    assert "give" not in out
    assert "--checkpoint" in out
    code, out, _ = needletrail(
        "verify", *ON_IT, "--checkpoint", "kept.checkpoint", "--public-key", "ledger.key.pub"
    )
    assert code == 0
    assert "1 of 1 agree" in out
    assert "with a good signature" in out
    assert "--checkpoint" not in out


def test_verify_ends_with_3_and_names_the_first_bad_entry(needletrail: Typed) -> None:
    alter("UPDATE entry SET committed_utc_ms = 5 WHERE id IN (40, 60)")
    code, out, _ = needletrail("verify", *ON_IT)
    assert code == 3
    assert out.startswith("NOT INTACT. First: entry 40: ")
    assert "Also: entry 60: " in out


def test_verify_for_a_machine(needletrail: Typed) -> None:
    code, out, err = needletrail("verify", *ON_IT, "--json")
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert said["intact"] is True
    assert said["entries"] == sum(said["kinds"].values())
    assert said["findings"] == []
    alter("UPDATE entry SET seq = seq + 9000 WHERE id = 40")
    code, out, err = needletrail("verify", *ON_IT, "--json")
    assert (code, err) == (3, "")
    assert json.loads(out)["findings"][0]["entry"] == 40


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify",), "either --config FILE or --ledger FILE"),
        (("verify", "--ledger", "nowhere.sqlite"), "no such file"),
        (("verify", "--ledger", "ledger.key"), "not a database"),
        (("verify", *ON_IT, "--checkpoint", "nowhere"), "nowhere: can not be read"),
        (("verify", *ON_IT, "--checkpoint", "ledger.key"), "is not a checkpoint"),
        (("verify", *ON_IT, "--public-key", "ledger.key"), "ends in .pub"),
        (("key", "ledger.key"), "is there already"),
        (("checkpoint", *ON_IT), "--key FILE"),
        (("checkpoint", *ON_IT, "--key", "ledger.key.pub"), "chmod 600"),
        (("export", "ledger.key", *ON_IT), "is there already"),
        (("import", "ledger.key", "--ledger", "new.sqlite"), "ledger.key"),
        (("backup", "ledger.key", *ON_IT), "is there already"),
        (("expire", "--before", "long ago", *ON_IT), "is not a day"),
        (("expire", "--before", "2999-01-01", *ON_IT), "has not come yet"),
        (("expire", "--before", "2020-01-01", "--who", "", *ON_IT), "--who"),
        (("expire", *ON_IT), "the pack default does not say how many years readings are kept"),
        (("forget", CLIENT, "--why", f"{CLIENT} asked", *ON_IT), "do not name the client"),
        (("forget", CLIENT, "--why", " ", *ON_IT), "--why"),
    ],
)
def test_what_can_not_be_used_is_told_and_changes_nothing(
    arguments: tuple[str, ...], said: str, needletrail: Typed, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code, out, err = needletrail(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    beside = {"ledger.sqlite-wal", "ledger.sqlite-shm"}  # SQLite's own, empty
    assert {name: data for name, data in after.items() if name not in beside} == before


def test_a_key_then_a_checkpoint_then_the_proof(needletrail: Typed, tmp_path: Path) -> None:
    code, out, _ = needletrail("key", "second.key", "--json")
    assert code == 0
    assert json.loads(out)["public"] == "second.key.pub"
    code, line, _ = needletrail("checkpoint", *ON_IT, "--key", "ledger.key")
    assert code == 0
    assert line == (tmp_path / "kept.checkpoint").read_text(), "nothing is new"
    alter("DELETE FROM entry WHERE kind = 'checkpoint'")
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    ledger.note("stock", {"who": "x", "why": "y", "change": 1, "cause": "received"}, NOW_UTC_MS)
    ledger.close()
    code, out, _ = needletrail("checkpoint", *ON_IT, "--key", "second.key", "--out", "c")
    assert "vouched for in c" in out
    code, out, _ = needletrail("verify", *ON_IT, "--checkpoint", "c", "--public-key", "ledger.key.pub")
    assert code == 3, "it was signed by another"
    code, out, err = needletrail("checkpoint", *ON_IT, "--key", "second.key", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["entry"] > 100


def test_the_settings_name_key_and_folder(needletrail: Typed, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "gateway.toml").write_text(
        '[ledger]\nlocation = "ledger.sqlite"\n[checkpoint]\nkey = "ledger.key"\nfolder = "elsewhere"\n'
    )
    code, out, _ = needletrail("checkpoint", "--config", "gateway.toml")
    assert code == 0
    kept = sorted((tmp_path / "elsewhere").iterdir())
    assert kept[-1].read_text() == out
    assert len(kept) == 2


def test_export_import_backup(needletrail: Typed, tmp_path: Path) -> None:
    code, out, _ = needletrail("export", "x.gz", *ON_IT)
    assert code == 0
    assert "Without the keys of pens" in out
    code, out, _ = needletrail("import", "x.gz", "--ledger", "new.sqlite")
    assert code == 0
    assert "intact" in out
    code, out, err = needletrail("export", "y.gz", "--with-keys", "--json", *ON_IT)
    assert (code, err) == (0, "")
    assert json.loads(out)["keys"] == 4
    code, out, err = needletrail("import", "y.gz", "--ledger", "newer.sqlite", "--json")
    assert (code, err) == (0, "")
    code, out, _ = needletrail("backup", "copy.sqlite", *ON_IT)
    assert code == 0
    assert "intact" in out
    alter("UPDATE entry SET committed_utc_ms = 5 WHERE id = 40")
    code, out, _ = needletrail("backup", "bad.sqlite", *ON_IT)
    assert code == 3
    assert "NOT INTACT. First: entry 40" in out
    assert (tmp_path / "bad.sqlite").is_file()
    code, out, err = needletrail("backup", "worse.sqlite", "--json", *ON_IT)
    assert (code, err) == (3, "")
    assert json.loads(out)["intact"] is False


def test_expire_and_forget(needletrail: Typed) -> None:
    code, dry, _ = needletrail("expire", "--before", "2026-07-02", "--dry-run", *ON_IT)
    assert code == 0
    assert "would be removed" in dry
    code, out, err = needletrail("expire", "--before", "2026-07-02", "--json", "--who", "md-01", *ON_IT)
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert f"{said['entries']} entries" in dry
    assert said["entries"] > 0
    code, out, _ = needletrail("forget", CLIENT, "--why", "asked for it", "--dry-run", *ON_IT)
    assert "would be forgotten" in out
    code, out, _ = needletrail("forget", CLIENT, "--why", "asked for it", *ON_IT)
    assert "are forgotten" in out
    code, out, _ = needletrail("forget", CLIENT, "--why", "asked for it", *ON_IT)
    assert out == "No entry speaks of this client.\n"
    code, out, err = needletrail("forget", CLIENT, "--why", "asked for it", "--json", *ON_IT)
    assert (code, err, json.loads(out)["entries"]) == (0, "", [])
    code, out, _ = needletrail("verify", *ON_IT)
    assert code == 0
    assert "have expired or were forgotten" in out


KEPT_6_YEARS = """\
name = "kept"
version = "1"
effective = 2026-01-01
describes = "Ours, with a time of retention."
extends = "default"

[retention]
samples_kept_years = 6
citation = ["45 CFR 164.316(b)(2)(i): six years from its making."]
"""


@pytest.fixture
def keeping(needletrail: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """A clinic whose pack keeps readings for six years; today is seven years after its ledger's day."""
    monkeypatch.setattr(
        "needletrail_gateway.desk.ledger_commands.now_utc_ms",
        lambda: round(datetime(2033, 2, 1, tzinfo=UTC).timestamp() * 1000),
    )
    (tmp_path / "kept.toml").write_text(KEPT_6_YEARS)
    policy = read_pack_file(tmp_path / "kept.toml").policy
    ledger = Ledger.open(tmp_path / "ledger.sqlite")
    found = ledger.registry()
    assert found is not None
    state = found[1].model_dump()
    state["clinic"]["policy"] = "kept"
    ledger.enter(POLICY, policy.model_dump(mode="json"), NOW_UTC_MS)
    ledger.import_registry(Registry.model_validate(state), {}, NOW_UTC_MS)
    ledger.close()
    return needletrail


def test_readings_expire_by_the_policy_in_force(keeping: Typed) -> None:
    code, out, err = keeping("expire", "--json", *ON_IT)
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["before"] == "2027-02-01"
    assert said["entries"] > 0
    assert keeping("verify", *ON_IT)[0] == 0


def test_a_day_that_the_policy_still_keeps_is_refused(keeping: Typed) -> None:
    code, out, err = keeping("expire", "--before", "2027-02-02", *ON_IT)
    assert (code, out) == (2, "")
    assert "2027-02-02 is too late, 2027-02-01 is the latest day" in err
    assert "kept for 6 years or more. 45 CFR 164.316(b)(2)(i)" in err
    code, out, _ = keeping("expire", "--before", "2027-02-01", "--dry-run", *ON_IT)
    assert code == 0
    assert "judged before 2027-02-01 would be removed" in out


@pytest.mark.parametrize(
    ("today", "years", "first"),
    [
        (date(2033, 2, 1), 6, date(2027, 2, 1)),
        (date(2028, 2, 29), 6, date(2022, 2, 28)),
        (date(2028, 2, 29), 4, date(2024, 2, 29)),
        (date(2026, 12, 31), 1, date(2025, 12, 31)),
    ],
)
def test_the_first_day_that_is_kept(today: date, years: int, first: date) -> None:
    rule = RetentionRule(samples_kept_years=years, citation=["Choice: so long."])
    assert rule.kept_from(today) == first


def test_an_export_leaves_no_table_out() -> None:
    assert {*archive.TABLES, "entry", archive.KEYS} == set(schema.metadata.tables)
