"""Proving a ledger: an honest one is intact, and whatever is done to one is found, and said where."""

import json
import random
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_clinic import KEYS, NOW_UTC_MS, badge, cartridge_tag
from gateway_desk import Desk, NewLedger
from honest_ledger import FORGOTTEN, clinic_ledger, copy_of
from honest_pen import HonestPen
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from torture import altered_ledger

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record import chain, checkpoints, proof, retention, snapshot
from needletrail_gateway.record.checkpoints import Checkpoint
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Group, Ledger, NewEntry
from needletrail_gateway.record.proof import Proof, Walk, prove
from needletrail_protocol import messages

ENTRIES = 700


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint, Path]:
    """A ledger's file, a checkpoint of its end that is kept elsewhere, and the public key's file."""
    folder = tmp_path_factory.mktemp("honest")
    path, kept = clinic_ledger(folder, ENTRIES)
    return path, kept, folder / "ledger.key.pub"


@pytest.fixture
def path(honest: tuple[Path, Checkpoint, Path], tmp_path: Path) -> Path:
    """The honest ledger's file, to do anything with."""
    return copy_of(honest[0], tmp_path)


@pytest.fixture
def kept(honest: tuple[Path, Checkpoint, Path]) -> Checkpoint:
    return honest[1]


def do(path: Path, *statements: str) -> None:
    """SQL on the file, behind the ledger's back."""
    with sqlite3.connect(path) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount, statement
    connection.close()


def asked(path: Path, query: str) -> int:
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute(query).fetchone()
    connection.close()
    return int(found)


def first(found: Proof) -> tuple[int | None, str]:
    assert not found.is_intact
    return found.findings[0].entry, found.findings[0].said


# ---- what is honest ----


def test_an_honest_ledger_is_intact(honest: tuple[Path, Checkpoint, Path]) -> None:
    path, kept, public = honest
    found = prove(path, [kept], [checkpoints.read_public_key(public)])
    assert found.findings == []
    assert found.entries == kept.entry + 1 >= ENTRIES
    assert found.macs_checked == found.records > ENTRIES // 2
    assert (found.checkpoints, found.signed, found.kept) == (2, 2, 1)
    assert found.vouched == found.entries
    assert found.remarks == [], "nothing is left open"
    kinds = {"record", "refused", "gap", "pin", "verdict", "alert", "note", "change", "enrolment"}
    assert kinds <= found.kinds.keys(), "the ledger has all that there is"


def test_without_a_checkpoint_it_says_what_can_not_be_known(path: Path) -> None:
    found = prove(path)
    assert found.is_intact
    assert f"after entry {found.entries}" in found.remarks[-1]
    assert "--checkpoint" in found.remarks[-1]


def test_without_a_key_macs_are_not_checked_and_that_is_said(path: Path) -> None:
    do(path, "DELETE FROM pen_key WHERE pen = 'pen-01'")
    found = prove(path)
    assert found.is_intact
    assert found.keys_missing == ["pen-01 1"]
    assert 0 < found.macs_checked < found.records
    assert "pen-01 1" in found.remarks[0]
    assert str(found.records - found.macs_checked) in found.remarks[0]


def test_proving_writes_nothing(path: Path) -> None:
    before = path.read_bytes()
    prove(path)
    assert path.read_bytes() == before


def test_progress_is_told_to_the_end(path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = prove(path, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (found.entries, found.entries)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_a_ledger_can_be_proven_while_the_gateway_writes(desk: Desk) -> None:
    path = str(desk.ledger.engine.url.database)
    stop = threading.Event()
    pen = HonestPen()
    desk.take(pen.boot())

    def work() -> None:
        while not stop.is_set():
            desk.take(pen.open(), pen.work(300), pen.close())

    writer = threading.Thread(target=work)
    writer.start()
    try:
        counts = []
        while len(counts) < 10 or counts[-1] == counts[0]:
            found = prove(path)
            assert found.findings == []
            counts.append(found.entries)
    finally:
        stop.set()
        writer.join()
    assert counts == sorted(counts)


def test_a_medium_that_takes_no_files_can_be_read(path: Path) -> None:
    """SQLite would like to make two files beside a ledger; here it can not."""
    path.with_name(path.name + "-shm").mkdir()
    assert prove(path).is_intact


def test_what_is_only_in_the_log_is_proven_too(desk: Desk, tmp_path: Path) -> None:
    desk.take(HonestPen().boot())
    source = Path(str(desk.ledger.engine.url.database))
    for part in (source, source.with_name(source.name + "-wal")):
        (tmp_path / part.name.replace(source.name, "killed.sqlite")).write_bytes(part.read_bytes())
    assert prove(tmp_path / "killed.sqlite").entries == desk.ledger.last_entry_id()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"Dear inspector, " * 500, "not a database"), (b"", "not a ledger")],
)
def test_what_is_no_ledger_is_told(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=said):
        prove(path)
    assert path.exists() == (content is not None)


