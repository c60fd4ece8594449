"""Proving a ledger: every link, MAC, number, table and checkpoint, and the first entry that is wrong.

Strategy: `Walk` is a fold over the entries as they stand in the table. It trusts nothing that it has
not recomputed, and after something wrong goes on from what stands there, so that one alteration is one
finding. What the other tables must say is gathered on the way and compared at the end
(record/projections). A chain alone can not show that its end is missing, nor that all of it was written
anew; a checkpoint kept elsewhere shows both, and without one the answer says so.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection

from needletrail_gateway.core.notes import ACKNOWLEDGED, ATTESTED, NOTE
from needletrail_gateway.core.treatment import session_name
from needletrail_gateway.record import chain, checkpoints
from needletrail_gateway.record.checkpoints import Checkpoint, CheckpointError
from needletrail_gateway.record.projections import Expected, compare
from needletrail_gateway.record.retention import Removal, RemovalError
from needletrail_gateway.record.snapshot import Row, entries, number, rows, snapshot
from needletrail_protocol import messages, topics
from needletrail_protocol.authentication import MacKey, external_data, open_envelope, verify
from needletrail_protocol.errors import ProtocolError
from needletrail_protocol.readings import decode_record, sequence_of

FINDINGS_KEPT = 100
_PROGRESS_EVERY = 500
_FROM_PENS = ("record", "refused")
_NO_SESSION = (messages.BOOT, messages.FAULT, messages.NOT_ARMED)
_HASH_BYTES = 32
_LINE_END = re.compile(r"[\r\n]")

Lane = tuple[str, int]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finding:
    """Something wrong. `entry` is where it shows; None if it is in no entry."""

    entry: int | None
    said: str

    def __str__(self) -> str:
        return self.said if self.entry is None else f"entry {self.entry}: {self.said}"


@dataclass
class Proof:
    """What was proven of a ledger, what was not, and what is wrong, the first of it first.

    records: authentic messages from pens, of which `macs_checked` were checked with the pen's key.
    keys_missing: "PEN EPOCH" whose key is not there. removed: bodies of which only the digest is left.
    signed: checkpoints in the ledger with a good signature. kept: checkpoints given that agree.
    vouched: up to which entry a checkpoint that was given, or one with a good signature, speaks.
    """

    entries: int = 0
    link: str = chain.FIRST.hex()
    kinds: Counter[str] = field(default_factory=Counter)
    records: int = 0
    macs_checked: int = 0
    keys_missing: list[str] = field(default_factory=list)
    removed: int = 0
    checkpoints: int = 0
    signed: int = 0
    kept: int = 0
    vouched: int = 0
    findings: list[Finding] = field(default_factory=list)
    more_findings: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        """Whether nothing wrong was found."""
        return not self.findings


class _WrongError(Exception):
    """What is wrong with the entry at hand."""


@dataclass
class Walk:
    """The fold. take() each row in the order of the numbers; copy() to try two ways from one place.

    keys: of the pens, by pen and epoch. public_keys: who may have signed checkpoints. kept: checkpoints
    from elsewhere. old_until: the number of the entries that had links of before (kind `rechain`).
    """

    keys: Mapping[Lane, bytes] = field(default_factory=dict)
    public_keys: Sequence[Ed25519PublicKey] = ()
    kept: Mapping[int, Sequence[Checkpoint]] = field(default_factory=dict)
    old_until: int = 0

    last_id: int = 0
    link: bytes = chain.FIRST
    other_link: bytes | None = None  # what it ought to have been, if it was not
    of_pens: dict[Lane, tuple[int, bytes]] = field(default_factory=dict)
    next_seq: dict[Lane, int] = field(default_factory=dict)
    is_broken: bool = False  # from here on each pen's link and number is known when it is met again
    clinic: str | None = None
    old_link: bytes | None = chain.FIRST
    last_checkpoint: Checkpoint | None = None
    kinds: Counter[str] = field(default_factory=Counter)
    expected: Expected = field(default_factory=Expected)
    unexplained: bytearray = field(default_factory=bytearray)  # a bit an entry without body
    proof: Proof = field(default_factory=Proof)
    _mac_keys: dict[Lane, tuple[MacKey, bytes] | None] = field(default_factory=dict)

    def copy(self) -> Self:
        """The same place in the fold; what either takes from here does not touch the other."""
        other = copy(self)
        other.of_pens = dict(self.of_pens)
        other.next_seq = dict(self.next_seq)
        other.kinds = self.kinds.copy()
        other.expected = self.expected.copy()
        other.unexplained = bytearray(self.unexplained)
        other.proof = copy(self.proof)
        for name in ("findings", "remarks", "keys_missing"):
            setattr(other.proof, name, list(getattr(self.proof, name)))
        return other

    # ---- one entry ----

    def take(self, row: Row) -> None:
        """The next row of the table."""
        if type(row.id) is not int or row.id <= self.last_id:
            self._find(None, f"there is an entry with the number {row.id}, which none can have")
            return
        try:
            self._check_columns(row)
        except _WrongError as wrong:
            self._find(row.id, str(wrong))
            self._break()
            self._go_on(row)
            return
        self._check_number(row)
        wrong_link = self._check_links(row)
        if wrong_link is not None:
            self._find(row.id, wrong_link)
            self._break()
        else:
            try:
                self._check_meaning(row)
            except _WrongError as wrong:
                self._find(row.id, str(wrong))
        self._check_kept(row)
        self._go_on(row)

    def _find(self, entry: int | None, said: str) -> None:
        if len(self.proof.findings) < FINDINGS_KEPT:
            self.proof.findings.append(Finding(entry, said))
        else:
            self.proof.more_findings += 1

    def _break(self) -> None:
        """Something is not what it was, and so it is not known what must follow it."""
        self.is_broken = True
        self.of_pens.clear()
        self.next_seq.clear()

    def _check_columns(self, row: Row) -> None:
        for name, kinds in _COLUMNS.items():
            value = getattr(row, name)
            if type(value) not in kinds:
                raise _WrongError(f"its {name} was altered: no entry has such a value there")
            if isinstance(value, str) and _LINE_END.search(value):
                raise _WrongError(f"its {name} was altered: it has a line's end in it")
        for name in ("body_sha256", "chain", "pen_chain"):
            value = getattr(row, name)
            if value is not None and len(value) != _HASH_BYTES:
                raise _WrongError(f"its {name} was altered: it is no SHA-256")

    def _check_number(self, row: Row) -> None:
        if row.id == self.last_id + 1:
            return
        first, last = self.last_id + 1, row.id - 1
        missing = "is missing" if first == last else f"and all up to entry {last} are missing"
        self._find(first, missing)
        self._break()

    def _check_links(self, row: Row) -> str | None:
        """What is wrong with the links, if anything is."""
        if row.body_sha256 is None:
            digest = chain.body_digest(row.body)
        elif row.body:
            return "its body is there, and so is the mark of one that was removed"
        else:
            digest = row.body_sha256
        columns = chain.head(*row[:7])
        of_pen = row.pen_chain
        is_follower = row.id == self.last_id + 1
        expected = chain.link(self.link, columns, digest, of_pen)
        if is_follower and row.chain != expected:
            other = None
            if self.other_link is not None:
                other = chain.link(self.other_link, columns, digest, of_pen)
            if row.chain != other:
                self.other_link = expected
                return "it was altered, or is not the one that stood here: its link is wrong"
        self.other_link = None
        if (row.pen is None or row.epoch is None) != (of_pen is None):
            return "its pen_chain was altered: only entries of a pen and an epoch have one"
        if of_pen is not None:
            lane = (row.pen, row.epoch)
            if lane in self.of_pens or not self.is_broken:
                before = self.of_pens.get(lane, (0, chain.FIRST))[1]
                if of_pen != chain.pen_link(before, columns, digest):
                    return (
                        f"it does not follow pen {row.pen}'s entry before it: its pen's link is wrong"
                    )
        if self.old_link is not None and row.id <= self.old_until:
            text = self.old_link + columns + row.body
            removed = row.body_sha256 is not None
            self.old_link = None if removed else hashlib.sha256(text).digest()
        return None

    def _go_on(self, row: Row) -> None:
        """Take what stands there as what the next entry must follow."""
        self.last_id = row.id
        if isinstance(row.chain, bytes):
            self.link = row.chain
        if isinstance(row.kind, str):
            self.kinds[row.kind] += 1
        if isinstance(row.pen_chain, bytes):
            self.of_pens[row.pen, row.epoch] = (row.id, row.pen_chain)

    # ---- what an entry says ----

    def _check_meaning(self, row: Row) -> None:
        is_removed = row.body_sha256 is not None
        if is_removed:
            self.proof.removed += 1
            place = row.id >> 3
            if len(self.unexplained) <= place:
                self.unexplained.extend(bytes(place + 1 - len(self.unexplained)))
            self.unexplained[place] |= 1 << (row.id & 7)
        if row.kind in _FROM_PENS:
            self._check_sequence(row)
            self.proof.records += 1
            if not is_removed:
                self._check_message(row)
        elif not is_removed:
            check = _CHECKS.get(row.kind)
            if check is not None:
                check(self, row, _json(row))

    def _check_sequence(self, row: Row) -> None:
        lane = (row.pen, row.epoch)
        if None in lane or row.seq is None:
            raise _WrongError("it is a pen's record, and names no pen, no epoch or no number")
        awaited = self.next_seq.get(lane, None if self.is_broken else 1)
        self.next_seq[lane] = row.seq + 1
        self.expected.next_seq[lane] = row.seq + 1
        if awaited is not None and row.seq != awaited:
            raise _WrongError(
                f"it is record {row.seq} of pen {row.pen}; {awaited} comes next, and no gap is noted"
            )

    def _check_message(self, row: Row) -> None:
        try:
            epoch, payload, tag = open_envelope(row.body)
        except ProtocolError as error:
            raise _WrongError(f"its body is no sealed message: {error.detail}") from None
        if epoch != row.epoch:
            raise _WrongError(f"its message was sealed in epoch {epoch}, not {row.epoch}")
        key = self._key_of((row.pen, row.epoch))
        if key is not None:
            try:
                verify(key[0], key[1], payload, tag)
            except ProtocolError:
                raise _WrongError(
                    f"pen {row.pen} did not seal this message: its MAC is wrong under the pen's key"
                ) from None
            self.proof.macs_checked += 1
        if row.kind != "record":
            if sequence_of(payload) not in (None, row.seq):
                raise _WrongError(f"its message has another number than {row.seq}")
            return
        try:
            record = decode_record(payload)
        except ProtocolError as error:
            raise _WrongError(f"its message can not be read: {error.detail}") from None
        if record.seq != row.seq:
            raise _WrongError(f"its message is record {record.seq}, not {row.seq}")
        if record.kind in _NO_SESSION:
            return
        session_id = session_name(row.pen, row.epoch, record.session)
        if session_id != row.session_id:
            raise _WrongError(f"its message is of session {session_id}, not {row.session_id}")
        if record.kind == messages.OPEN:
            is_kept = record.cause == messages.OPENED_BY_BADGE
            self.expected.open(row, session_id, is_kept=is_kept)
        elif record.kind == messages.ALERT_SHOWN:
            self.expected.show(row.id, session_id, record.code)

    def _key_of(self, lane: Lane) -> tuple[MacKey, bytes] | None:
        found = self._mac_keys.get(lane)
        if found is None and lane in self.keys and self.clinic is not None:
            pen_id, epoch = lane
            try:
                external = external_data(
                    topics.build(self.clinic, pen_id, topics.RECORD), pen_id, epoch
                )
                found = self._mac_keys[lane] = (MacKey(self.keys[lane], epoch), external)
            except ValueError as error:
                raise _WrongError(f"it can have no MAC: {error}") from None
        return found

    def _check_registry(self, row: Row, said: dict[str, Any]) -> None:
        self.expected.versions[row.id] = True
        clinic = said.get("clinic")
        for change in said.get("changes", []):
            if isinstance(change, dict) and change.get("section") == "clinic":
                clinic = change.get("after")
        found = clinic.get("id") if isinstance(clinic, dict) else None
        if found is None:
            return
        if self.clinic not in (None, found):
            raise _WrongError(f"it makes the clinic {self.clinic} the clinic {found}")
        self.clinic = str(found)

    def _check_policy(self, row: Row, _said: dict[str, Any]) -> None:
        self.expected.packs[row.id] = True

    def _check_gap(self, row: Row, said: dict[str, Any]) -> None:
        lane = (row.pen, row.epoch)
        first, last = _numbers(said, "from_seq", "to_seq")
        awaited = self.next_seq.get(lane, None if self.is_broken else 1)
        if (awaited is not None and first != awaited) or last < first:
            raise _WrongError(f"it notes a gap from {first} to {last}, where {awaited} comes next")
        self.next_seq[lane] = self.expected.next_seq[lane] = last + 1

    def _check_key(self, row: Row, said: dict[str, Any]) -> None:
        [epoch] = _numbers(said, "epoch")
        lane = (str(said.get("pen")), epoch)
        self.expected.enrol(row, lane)
        key = self.keys.get(lane)
        if key is not None and hashlib.sha256(key).hexdigest() != said.get("key_sha256"):
            self.keys = {known: one for known, one in self.keys.items() if known != lane}
            raise _WrongError(f"the key of pen {lane[0]} in table pen_key is another one than it says")

    def _check_verdict(self, row: Row, said: dict[str, Any]) -> None:
        if said.get("session_id") != row.session_id:
            raise _WrongError(f"its verdict is on session {said.get('session_id')}")
        self.expected.judge(row, said)

    def _check_alert(self, row: Row, said: dict[str, Any]) -> None:
        if said.get("session_id") != row.session_id:
            raise _WrongError(f"its alert is on session {said.get('session_id')}")
        self.expected.alert(row, said)

    def _check_acknowledged(self, row: Row, said: dict[str, Any]) -> None:
        if said.get("session") != row.session_id:
            raise _WrongError(f"it acknowledges an alert of session {said.get('session')}")
        alert = (str(row.session_id), str(said.get("code")))
        if alert not in self.expected.alerts and not self.is_broken:
            raise _WrongError(f"it acknowledges an alert that was not raised: {alert[1]}")
        self.expected.acknowledge(row, alert)

    def _check_pin(self, row: Row, said: dict[str, Any]) -> None:
        self.expected.pin(row, said)

    def _check_note(self, row: Row, said: dict[str, Any]) -> None:
        self.expected.note(row, said)

    def _check_rechain(self, row: Row, said: dict[str, Any]) -> None:
        [last] = _numbers(said, "entries")
        if last != row.id - 1:
            raise _WrongError("it is not the entry after those that were chained anew")
        bad = said.get("first_bad")
        if bad is not None:
            self._find(
                bad, f"its link was wrong already when the ledger was chained anew (entry {row.id})"
            )
        elif self.old_link is not None and self.old_link.hex() != said.get("last_link"):
            raise _WrongError("what stands before it is not what was chained anew")

    def _check_removal(self, row: Row, _said: dict[str, Any]) -> None:
        try:
            removal = Removal.read(row.kind, row.body)
        except RemovalError as error:
            raise _WrongError(str(error)) from None
        still_there = None
        for first, last in removal.ranges:
            for entry in range(max(first, 1), min(last, row.id) + 1):
                place, bit = entry >> 3, 1 << (entry & 7)
                if place < len(self.unexplained) and self.unexplained[place] & bit:
                    self.unexplained[place] ^= bit
                elif still_there is None:
                    still_there = entry
        if still_there is not None and not self.is_broken:
            raise _WrongError(f"it says that the body of entry {still_there} is gone, and it is not")

    def _check_checkpoint(self, row: Row, _said: dict[str, Any]) -> None:
        try:
            found = Checkpoint.read(row.body, "its body")
        except CheckpointError as error:
            raise _WrongError(str(error)) from None
        before, self.last_checkpoint = self.last_checkpoint, found
        self.proof.checkpoints += 1
        if found.entry != row.id - 1:
            raise _WrongError("its checkpoint is not of the entry before it")
        if found.previous != (None if before is None else before.sha256) and not self.is_broken:
            raise _WrongError("its checkpoint does not follow the checkpoint before it")
        self._compare(found, "its checkpoint")
        if self.public_keys:
            if not found.is_signed_by(self.public_keys):
                raise _WrongError(
                    f"its checkpoint is not signed by the key given, it says by {found.key}"
                )
            self.proof.signed += 1
            self.proof.vouched = max(self.proof.vouched, found.entry)

    def _compare(self, found: Checkpoint, name: str) -> None:
        """A checkpoint of the newest entry, with what was found up to there."""
        if found.clinic != self.clinic:
            raise _WrongError(f"{name} is of the clinic {found.clinic}")
        if found.chain != self.link.hex():
            raise _WrongError(
                f"{name} of {found.made} has another link: this entry or one before it was altered, "
                "and the links after it were made anew"
            )
        if found.kinds != dict(self.kinds) and not self.is_broken:
            raise _WrongError(f"{name} counted other entries")
        pens = {
            checkpoints.pen_name(*lane): {"entry": entry, "chain": link.hex()}
            for lane, (entry, link) in self.of_pens.items()
        }
        if found.pens != pens and not self.is_broken:
            raise _WrongError(f"{name} has other links of pens")

    def _check_kept(self, row: Row) -> None:
        """Checkpoints that were kept elsewhere and speak of this entry, or stood here themselves."""
        for checkpoint in self.kept.get(row.id - 1, ()):
            if row.body == checkpoint.data:
                self.proof.vouched = max(self.proof.vouched, row.id)
            else:
                self._find(row.id, "is not the checkpoint that was kept elsewhere, and stood here")
        found = self.kept.get(row.id)
        if not found:
            return
        after = self.copy()
        after._go_on(row)
        for checkpoint in found:
            try:
                after._compare(checkpoint, "the checkpoint that was kept elsewhere")
            except _WrongError as wrong:
                self._find(row.id, str(wrong))
            else:
                self.proof.kept += 1
                self.proof.vouched = max(self.proof.vouched, row.id)

    # ---- the end ----

    def end(self) -> None:
        """There are no more entries: what must have come, and what is left to explain."""
        last = self.last_id
        for entry, kept in self.kept.items():
            if entry >= last:  # it was itself the entry after that
                missing = (
                    "is missing" if entry == last else f"and all up to entry {entry + 1} are missing"
                )
                made = kept[0].made
                self._find(
                    last + 1, f"{missing}: the ledger was cut off after the checkpoint of {made}"
                )
        for place, bits in enumerate(self.unexplained):
            if bits and not self.is_broken:
                entry = 8 * place + (bits & -bits).bit_length() - 1
                self._find(entry, "its body is gone, and no entry says who removed it")
        proof = self.proof
        proof.entries = sum(self.kinds.values())
        proof.link = self.link.hex()
        proof.kinds = self.kinds
        proof.keys_missing = [
            checkpoints.pen_name(*lane)
            for lane in sorted(self.expected.next_seq)
            if lane not in self.keys
        ]


def _json(row: Row) -> dict[str, Any]:
    if row.kind in _NOT_JSON:
        return {}
    try:
        said = json.loads(row.body)
    except ValueError:
        raise _WrongError("its body is not the JSON that it was") from None
    if not isinstance(said, dict):
        raise _WrongError("its body is not what such an entry says")
    return said


def _numbers(said: Mapping[str, Any], *names: str) -> list[int]:
    found = [said.get(name) for name in names]
    if any(type(value) is not int for value in found):
        raise _WrongError("its body is not what such an entry says")
    return [value for value in found if isinstance(value, int)]


_COLUMNS: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "pen": (str, type(None)),
    "epoch": (int, type(None)),
    "seq": (int, type(None)),
    "session_id": (str, type(None)),
    "committed_utc_ms": (int,),
    "body": (bytes,),
    "body_sha256": (bytes, type(None)),
    "chain": (bytes,),
    "pen_chain": (bytes, type(None)),
}
_CHECKS: dict[str, Callable[[Walk, Row, dict[str, Any]], None]] = {
    "change": Walk._check_registry,
    "registry": Walk._check_registry,
    "policy": Walk._check_policy,
    "gap": Walk._check_gap,
    "enrolment": Walk._check_key,
    "retirement": Walk._check_key,
    "verdict": Walk._check_verdict,
    "alert": Walk._check_alert,
    ACKNOWLEDGED: Walk._check_acknowledged,
    "pin": Walk._check_pin,
    NOTE: Walk._check_note,
    ATTESTED: Walk._check_note,
    "rechain": Walk._check_rechain,
    "expiry": Walk._check_removal,
    "redaction": Walk._check_removal,
    checkpoints.KIND: Walk._check_checkpoint,
}
_NOT_JSON = ("expiry", "redaction", checkpoints.KIND)  # they have readers of their own


def prove(
    location: str | Path,
    kept: Iterable[Checkpoint] = (),
    public_keys: Sequence[Ed25519PublicKey] = (),
    progress: OnProgress | None = None,
) -> Proof:
    """Check the ledger at a path or URL against itself, checkpoints kept elsewhere, and their keys.

    Reads and never writes; the gateway may run meanwhile. LedgerError if there is no ledger to read.
    """
    with snapshot(location) as connection:
        return prove_on(connection, kept, public_keys, progress)


def prove_on(
    connection: Connection,
    kept: Iterable[Checkpoint] = (),
    public_keys: Sequence[Ed25519PublicKey] = (),
    progress: OnProgress | None = None,
) -> Proof:
    """The same on a connection, whose transaction should see one moment."""
    walk = begin(connection, kept, public_keys)
    total = number(connection, "SELECT COUNT(*) FROM entry")
    done = 0
    for row in entries(connection):
        walk.take(row)
        done += 1
        if progress is not None and done % _PROGRESS_EVERY == 0:
            progress(done, total)
    if progress is not None:
        progress(done, total)
    return finish(walk, connection)


def begin(
    connection: Connection,
    kept: Iterable[Checkpoint] = (),
    public_keys: Sequence[Ed25519PublicKey] = (),
) -> Walk:
    """A walk that has taken no entry yet."""
    by_entry: dict[int, list[Checkpoint]] = {}
    for checkpoint in kept:
        by_entry.setdefault(checkpoint.entry, []).append(checkpoint)
    keys = {
        (row["pen"], row["epoch"]): bytes(row["key"])
        for row in rows(connection, "pen_key", "pen, epoch")
        if isinstance(row["key"], bytes | memoryview)
    }
    old_until = number(connection, "SELECT MIN(id) FROM entry WHERE kind = 'rechain'") - 1
    walk = Walk(keys, public_keys, by_entry, old_until)
    for entry, found in by_entry.items():
        for checkpoint in found:
            if public_keys and not checkpoint.is_signed_by(public_keys):
                walk._find(
                    entry, "the checkpoint that was kept elsewhere is not signed by the key given"
                )
    return walk


def finish(walk: Walk, connection: Connection) -> Proof:
    """End the walk, compare the other tables, and say what remains unproven."""
    walk.end()
    proof = walk.proof
    proof.findings.sort(key=lambda found: (found.entry is None, found.entry or 0))
    if not walk.is_broken:  # else a table may be right, and what it was made of is not
        for entry, said in compare(connection, walk.expected):
            walk._find(entry, said)
    proof.remarks.extend(_remarks(proof))
    return proof


def _remarks(proof: Proof) -> list[str]:
    said = []
    missing = len(proof.keys_missing)
    if missing:
        unchecked = proof.records - proof.macs_checked
        said.append(
            f"{missing} keys of pens are not there ({', '.join(proof.keys_missing[:5])}"
            f"{' …' if missing > 5 else ''}): of {unchecked} records the MAC was not checked."
        )
    if proof.removed:
        said.append(
            f"{proof.removed} bodies have expired or were forgotten. What they were is proven by their "
            "SHA-256 in the chain; their MACs can no longer be checked."
        )
    if proof.vouched < proof.entries:
        said.append(
            f"Nothing can be said of what may have stood after entry {proof.entries}, where the ledger "
            "ends" + _how(proof)
        )
    return said


def _how(proof: Proof) -> str:
    if proof.vouched:
        return (
            f". A checkpoint vouches for entries 1 to {proof.vouched}; what follows is chained to it."
        )
    return (
        ", nor whether all of it was written anew: that takes a checkpoint that was kept elsewhere "
        "(--checkpoint), or the public key of those in it (--public-key)."
    )
