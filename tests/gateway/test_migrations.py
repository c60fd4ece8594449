"""The migrations make the tables that the code uses, and keep what was in those of before."""

import hashlib
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from gateway_clinic import KEYS, NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk
from honest_pen import HonestPen
from sqlalchemy import create_engine

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.record import ledger as ledger_module
from needletrail_gateway.record import schema
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.record.proof import prove

MIGRATIONS = Path(ledger_module.__file__).parent / "migrations"


def test_migrated_and_described_schema_are_the_same(tmp_path: Path) -> None:
    opened = Ledger.open(tmp_path / "ledger.sqlite")
    with opened.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, schema.metadata) == []
    opened.close()


def test_a_table_without_a_migration_would_be_noticed(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    assert {found[1].name for found in differences if found[0] == "add_table"} == set(
        schema.metadata.tables
    )


def test_the_newest_migration_is_the_one_that_the_ledger_knows(tmp_path: Path) -> None:
    """The ledger skips Alembic when its version is this one."""
    opened = Ledger.open(tmp_path / "ledger.sqlite")
    with opened.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    opened.close()
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [found]
    assert found == ledger_module.NEWEST_SCHEMA


def test_a_ledger_of_the_first_schema_is_brought_up_to_date_and_keeps_what_it_holds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.sqlite"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql("INSERT INTO lane VALUES ('pen-01', 1, 7, 1000, NULL, 'pen-01-1-1')")
        connection.exec_driver_sql("INSERT INTO pen_key VALUES ('pen-01', 1, x'00')")
    engine.dispose()
    opened = Ledger.open(path)
    [lane] = opened.lanes()
    assert (lane["pen"], lane["next_seq"], lane["boot_utc_ms"]) == ("pen-01", 7, 1000)
    assert (lane["boot"], lane["faults"], lane["hello_boot"]) == (None, None, None)
    assert opened.pen_keys() == {("pen-01", 1): b"\0"}, "no key is retired by it"
    assert opened.pins("pen-01", 1, 0) == []
    opened.close()


# ---- every earlier schema, with a clinic's data in it ----


def old_link(before: bytes, row: dict[str, Any]) -> bytes:
    """A link as schemas 0001 and 0002 had it: over the body itself."""
    columns = ("id", "kind", "pen", "epoch", "seq", "session_id", "committed_utc_ms")
    text = "".join(f"{row[name]}\n" for name in columns).encode()
    return hashlib.sha256(before + text + row["body"]).digest()


def as_it_was(source: Path, schema_version: str, target: Path) -> Path:
    """The same ledger in an earlier schema: its tables, its columns, its links."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{target}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, schema_version)
    engine.dispose()
    with sqlite3.connect(source) as new, sqlite3.connect(target) as old:
        new.row_factory = sqlite3.Row
        names = [row[0] for row in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        before = bytes(32)
        for name in names:
            if name == "alembic_version":
                continue
            columns = [row[1] for row in old.execute(f"PRAGMA table_info({name})")]
            marks = ", ".join("?" * len(columns))
            for found in new.execute(f"SELECT * FROM {name} ORDER BY 1"):
                row = dict(found)
                if name == "entry" and schema_version < "0003":
                    before = row["chain"] = old_link(before, row)
                values = [row[column] for column in columns]
                old.execute(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})", values)
    new.close()
    old.close()
    return target


def give_back_packs(source: Path, target: Path) -> None:
    """Verdicts of before 0004 named no pack. These do, so their sessions must say the same."""
    with sqlite3.connect(source) as new, sqlite3.connect(target) as old:
        packs = new.execute("SELECT policy_entry, session_id FROM session").fetchall()
        old.executemany("UPDATE session SET policy_entry = ? WHERE session_id = ?", packs)
    new.close()
    old.close()


@pytest.fixture
def clinic_of_before(desk: Desk) -> Path:
    """What every schema can hold: records, verdicts, alerts, something refused, a gap. No pins."""
    for pen_id in ("pen-01", "pen-02"):
        pen = HonestPen(pen_id)
        pen.boot()
        for who in ("est-01", "nobody"):
            pen.open(badge(who), cartridge_tag(pen_id))
            pen.work(300)
            pen.close()
        pen.lose(2)
        pen.open(badge("md-01"), cartridge_tag("open" + pen_id))
        pen.work(300)
        desk.take(pen.sent)
    ledger = desk.ledger
    ledger.close()
    return Path(str(ledger.engine.url.database))


EARLIER = ["0001", "0002", "0003", "0004"]


def test_no_earlier_schema_is_left_out() -> None:
    versions = sorted(found.revision for found in ScriptDirectory(str(MIGRATIONS)).walk_revisions())
    assert versions == [*EARLIER, ledger_module.NEWEST_SCHEMA]


@pytest.mark.parametrize("version", EARLIER)
def test_a_clinic_s_ledger_is_brought_up_to_date_and_proves(
    version: str, clinic_of_before: Path, tmp_path: Path, policy: Policy
) -> None:
    path = as_it_was(clinic_of_before, version, tmp_path / "old.sqlite")
    today = Ledger.open(clinic_of_before)
    before = [replace(entry) for entry in today.entries(most=10_000)]
    sessions, alerts = today.sessions(), today.alerts()
    statements = [today.statement(row) for row in sessions]
    today.close()

    opened = Ledger.open(path)
    after = opened.entries(most=10_000)
    assert after[: len(before)] == before
    assert [entry.kind for entry in after[len(before) :]] == (["rechain"] if version < "0003" else [])
    known = set(sessions[0]) - {"policy_entry"}
    assert [{name: row[name] for name in known} for row in opened.sessions()] == [
        {name: row[name] for name in known} for row in sessions
    ]
    assert [opened.statement(row) for row in opened.sessions()] == statements
    assert opened.alerts() == alerts
    assert opened.pen_keys() == {(pen_id, 1): key for pen_id, key in KEYS.items()}
    give_back_packs(clinic_of_before, path)
    found = prove(path)
    assert found.findings == []
    assert found.macs_checked == found.records > 10

    desk = Desk(opened, policy)  # and the gateway goes on from it
    [lane] = [row for row in opened.lanes() if row["pen"] == "pen-01"]
    pen = HonestPen("pen-01", seq=lane["next_seq"] - 1, session=3, is_open=True, t_ms=10_000)
    desk.take(pen.close())
    assert opened.session("pen-01-1-3")["verdict"] is not None
    opened.close()
    assert prove(path).findings == []


@pytest.mark.parametrize("version", ["0001", "0002"])
@pytest.mark.parametrize(
    ("change", "entry"),
    [
        ("UPDATE entry SET session_id = 'x' WHERE id = 9", 9),
        ("UPDATE entry SET chain = zeroblob(32) WHERE id = 9", 9),
        ("DELETE FROM entry WHERE id = 9", 10),
    ],
)
def test_what_was_altered_before_is_told_after(
    version: str, change: str, entry: int, clinic_of_before: Path, tmp_path: Path
) -> None:
    """The links are made anew, so the step itself must say that the old ones were not whole."""
    path = as_it_was(clinic_of_before, version, tmp_path / "old.sqlite")
    with sqlite3.connect(path) as connection:
        assert connection.execute(change).rowcount == 1
    connection.close()
    Ledger.open(path).close()
    found = prove(path)
    assert not found.is_intact
    assert any(one.entry == entry and "chained anew" in one.said for one in found.findings)


@pytest.mark.parametrize("version", ["0001", "0002"])
def test_what_is_altered_after_it_was_chained_anew_differs_from_the_old_links_too(
    version: str, clinic_of_before: Path, tmp_path: Path
) -> None:
    """The last of the old links is in the entry `rechain`: it still vouches for all before it."""
    path = as_it_was(clinic_of_before, version, tmp_path / "old.sqlite")
    with sqlite3.connect(path) as connection:
        (old,) = connection.execute("SELECT chain FROM entry ORDER BY id DESC LIMIT 1").fetchone()
    connection.close()
    opened = Ledger.open(path)
    [step] = opened.entries(kind="rechain")
    assert step.json()["last_link"] == old.hex()
    assert step.json()["entries"] == step.id - 1
    assert step.json()["first_bad"] is None
    opened.close()


def test_a_large_ledger_is_chained_anew_in_portions(
    clinic_of_before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ScriptDirectory(str(MIGRATIONS)).get_revision("0003").module
    source = Path(step.__file__).read_text()
    assert "_AT_ONCE = 2_000" in source
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    changed = folder / "versions" / Path(step.__file__).name
    changed.write_text(source.replace("_AT_ONCE = 2_000", "_AT_ONCE = 3"))
    path = as_it_was(clinic_of_before, "0002", tmp_path / "old.sqlite")
    config = Config()
    config.set_main_option("script_location", str(folder))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
    give_back_packs(clinic_of_before, path)
    assert prove(path).findings == []


def test_an_empty_ledger_of_before_stays_empty(tmp_path: Path, registry: Registry) -> None:
    empty = tmp_path / "empty.sqlite"
    Ledger.open(empty).close()
    path = as_it_was(empty, "0002", tmp_path / "old.sqlite")
    opened = Ledger.open(path)
    assert opened.last_entry_id() == 0
    opened.import_registry(registry, KEYS, NOW_UTC_MS)
    opened.close()
    assert prove(path).findings == []