@pytest.mark.parametrize(("schema", "said"), [("0002", "brings it up to date"), ("9999", "Upgrade")])
def test_a_ledger_of_another_schema_is_left_alone(schema: str, said: str, path: Path) -> None:
    do(path, f"UPDATE alembic_version SET version_num = '{schema}'")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=said):
        prove(path)
    assert path.read_bytes() == before


# ---- what is done to entries ----


def test_hundreds_of_alterations_are_found_each_at_its_entry(path: Path, kept: Checkpoint) -> None:
    done = altered_ledger.torture(path, kept, seed=20260701, share=0.05)
    assert set(done) == set(altered_ledger.WAYS)
    assert done.total() > 400


@pytest.mark.parametrize("way", altered_ledger.COLUMNS)
def test_from_the_beginning_the_same_is_found(way: str, path: Path, kept: Checkpoint) -> None:
    """The torture goes on from where the walk stood; this does not."""
    dice = random.Random(way)
    with sqlite3.connect(path) as connection:
        wanted = dice.randrange(2, kept.entry - 5)
        columns = ", ".join(snapshot.Row._fields)
        row = snapshot.Row(
            *connection.execute(f"SELECT {columns} FROM entry WHERE id = ?", [wanted]).fetchone()
        )
    connection.close()
    ledger = Ledger.open(path)
    with ledger.engine.begin() as altered:
        altered_ledger.alter(altered, row, way, dice)
    ledger.close()
    assert first(prove(path))[0] == wanted


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET seq = 'x' WHERE id = 50",
        "UPDATE entry SET committed_utc_ms = 0.5 WHERE id = 50",
        "UPDATE entry SET body = 'text' WHERE id = 50",
        "UPDATE entry SET kind = x'ff' WHERE id = 50",
        "UPDATE entry SET kind = CAST(x'ff' AS TEXT) WHERE id = 50",
        "UPDATE entry SET session_id = 'a' || char(10) || 'b' WHERE id = 50",
        "UPDATE entry SET chain = x'00' WHERE id = 50",
        "UPDATE entry SET body_sha256 = x'00', body = x'' WHERE id = 50",
        "UPDATE entry SET pen_chain = 'text' WHERE id = 50",
    ],
)
def test_values_that_no_entry_has_are_found(statement: str, path: Path) -> None:
    do(path, statement)
    assert first(prove(path))[0] == 50


def test_one_alteration_is_one_finding(path: Path) -> None:
    do(path, "UPDATE entry SET chain = zeroblob(32) WHERE id = 50")
    do(path, "UPDATE entry SET committed_utc_ms = 1 WHERE id = 300")
    assert [one.entry for one in prove(path).findings] == [50, 300]


def test_entries_before_the_first_are_found(path: Path) -> None:
    do(path, "UPDATE entry SET id = -7 WHERE id = 50")
    found = prove(path).findings
    assert [one.entry for one in found] == [50, None]
    assert "-7" in found[1].said


def test_missing_entries_are_counted(path: Path) -> None:
    do(path, "DELETE FROM entry WHERE id BETWEEN 50 AND 60")
    assert first(prove(path)) == (50, "and all up to entry 60 are missing")


def test_an_entry_put_in_between_is_found(path: Path) -> None:
    columns = "kind, NULL, NULL, NULL, session_id, committed_utc_ms, body, chain, NULL, NULL"
    do(
        path,
        "UPDATE entry SET id = -(id + 1) WHERE id > 50",
        "UPDATE entry SET id = -id WHERE id < 0",
        f"INSERT INTO entry SELECT 51, {columns} FROM entry WHERE id = 50",
    )
    assert first(prove(path))[0] == 51


