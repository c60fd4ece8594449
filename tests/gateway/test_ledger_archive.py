"""The ledger moved whole (export, import) and copied while it is written (backup)."""

import gzip
import hashlib
import json
import random
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from gateway_clinic import NOW_UTC_MS
from gateway_desk import Desk, NewLedger
from honest_ledger import FORGOTTEN, clinic_ledger, copy_of
from honest_pen import HonestPen

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record import archive, retention
from needletrail_gateway.record.archive import ArchiveError, backup, export, import_from
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.record.proof import prove

ENTRIES = 300


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger's file with everything in it: something refused, something forgotten, a view's mark."""
    path, _ = clinic_ledger(tmp_path_factory.mktemp("honest"), ENTRIES)
    ledger = Ledger.open(path)
    ledger.deliver("influx", 20)
    ledger.set_aside("influx_refused", "says why", b"\x00\xff line")
    found = retention.entries_of_client(ledger, FORGOTTEN)
    assert retention.redact(ledger, found, "asked", "md-01", NOW_UTC_MS) is not None
    ledger.close()
    return path


@pytest.fixture(scope="module")
def exported(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "harbor.jsonl.gz"
    export(honest, path)
    return path


def tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        names = [
            row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        found = {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2")]
            for name in names
            if name != "alembic_version"
        }
    connection.close()
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def packed(path: Path, said: list[dict[str, Any]]) -> Path:
    """An export that somebody made who knows the format: the trailer is right."""
    text = b"".join(
        json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for line in said
    )
    end = {"end": len(said), "sha256": hashlib.sha256(text).hexdigest()}
    path.write_bytes(gzip.compress(text + json.dumps(end, separators=(",", ":")).encode() + b"\n"))
    return path


def refused(path: Path, folder: Path) -> str:
    """Why it is not imported; and that it leaves nothing behind."""
    target = folder / "new.sqlite"
    before = sorted(folder.iterdir())
    with pytest.raises(ArchiveError) as caught:
        import_from(path, target)
    assert sorted(folder.iterdir()) == before
    assert str(path) in str(caught.value)
    return str(caught.value)


# ---- there and back ----


def test_what_comes_out_is_what_went_in(exported: Path, honest: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.sqlite"
    moved, found = import_from(exported, target)
    assert found.is_intact
    before, after = tables(honest), tables(target)
    assert before.keys() == after.keys()
    assert after.pop("pen_key") == []
    assert len(before.pop("pen_key")) == 4
    assert before == after
    assert moved.entries == len(after["entry"]) == found.entries
    assert moved.rows == sum(map(len, after.values())) - moved.entries
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.sqlite"]


def test_sessions_and_statements_are_the_same(exported: Path, honest: Path, tmp_path: Path) -> None:
    import_from(exported, tmp_path / "new.sqlite")
    one, two = Ledger.open(honest), Ledger.open(tmp_path / "new.sqlite")
    assert one.sessions() == two.sessions()
    assert [one.statement(row) for row in one.sessions()] == [
        two.statement(row) for row in two.sessions()
    ]
    assert one.registry() == two.registry()
    assert one.tallies() == two.tallies()
    one.close()
    two.close()


def test_with_its_keys_a_gateway_goes_on_from_it(honest: Path, tmp_path: Path, policy: Policy) -> None:
    path = tmp_path / "x.gz"
    moved = export(honest, path, with_keys=True)
    assert moved.keys == 4
    assert path.stat().st_mode & 0o077 == 0, "it holds secrets"
    _, found = import_from(path, tmp_path / "new.sqlite")
    assert found.macs_checked > ENTRIES // 2
    ledger = Ledger.open(tmp_path / "new.sqlite")
    desk = Desk(ledger, policy)
    [lane] = [row for row in ledger.lanes() if row["pen"] == "pen-03"]
    pen = HonestPen("pen-03", seq=lane["next_seq"] - 1, boots=lane["boot"])
    desk.take(pen.boot())
    assert prove(tmp_path / "new.sqlite").is_intact
    ledger.close()


def test_without_them_none_is_in_it(honest: Path, exported: Path) -> None:
    keys = [row["key"] for row in tables(honest)["pen_key"]]
    text = gzip.decompress(exported.read_bytes())
    import base64

    for key in keys:
        assert key.hex().encode() not in text
        assert base64.b64encode(key)[:-2] not in text
    assert lines(exported)[0]["keys"] is False


def test_the_same_ledger_gives_the_same_bytes(honest: Path, exported: Path, tmp_path: Path) -> None:
    export(honest, tmp_path / "again.gz")
    assert (tmp_path / "again.gz").read_bytes() == exported.read_bytes()
    import_from(exported, tmp_path / "new.sqlite")
    export(tmp_path / "new.sqlite", tmp_path / "third.gz")
    assert (tmp_path / "third.gz").read_bytes() == exported.read_bytes()


def test_an_export_describes_itself(exported: Path, honest: Path) -> None:
    head, *rest, end = lines(exported)
    entries = [line for line in rest if "table" not in line]
    assert head["format"] == "needletrail ledger"
    assert head["entries"] == len(entries) == len(tables(honest)["entry"])
    assert head["last_chain"] == entries[-1]["chain"]
    assert [line["id"] for line in entries] == list(range(1, len(entries) + 1))
    assert end["end"] == len(rest) + 1
    change = next(line for line in entries if line["kind"] == "change")
    assert json.loads(change["text"])["changes"]
    assert any("body_sha256" in line and "text" not in line for line in entries)


def test_an_export_can_be_made_while_the_gateway_writes(desk: Desk, tmp_path: Path) -> None:
    stop = threading.Event()
    pen = HonestPen()
    desk.take(pen.boot())

    def work() -> None:
        while not stop.is_set():
            desk.take(pen.open(), pen.work(300), pen.close())

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for number in range(5):
            path = tmp_path / f"{number}.gz"
            export(str(desk.ledger.engine.url.database), path)
            assert import_from(path, tmp_path / f"{number}.sqlite")[1].is_intact
            copied = backup(str(desk.ledger.engine.url.database), tmp_path / f"{number}.copy")
            assert copied.is_intact
            assert copied.macs_checked == copied.records > 0
    finally:
        stop.set()
        writer.join()


# ---- bad input ----


def test_an_export_cut_short_anywhere_leaves_nothing(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    cut = tmp_path / "cut.gz"
    dice = random.Random(7)
    for end in (0, 1, 10, len(data) - 1, len(data) - 8, *(dice.randrange(len(data)) for _ in range(8))):
        cut.write_bytes(data[:end])
        refused(cut, tmp_path)


def test_lines_left_out_leave_nothing(exported: Path, tmp_path: Path) -> None:
    text = gzip.decompress(exported.read_bytes()).splitlines(keepends=True)
    for kept in (text[:-1], text[:1], text[1:], text[:50] + text[51:], [*text, b"{}\n"], text[:-1] * 2):
        path = tmp_path / "x.gz"
        path.write_bytes(gzip.compress(b"".join(kept)))
        refused(path, tmp_path)


def test_a_flipped_bit_leaves_nothing(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    dice = random.Random(11)
    path = tmp_path / "x.gz"
    for _ in range(12):
        altered = bytearray(data)
        altered[dice.randrange(12, len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(altered)
        refused(path, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seq": 999}, "altered"),
        ({"kind": "gap"}, "altered"),
        ({"chain": "00" * 32}, "altered"),
        ({"chain": "zz"}, "no row of entry"),
        ({"chain": 7}, "no row of entry"),
        ({"base64": "!"}, "no row of entry"),
        ({"more": 1}, "no row of entry"),
        ({"table": "alembic_version"}, "no table alembic_version"),
        ({"table": "session"}, "no row of session"),
        ({"id": 10**30}, "altered"),
        ({"id": None}, "no row of entry"),
        ({"kind": ["x"]}, "altered"),
        ({"kind": "\ud800"}, "altered"),
    ],
)
def test_an_altered_entry_leaves_nothing(
    change: dict[str, object], said: str, exported: Path, tmp_path: Path
) -> None:
    """Whoever altered it has made the trailer right; the chain is not."""
    found = lines(exported)[:-1]
    index = next(nth for nth, line in enumerate(found) if line.get("kind") == "record" and nth > 50)
    found[index] |= change
    assert said in refused(dumped(tmp_path / "x.gz", found), tmp_path)


def dumped(path: Path, said: list[dict[str, Any]]) -> Path:
    """As `packed`, with ASCII alone, so that text may be no text."""
    text = b"".join(json.dumps(line).encode() + b"\n" for line in said)
    end = {"end": len(said), "sha256": hashlib.sha256(text).hexdigest()}
    path.write_bytes(gzip.compress(text + json.dumps(end).encode() + b"\n"))
    return path


@pytest.mark.parametrize(
    ("table", "column"),
    [("session", "verdict"), ("alert", "code"), ("lane", "next_seq"), ("pin", "boot")],
)
def test_an_altered_table_leaves_nothing(
    table: str, column: str, exported: Path, tmp_path: Path
) -> None:
    found = lines(exported)[:-1]
    row = next(line for line in found if line.get("table") == table)
    row[column] = 77 if isinstance(row[column], int) else "compliant?"
    assert "altered" in refused(packed(tmp_path / "x.gz", found), tmp_path)


def test_what_is_no_export_is_refused(honest: Path, tmp_path: Path) -> None:
    assert "gzip" in refused(honest, tmp_path)
    assert "can not be read" in refused(tmp_path / "nowhere.gz", tmp_path)
    other = tmp_path / "other.gz"
    other.write_bytes(gzip.compress(b'{"hello": 1}\n'))
    assert "is not an export" in refused(other, tmp_path)
    other.write_bytes(gzip.compress(b"7\n"))
    assert "no JSON object" in refused(other, tmp_path)
    other.write_bytes(gzip.compress(b"x" * 100))
    assert "no end" in refused(other, tmp_path)


def test_an_export_of_another_version_is_refused(exported: Path, tmp_path: Path) -> None:
    for change in ({"version": 2}, {"schema": "9999"}, {"entries": "many"}):
        found = lines(exported)[:-1]
        found[0] |= change
        refused(packed(tmp_path / "x.gz", found), tmp_path)


# ---- places ----


def test_an_import_goes_into_an_empty_ledger_only(
    exported: Path, honest: Path, tmp_path: Path, new_ledger: NewLedger
) -> None:
    full = copy_of(honest, tmp_path, "full.sqlite")
    before = full.read_bytes()
    with pytest.raises(ArchiveError, match="is not empty"):
        import_from(exported, full)
    assert full.read_bytes() == before
    empty = tmp_path / "empty.sqlite"
    Ledger.open(empty).close()
    assert import_from(exported, empty)[1].is_intact
    (tmp_path / "nothing.sqlite").touch()
    assert import_from(exported, tmp_path / "nothing.sqlite")[1].is_intact
    by_url = tmp_path / "by-url.sqlite"
    assert import_from(exported, f"sqlite:///{by_url}")[1].is_intact
    with pytest.raises(ArchiveError, match="is not empty"):
        import_from(exported, f"sqlite:///{by_url}")


def test_a_file_that_is_there_is_never_written_over(honest: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("precious")
    for write in (lambda: export(honest, there), lambda: backup(honest, there)):
        with pytest.raises(ArchiveError, match="is there already"):
            write()
    assert there.read_text() == "precious"
    with pytest.raises(ArchiveError, match="does not exist"):
        export(honest, tmp_path / "nowhere" / "x.gz")


# ---- backup ----


def test_a_backup_is_the_same_ledger(honest: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = backup(honest, tmp_path / "copy.sqlite", lambda done, total: told.append((done, total)))
    assert found.is_intact
    assert told[-1][0] == told[-1][1] > 0
    assert tables(tmp_path / "copy.sqlite") == tables(honest)
    assert (tmp_path / "copy.sqlite").stat().st_mode & 0o077 == 0, "it holds keys"
    assert [path.name for path in tmp_path.iterdir()] == ["copy.sqlite"]


def test_a_backup_of_a_large_ledger_is_of_one_moment(
    honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway commits after every few pages: the copy neither begins anew nor mixes two moments."""
    monkeypatch.setattr(archive, "_BACKUP_PAGES", 3)
    source = copy_of(honest, tmp_path, "source.sqlite")
    ledger = Ledger.open(source)
    before = ledger.last_entry_id()
    rounds: list[int] = []

    def commit_meanwhile(done: int, _total: int) -> None:
        ledger.note("stock", {"who": "x", "why": "y", "change": 1, "cause": "received"}, NOW_UTC_MS)
        rounds.append(done)

    found = backup(source, tmp_path / "copy.sqlite", commit_meanwhile)
    assert found.is_intact
    assert found.entries == before
    assert len(rounds) > 10
    assert rounds == sorted(rounds)
    assert ledger.last_entry_id() == before + len(rounds)
    ledger.close()
    assert prove(source).is_intact


def test_what_is_not_intact_is_copied_and_said(honest: Path, tmp_path: Path) -> None:
    source = copy_of(honest, tmp_path, "source.sqlite")
    with sqlite3.connect(source) as connection:
        connection.execute("UPDATE entry SET seq = 99 WHERE id = 40")
    connection.close()
    found = backup(source, tmp_path / "copy.sqlite")
    assert found.findings[0].entry == 40
    assert prove(tmp_path / "copy.sqlite").findings == found.findings


def test_a_server_s_database_has_a_backup_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="its own backup"):
        backup("postgresql://h/d", tmp_path / "copy.sqlite")
