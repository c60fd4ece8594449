"""Every entry of a ledger altered, deleted, swapped, put in or cut off: each is found, at its entry.

`python -m torture --ledger` does so with each of 10,000 entries. An alteration is SQL on the real file,
undone afterwards. Proving goes on from a copy of the walk as it stood before the entry, since what
comes before has not changed; that this is the same as proving from the beginning is a test's business
(tests/gateway/test_ledger_proof.py).
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, create_engine

sys.path.append(str(Path(__file__).resolve().parents[1] / "gateway"))

from needletrail_gateway.record import proof, snapshot
from needletrail_gateway.record.checkpoints import Checkpoint

# Each gives SQL for entry :n; the first wrong entry is then `n` itself, but for an insertion behind it.
COLUMNS = {
    "id": ["UPDATE entry SET id = 1000000000 WHERE id = :n"],
    "kind": ["UPDATE entry SET kind = kind || 'x' WHERE id = :n"],
    "pen": ["UPDATE entry SET pen = CASE WHEN pen IS NULL THEN 'pen-01' ELSE NULL END WHERE id = :n"],
    "epoch": ["UPDATE entry SET epoch = coalesce(epoch, 0) + 7000 WHERE id = :n"],
    "seq": ["UPDATE entry SET seq = coalesce(seq, 0) + 1000000 WHERE id = :n"],
    "session_id": [
        "UPDATE entry SET session_id = coalesce(session_id, 'pen-01-1-') || '1' WHERE id = :n"
    ],
    "committed_utc_ms": ["UPDATE entry SET committed_utc_ms = committed_utc_ms + 1 WHERE id = :n"],
    "body": ["UPDATE entry SET body = :body WHERE id = :n"],
    "body_sha256": ["UPDATE entry SET body_sha256 = zeroblob(32) WHERE id = :n"],
    "removed": ["UPDATE entry SET body_sha256 = :digest, body = x'' WHERE id = :n"],
    "chain": ["UPDATE entry SET chain = :chain WHERE id = :n"],
    "pen_chain": ["UPDATE entry SET pen_chain = coalesce(:pen_chain, zeroblob(32)) WHERE id = :n"],
    "deleted": ["DELETE FROM entry WHERE id = :n"],
    "swapped": [
        "UPDATE entry SET id = -1 WHERE id = :n",
        "UPDATE entry SET id = :n WHERE id = :n + 1",
        "UPDATE entry SET id = :n + 1 WHERE id = -1",
    ],
}
INSERTED, TRUNCATED = "inserted", "truncated"
WAYS = (*COLUMNS, INSERTED, TRUNCATED)


class NotFoundError(Exception):
    """An alteration that was not found, or told of another entry."""


def flipped(data: bytes | None, dice: random.Random) -> bytes | None:
    """One bit of it is another."""
    if not data:
        return data if data is None else b"\0"
    altered = bytearray(data)
    altered[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(altered)


def alter(connection: Connection, row: snapshot.Row, way: str, dice: random.Random) -> None:
    """Alter an entry in its table. Roll back to undo it."""
    values = {
        "n": row.id,
        "body": flipped(row.body, dice),
        "digest": proof.chain.body_digest(row.body),
        "chain": flipped(row.chain, dice),
        "pen_chain": flipped(row.pen_chain, dice),
    }
    for statement in COLUMNS[way]:
        changed = connection.exec_driver_sql(statement, values)
        if changed.rowcount != 1:
            raise NotFoundError(f"{way} did not alter entry {row.id}")


def first_finding(walk: proof.Walk, rows: Iterator[snapshot.Row]) -> proof.Finding | None:
    """Go on until something is wrong."""
    for row in rows:
        walk.take(row)
        if walk.proof.findings:
            return walk.proof.findings[0]
    walk.end()
    return min(walk.proof.findings, key=lambda found: found.entry or 0, default=None)


def torture_entry(
    connection: Connection, before: proof.Walk, row: snapshot.Row, last_id: int, dice: random.Random
) -> Iterator[str]:
    """Each way for one entry; NotFoundError if one is not found. `before` has taken all before it."""
    for way in COLUMNS:
        if way == "swapped" and row.id == last_id:
            continue
        alter(connection, row, way, dice)
        rows = snapshot.entries(connection, row.id - 1, at_once=3)
        if way == "removed":
            # Known only at the end, since a later entry might say who did it. Here it comes at once.
            rows = islice(rows, 1)
        finding = first_finding(before.copy(), rows)
        connection.rollback()
        expect(row.id, way, finding)
        yield way
    after = before.copy()
    after.take(row)
    inserted = (
        one._replace(id=row.id + 1 + number)
        for number, one in enumerate([row, *islice(snapshot.entries(connection, row.id, at_once=3), 3)])
    )
    finding = first_finding(after.copy(), inserted)
    if finding is None or finding.entry != row.id + 1:
        raise NotFoundError(f"a copy put in behind entry {row.id}: {finding}")
    yield INSERTED
    if row.id < last_id:
        expect(row.id + 1, TRUNCATED, first_finding(after, iter(())))
        yield TRUNCATED


def expect(entry: int, way: str, finding: proof.Finding | None) -> None:
    """NotFoundError unless that very entry was found to be wrong."""
    if finding is None or finding.entry != entry:
        raise NotFoundError(f"entry {entry}, {way}: {finding}")


def torture(
    path: Path, kept: Checkpoint, seed: int, share: float = 1.0, is_told: bool = False
) -> Counter[str]:
    """Alter each entry in each way, or a share of the entries. How many alterations of each kind."""
    dice = random.Random(seed)
    done: Counter[str] = Counter()
    engine = create_engine(f"sqlite:///{path}")
    began_s = time.monotonic()
    with engine.connect() as connection:
        walk = proof.begin(connection, [kept])
        rows = list(snapshot.entries(connection))
        connection.rollback()
        for row in rows:
            if dice.random() < share:
                done.update(torture_entry(connection, walk, row, rows[-1].id, dice))
            walk.take(row)
            if is_told and row.id % 500 == 0:
                print(
                    f"{row.id} entries, {done.total()} alterations, {time.monotonic() - began_s:.0f} s"
                )
        if walk.proof.findings:
            raise NotFoundError(f"the ledger itself is not intact: {walk.proof.findings[0]}")
    engine.dispose()
    return done


def main() -> int:
    """The campaign on a ledger of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ledger", action="store_true", help="this program")
    parser.add_argument("--entries", type=int, default=10_000, help="entries of the ledger (10,000)")
    parser.add_argument("--seed", type=int, default=1, help="where flipped bits are (1)")
    arguments = parser.parse_args()
    # The makers of honest ledgers are the gateway tests' own.
    import honest_ledger

    with tempfile.TemporaryDirectory() as folder:
        path, kept = honest_ledger.clinic_ledger(Path(folder), arguments.entries)
        done = torture(path, kept, arguments.seed, is_told=True)
    print(f"{done.total()} alterations, all found, each at its entry:")
    for way, count in done.items():
        print(f"  {way:17} {count:7}")
    return 0