@pytest.mark.parametrize("left", [0, 1, 350, -1])
def test_a_ledger_cut_off_is_found_with_a_checkpoint(left: int, path: Path, kept: Checkpoint) -> None:
    last = asked(path, "SELECT MAX(id) FROM entry")
    do(path, f"DELETE FROM entry WHERE id > {left if left >= 0 else last + left}")
    entry, said = first(prove(path, [kept]))
    assert entry == (left if left >= 0 else last + left) + 1
    assert "cut off" in said


def test_many_findings_are_not_all_listed(path: Path) -> None:
    do(path, "UPDATE entry SET committed_utc_ms = 1 WHERE id % 2 = 0")
    found = prove(path)
    assert len(found.findings) == proof.FINDINGS_KEPT
    assert found.more_findings > 100


# ---- who writes the whole chain anew ----


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """What somebody can do who has the file and knows the rules: all links are right again."""
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        before = chain.FIRST
        of_pens: dict[tuple[str, int], bytes] = {}
        for found in connection.execute("SELECT * FROM entry ORDER BY id").fetchall():
            row = dict(found)
            change(row)
            digest = row["body_sha256"] or chain.body_digest(row["body"])
            columns = chain.head(*(row[name] for name in snapshot.Row._fields[:7]))
            of_pen = None
            if row["pen"] is not None and row["epoch"] is not None:
                lane = (row["pen"], row["epoch"])
                of_pen = of_pens[lane] = chain.pen_link(of_pens.get(lane, chain.FIRST), columns, digest)
            before = chain.link(before, columns, digest, of_pen)
            connection.execute(
                "UPDATE entry SET body = ?, committed_utc_ms = ?, chain = ?, pen_chain = ?"
                " WHERE id = ?",
                [row["body"], row["committed_utc_ms"], before, of_pen, row["id"]],
            )
    connection.close()


def test_a_forged_record_is_found_by_its_mac(path: Path) -> None:
    wanted = asked(path, "SELECT MIN(id) FROM entry WHERE kind = 'record' AND id > 100")
    do(path, "DELETE FROM entry WHERE kind = 'checkpoint' AND id > 600")

    def forge(row: dict[str, Any]) -> None:
        if row["id"] == wanted:
            row["body"] = altered_ledger.flipped(row["body"], random.Random(5))

    rewrite(path, forge)
    entry, said = first(prove(path))
    assert entry == wanted
    assert "MAC" in said or "sealed" in said


def later(row: dict[str, Any]) -> None:
    """A verdict that was entered at another time: nothing but the chain covers that."""
    if row["kind"] == "verdict":
        row["committed_utc_ms"] += 1


def test_a_chain_written_anew_differs_from_its_own_checkpoints(path: Path) -> None:
    rewrite(path, later)
    entry, said = first(prove(path))
    assert entry == asked(path, "SELECT MIN(id) FROM entry WHERE kind = 'checkpoint'")
    assert "made anew" in said


def test_and_if_those_are_forged_too_from_the_one_kept_elsewhere(
    path: Path, kept: Checkpoint, honest: tuple[Path, Checkpoint, Path], tmp_path: Path
) -> None:
    """Somebody deletes the checkpoints, writes the chain anew, and signs with a key of their own."""
    do(path, "DELETE FROM entry WHERE id > 300")
    do(path, "UPDATE entry SET committed_utc_ms = 5 WHERE id = 100")
    rewrite(path, lambda _row: None)
    (tmp_path / "theirs").mkdir()
    checkpoints.make_key(tmp_path / "theirs" / "k")
    ledger = Ledger.open(path)
    forged = checkpoints.make(ledger, checkpoints.read_key(tmp_path / "theirs" / "k"), NOW_UTC_MS)
    ledger.close()
    assert any("cut off" in one.said for one in prove(path, [kept]).findings)
    found = prove(path, [forged], [checkpoints.read_public_key(honest[2])])
    assert any("not signed by the key given" in one.said for one in found.findings)


def test_a_checkpoint_in_the_middle_shows_that_what_is_before_it_was_altered(
    path: Path, honest: tuple[Path, Checkpoint, Path]
) -> None:
    entry = asked(path, "SELECT MIN(id) FROM entry WHERE kind = 'checkpoint'")
    with sqlite3.connect(path) as connection:
        (data,) = connection.execute("SELECT body FROM entry WHERE id = ?", [entry]).fetchone()
    connection.close()
    middle = Checkpoint.read(data, "middle")
    assert prove(path, [middle]).kept == 1
    do(path, f"DELETE FROM entry WHERE id > {entry + 20}")
    rewrite(path, later)
    assert first(prove(path, [middle]))[0] == entry - 1


# ---- the other tables ----


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE session SET verdict = 'compliant' WHERE verdict = 'violation'", "verdict"),
        ("UPDATE session SET practitioner = 'md-01' WHERE practitioner = 'est-01'", "practitioner"),
        ("UPDATE session SET limit_um = limit_um + 1", "scope_mm"),
        ("UPDATE session SET serial = '999999'", "serial"),
        ("UPDATE session SET opened_entry = opened_entry + 1", "opened_entry"),
        ("UPDATE session SET verdict_entry = verdict_entry + 1", "verdict_entry"),
        ("UPDATE session SET started_utc_ms = started_utc_ms + 1000", "started"),
        ("UPDATE session SET reused = 1 - reused", "reused"),
        ("UPDATE session SET worked = 1 - worked", "worked of"),
        ("UPDATE session SET use_id = 'pen-01-1-1' WHERE session_id = 'pen-01-1-2'", "use_id of"),
        ("UPDATE session SET registry_entry = registry_entry + 1", "registry_entry of"),
        ("UPDATE session SET policy_entry = NULL", "policy_entry of"),
        ("UPDATE session SET policy_entry = policy_entry + 1", "policy_entry of"),
        ("UPDATE lane SET last_use_id = 'pen-01-1-1' WHERE pen = 'pen-01'", "last_use_id of"),
        ("DELETE FROM session WHERE session_id = 'pen-01-1-2'", "pen-01-1-2 is missing"),
        ("UPDATE session SET session_id = 'pen-09-1-2' WHERE session_id = 'pen-01-1-2'", "pen-09-1-2"),
        ("UPDATE alert SET raised_utc_ms = raised_utc_ms + 1", "raised_utc_ms"),
        ("UPDATE alert SET reached_pen = 1 WHERE NOT reached_pen", "reached_pen"),
        ("UPDATE alert SET reached_pen = 0 WHERE reached_pen", "reached_pen"),
        ("DELETE FROM alert WHERE entry = (SELECT MIN(entry) FROM alert)", "is missing"),
        ("UPDATE pin SET gateway_utc_ms = gateway_utc_ms + 1", "gateway_utc_ms"),
        ("UPDATE pin SET entry = entry + 1000000", "no entry"),
        ("DELETE FROM pin WHERE entry = (SELECT MIN(entry) FROM pin)", "pin"),
        ("UPDATE lane SET next_seq = next_seq - 1 WHERE pen = 'pen-03'", "awaited"),
        ("DELETE FROM lane WHERE pen = 'pen-03'", "pen-03"),
        ("INSERT INTO outbox VALUES ('influx', 1000000)", "outbox"),
        ("UPDATE pen_key SET retired_utc_ms = 5 WHERE pen = 'pen-03'", "pen-03"),
    ],
)
def test_a_table_that_says_otherwise_is_found(statement: str, said: str, path: Path) -> None:
    do(path, statement)
    found = prove(path).findings
    assert all(one.said.startswith("table ") for one in found)
    assert any(said in one.said for one in found)


def test_another_key_for_a_pen_is_found_at_its_enrolment(path: Path) -> None:
    """With the key of a pen and the file, somebody could seal what the pen never did."""
    do(path, "UPDATE pen_key SET key = zeroblob(32) WHERE pen = 'pen-03'")
    [finding] = prove(path).findings
    assert finding.entry == asked(path, "SELECT MIN(id) + 2 FROM entry WHERE kind = 'enrolment'")
    assert "another one than it says" in finding.said


def test_a_key_that_nobody_enrolled_is_found(path: Path) -> None:
    do(path, "INSERT INTO pen_key VALUES ('pen-09', 1, zeroblob(32), NULL)")
    assert "never enrolled" in first(prove(path))[1]


def test_a_session_that_is_open_is_compared_as_far_as_its_records_tell(
    new_ledger: NewLedger, policy: Policy
) -> None:
    """Another badge while the cartridge stays: the second session is of the first one's use."""
    desk = Desk(new_ledger(), policy)
    pen = HonestPen()
    desk.take(pen.boot(), pen.open(badge("md-01"), cartridge_tag("1")), pen.work(300), pen.close())
    tag = cartridge_tag("1")
    desk.take(pen.open(badge("rn-01"), tag, cause=messages.OPENED_BY_BADGE), pen.work(300))
    path = Path(str(desk.ledger.engine.url.database))
    assert desk.ledger.session("pen-01-1-2")["use_id"] == "pen-01-1-1"
    assert prove(path).findings == []
    desk.ledger.close()
    for statement, said in (
        ("UPDATE session SET use_id = session_id", "use_id of pen-01-1-2 is pen-01-1-2"),
        (
            "UPDATE session SET registry_entry = policy_entry WHERE verdict IS NULL",
            "registry_entry of pen-01-1-2",
        ),
        (
            "UPDATE session SET policy_entry = registry_entry WHERE verdict IS NULL",
            "policy_entry of pen-01-1-2",
        ),
    ):
        altered = copy_of(path, path.parent, "altered.sqlite")
        do(altered, statement)
        (finding,) = prove(altered).findings
        assert said in finding.said


# ---- numbers of records ----


def test_a_lost_record_is_explained_by_a_gap_and_by_nothing_else(
    new_ledger: NewLedger, policy: Policy
) -> None:
    desk = Desk(new_ledger(), policy)
    pen = HonestPen()
    desk.take(pen.boot(), pen.hello(oldest_seq=1), pen.lose(3), pen.boot())
    path = str(desk.ledger.engine.url.database)
    assert prove(path).is_intact
    pen.seq += 1  # one is left out, and whoever wrote the entry did not mind
    sent = pen.boot()
    entry = NewEntry("record", sent.message, "pen-01", 1, pen.seq)
    desk.ledger.commit(Group(entries=[entry]), NOW_UTC_MS)
    found, said = first(prove(path))
    assert found == desk.ledger.last_entry_id()
    assert "no gap is noted" in said


# ---- anything at all ----


@pytest.fixture(scope="module")
def walked(honest: tuple[Path, Checkpoint, Path]) -> tuple[list[snapshot.Row], Walk, Checkpoint]:
    """Every row, and a walk that has taken none."""
    path, kept, _ = honest
    with snapshot.snapshot(path) as connection:
        return list(snapshot.entries(connection)), proof.begin(connection, [kept]), kept


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=40),
    st.binary(max_size=70),
    st.sampled_from(["record", "verdict", "pen-01", "pen-02", "expiry", "checkpoint", "rechain"]),
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_row_with_any_other_values_is_found(
    walked: tuple[list[snapshot.Row], Walk, Checkpoint], data: st.DataObject
) -> None:
    rows, start, _ = walked
    index = data.draw(st.integers(0, len(rows) - 1))
    names = data.draw(st.sets(st.sampled_from(snapshot.Row._fields), min_size=1, max_size=4))
    row = rows[index]
    altered = row._replace(**{name: data.draw(VALUES) for name in sorted(names)})
    is_same = all(type(old) is type(new) and old == new for old, new in zip(row, altered, strict=True))
    walk = start.copy()
    for one in rows[:index]:
        walk.take(one)
    walk.take(altered)
    for one in rows[index + 1 :]:
        walk.take(one)
    walk.end()
    assert bool(walk.proof.findings) != is_same


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rows_in_any_other_order_or_number_are_found(
    walked: tuple[list[snapshot.Row], Walk, Checkpoint], data: st.DataObject
) -> None:
    rows, start, _ = walked
    count = data.draw(st.integers(1, len(rows)))
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=count, max_size=count))
    if data.draw(st.booleans()):  # mostly in order
        at = data.draw(st.integers(0, len(rows)))
        chosen = [*range(at), *chosen[: data.draw(st.integers(0, 3))], *range(at, len(rows))]
    walk = start.copy()
    for number, index in enumerate(chosen, 1):
        walk.take(rows[index]._replace(id=number))
    walk.end()
    assert bool(walk.proof.findings) == (chosen != list(range(len(rows))))


# ---- what was removed ----


def test_what_is_removed_with_a_word_is_no_finding(path: Path) -> None:
    ledger = Ledger.open(path)
    forgotten = retention.entries_of_client(ledger, FORGOTTEN)
    assert forgotten
    said_in = retention.redact(ledger, forgotten, "asked", "md-01", NOW_UTC_MS)
    ledger.close()
    found = prove(path)
    assert found.is_intact
    assert found.removed == len(forgotten)
    assert "SHA-256" in found.remarks[0]
    do(path, f"UPDATE entry SET body = x'7b7d', body_sha256 = NULL WHERE id = {forgotten[0]}")
    assert first(prove(path))[0] == forgotten[0], "and nothing can be put in its place"
    assert said_in is not None


def test_the_proof_is_in_words_and_in_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from needletrail_gateway.desk import ledger_commands

    do(path, "UPDATE entry SET seq = 9 WHERE id = 50")
    with pytest.raises(SystemExit) as ended:
        ledger_commands.verify(ledger=path)
    assert ended.value.code == 3
    assert "NOT INTACT. First: entry 50: it was altered" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        ledger_commands.verify(ledger=path, as_json=True)
    assert ended.value.code == 3
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert captured.err == ""
    assert said["intact"] is False
    assert said["findings"][0]["entry"] == 50
    assert said["entries"] == asked(path, "SELECT COUNT(*) FROM entry")


def test_keys_of_the_small_clinic_are_all_enrolled(path: Path) -> None:
    assert asked(path, "SELECT COUNT(*) FROM pen_key") == len(KEYS) + 1


# ---- where chains go on ----


def test_two_programs_that_write_in_turn_make_one_chain(new_ledger: NewLedger) -> None:
    """Each remembers where the pens' chains ended, and notices that the other has written."""
    one = new_ledger()
    two = Ledger.open(str(one.engine.url.database))
    pens = [HonestPen("pen-01"), HonestPen("pen-02")]
    dice = random.Random(3)
    for _ in range(60):
        entries = []
        for pen in dice.choices(pens, k=dice.randrange(1, 4)):
            sent = pen.boot()
            entries.append(NewEntry("record", sent.message, pen.pen_id, 1, pen.seq))
            if dice.random() < 0.2:
                entries.append(NewEntry("other", b"{}", pen.pen_id, 1))  # of the pen, without a number
        lanes = {(pen.pen_id, 1): lane_row(pen) for pen in pens}
        dice.choice([one, two]).commit(Group(entries=entries, lanes=lanes), NOW_UTC_MS)
    two.close()
    assert prove(str(one.engine.url.database)).findings == []


def lane_row(pen: HonestPen) -> dict[str, Any]:
    """What the intake notes of a pen that has only booted."""
    columns = ("boot_utc_ms", "opened_seq", "last_use_id", "boot", "board", "faults")
    row = dict.fromkeys((*columns, "hello_boot", "hello_connection"))
    return row | {"pen": pen.pen_id, "epoch": 1, "next_seq": pen.seq + 1}


def test_a_commit_that_failed_leaves_no_trace_in_the_chains(desk: Desk) -> None:
    pen = HonestPen()
    desk.take(pen.boot())
    desk.receive(pen.boot(), pen.boot())
    good = desk.intake.group
    bad = Group(entries=[*good.entries, NewEntry("record", b"x", "pen-01", 1, 1)])  # 1 is taken
    for _ in range(2):
        with pytest.raises(IntegrityError):
            desk.ledger.commit(bad, NOW_UTC_MS)
    desk.ledger.commit(good, NOW_UTC_MS)
    desk.intake.group = Group()
    desk.take(pen.boot())
    assert prove(str(desk.ledger.engine.url.database)).findings == []
