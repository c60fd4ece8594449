"""Checkpoints: what the ledger held at one entry, signed, so that it can be kept elsewhere.

A chain shows what was changed in it, but not that it was cut off at its end or written anew as a whole.
A checkpoint outside the ledger's reach shows both. It is two lines of text: a statement in JSON, whose
bytes are signed with Ed25519 (RFC 8032), and the signature in hex. The same two lines are an entry of
the ledger, right after the one that they speak of; so they can be written into a folder at any time,
and the folder's newest file is the mark up to which that was done.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from needletrail_gateway.core.treatment import iso
from needletrail_gateway.record import schema
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Ledger, NewEntry, append, to_json

KIND = "checkpoint"
SUFFIX = ".checkpoint"
PUBLIC_SUFFIX = ".pub"
VERSION = 1
_HOUR_MS = 3_600_000
_SIGNATURE = re.compile(rb"[0-9a-f]{128}")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "clinic": str,
    "entry": int,
    "chain": str,
    "kinds": dict,
    "pens": dict,
    "made": str,
    "utc_ms": int,
    "previous": (str, type(None)),
    "key": str,
}

log = structlog.get_logger()


class CheckpointSettings(BaseModel):
    """Signed checkpoints of the ledger; leave the section out to do without."""

    model_config = ConfigDict(extra="forbid")

    key: Path
    folder: Path | None = None
    every_entries: int = Field(default=10_000, ge=1)
    every_hours: float = Field(default=24, gt=0)


class CheckpointError(LedgerError):
    """A key or a checkpoint that can not be used: the file, the cause, and what to do about it."""


# ---- keys ----


def make_key(path: Path) -> str:
    """A new private key that only its owner may read, and FILE.pub beside it. Returns the key's name.

    CheckpointError if one of the two files is there already, or can not be written.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    open_half = public_file(path)
    if open_half.exists():
        raise CheckpointError(f"{open_half}: is there already. Give another name.")
    _write_new(path, secret, 0o600)
    _write_new(open_half, _public_pem(key.public_key()), 0o644)
    return key_name(key.public_key())


def public_file(path: Path) -> Path:
    """Where the public half of a key is."""
    return path.with_name(path.name + PUBLIC_SUFFIX)


def key_name(key: Ed25519PublicKey) -> str:
    """A short name of a key, for people to compare: the beginning of its SHA-256."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def read_key(path: Path) -> Ed25519PrivateKey:
    """A private key; CheckpointError if the file holds none, or others may read it."""
    try:
        pem = path.read_bytes()
        is_open = path.stat().st_mode & 0o077
    except OSError as error:
        raise CheckpointError(f"{path}: can not be read: {error.strerror}. {_MAKE_ONE}") from error
    if is_open:
        raise CheckpointError(f"{path}: others may read this key. Say: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: is no private key without password. {_MAKE_ONE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CheckpointError(f"{path}: is no Ed25519 key. {_MAKE_ONE}")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """A public key; CheckpointError if the file holds none."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: can not be read: {error.strerror}.") from error
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as error:
        what = "is a private key" if b"PRIVATE KEY" in pem else "is no public key"
        raise CheckpointError(f"{path}: {what}. Give the file that ends in .pub.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise CheckpointError(f"{path}: is no Ed25519 key. Give one made by `needletrail ledger key`.")
    return key


_MAKE_ONE = "Give a key made by `needletrail ledger key`."


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise CheckpointError(f"{path}: is there already. Give another name.") from None
    except OSError as error:
        raise CheckpointError(f"{path}: can not be written: {error.strerror}.") from error
    with os.fdopen(number, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


# ---- what is signed ----


@dataclass(frozen=True)
class Checkpoint:
    """What was signed, and by whom. `text` is the signed line.

    chain: the link of the entry. kinds: how many entries there are of each kind up to it. pens: the
    newest entry and link of each pen and key epoch, by "PEN EPOCH". previous: SHA-256 of the text
    before this one. key: the name of the key that signed.
    """

    text: bytes
    signature: bytes
    clinic: str
    entry: int
    chain: str
    kinds: dict[str, int]
    pens: dict[str, Any]
    made: str
    utc_ms: int
    previous: str | None
    key: str

    @classmethod
    def read(cls, data: bytes, name: str) -> Self:
        """The two lines; CheckpointError, with `name` as the place, if they are none."""
        lines = data.split(b"\n")
        try:
            if len(lines) != 3 or lines[2] or not _SIGNATURE.fullmatch(lines[1]):
                raise ValueError
            said = json.loads(lines[0])
            if not isinstance(said, dict) or said.get("needletrail") != KIND:
                raise ValueError
            if type(said.get("version")) is not int:
                raise ValueError
            if said["version"] != VERSION:
                raise CheckpointError(
                    f"{name}: is a checkpoint of version {said['version']}, this program reads "
                    f"version {VERSION}. Upgrade Needletrail."
                )
            fields = {key: said[key] for key in _FIELDS}
            if any(not isinstance(fields[key], kind) for key, kind in _FIELDS.items()):
                raise ValueError
        except (ValueError, KeyError):
            raise CheckpointError(
                f"{name}: is not a checkpoint: one line of JSON and one with its signature. "
                "Copy it again, byte for byte."
            ) from None
        return cls(lines[0], bytes.fromhex(lines[1].decode()), **fields)

    @property
    def data(self) -> bytes:
        """The two lines."""
        return self.text + b"\n" + self.signature.hex().encode() + b"\n"

    @property
    def sha256(self) -> str:
        """What the next checkpoint says of this one."""
        return hashlib.sha256(self.text).hexdigest()

    def is_signed_by(self, keys: Sequence[Ed25519PublicKey]) -> bool:
        """Whether one of these keys signed it."""
        for key in keys:
            try:
                key.verify(self.signature, self.text)
            except InvalidSignature:
                continue
            return True
        return False


def make(ledger: Ledger, key: Ed25519PrivateKey, now_utc_ms: int) -> Checkpoint:
    """Sign what the ledger holds now, as its next entry. If nothing came since the last one, that one.

    LedgerError if the ledger holds no registry yet.
    """
    found = ledger.registry()
    if found is None:
        raise LedgerError("the ledger holds no registry yet, so there is nothing to sign")
    clinic = found[1].clinic.id
    with ledger.engine.begin() as connection:
        columns = schema.entry.c
        last = connection.execute(
            select(columns.id, columns.kind, columns.chain, columns.body)
            .order_by(columns.id.desc())
            .limit(1)
        ).one()
        before = _newest(connection)
        if last.kind == KIND and before is not None:
            return before
        # What was signed by this very key need not be counted again.
        known = before if before is not None and before.is_signed_by([key.public_key()]) else None
        kinds, pens = _held(connection, known)
        statement = {
            "needletrail": KIND,
            "version": VERSION,
            "clinic": clinic,
            "entry": last.id,
            "chain": last.chain.hex(),
            "kinds": kinds,
            "pens": pens,
            "made": iso(now_utc_ms),
            "utc_ms": now_utc_ms,
            "previous": None if before is None else before.sha256,
            "key": key_name(key.public_key()),
        }
        text = to_json(statement)
        data = text + b"\n" + key.sign(text).hex().encode() + b"\n"
        append(connection, [NewEntry(KIND, data)], now_utc_ms)
    return Checkpoint.read(data, KIND)


def _newest(connection: Connection) -> Checkpoint | None:
    columns = schema.entry.c
    row = connection.execute(
        select(columns.id, columns.body)
        .where(columns.kind == KIND)
        .order_by(columns.id.desc())
        .limit(1)
    ).first()
    return None if row is None else Checkpoint.read(row.body, f"entry {row.id}")


def _held(connection: Connection, known: Checkpoint | None) -> tuple[dict[str, int], dict[str, Any]]:
    """How many entries of each kind, and where each pen's chain ends."""
    columns = schema.entry.c
    after = 0 if known is None else known.entry
    kinds = dict(known.kinds) if known is not None else {}
    counts = select(columns.kind, func.count()).where(columns.id > after).group_by(columns.kind)
    for kind, count in connection.execute(counts):
        kinds[kind] = kinds.get(kind, 0) + count
    pens = dict(known.pens) if known is not None else {}
    newest = (
        select(func.max(columns.id))
        .where(columns.id > after, columns.pen_chain.is_not(None))
        .group_by(columns.pen, columns.epoch)
    )
    ends = select(columns.id, columns.pen, columns.epoch, columns.pen_chain)
    for row in connection.execute(ends.where(columns.id.in_(newest))):
        pens[pen_name(row.pen, row.epoch)] = {"entry": row.id, "chain": row.pen_chain.hex()}
    return dict(sorted(kinds.items())), dict(sorted(pens.items()))


def pen_name(pen_id: str, epoch: int) -> str:
    """How a checkpoint names a pen in a key epoch."""
    return f"{pen_id} {epoch}"


# ---- keeping them elsewhere ----


def file_name(checkpoint: Checkpoint) -> str:
    """The name of its file; names sort as the entries do."""
    return f"{checkpoint.clinic}-{checkpoint.entry:012}{SUFFIX}"


def hand_out(ledger: Ledger, folder: Path) -> list[Path]:
    """Write each checkpoint that is newer than the newest file in the folder. OSError if that fails."""
    found = ledger.registry()
    if found is None:
        return []
    pattern = re.compile(rf"{re.escape(found[1].clinic.id)}-(\d{{12}}){re.escape(SUFFIX)}")
    there = (pattern.fullmatch(path.name) for path in folder.iterdir())
    mark = max((int(match[1]) for match in there if match), default=0)
    written = []
    after = mark + 1  # the checkpoint of entry N is entry N + 1
    while entries := ledger.entries(after, KIND, most=100):
        for entry in entries:
            checkpoint = Checkpoint.read(entry.body, f"entry {entry.id}")
            written.append(folder / file_name(checkpoint))
            write_whole(written[-1], checkpoint.data)
            after = entry.id
    return written


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


class Notary:
    """Makes a checkpoint whenever one is due: after so many entries, or so many hours."""

    def __init__(
        self, ledger: Ledger, settings: CheckpointSettings, clock_utc_ms: Callable[[], int]
    ) -> None:
        """CheckpointError if the key or the folder can not be used."""
        self._ledger = ledger
        self._settings = settings
        self._clock_utc_ms = clock_utc_ms
        self._key = read_key(settings.key)
        folder = settings.folder
        if folder is not None and not folder.is_dir():
            raise CheckpointError(
                f"{folder}: there is no such folder for checkpoints. Create it first."
            )
        self._newest = self._read_newest()
        self._is_behind = True  # the folder may lack what was signed before

    def _read_newest(self) -> Checkpoint | None:
        with self._ledger.reading() as connection:
            return _newest(connection)

    def look(self) -> Checkpoint | None:
        """Make one if it is time, and hand out what has not been. What fails is tried again later."""
        made = None
        try:
            if self._is_due():
                made = self._newest = make(self._ledger, self._key, self._clock_utc_ms())
                self._is_behind = True
                log.info("checkpoint made", entry=made.entry, sha256=made.sha256)
            if self._is_behind and self._settings.folder is not None:
                hand_out(self._ledger, self._settings.folder)
            self._is_behind = False
        except (OSError, LedgerError, SQLAlchemyError) as error:
            log.error("no checkpoint could be made or written; trying again", error=str(error))
        return made

    def _is_due(self) -> bool:
        last_id = self._ledger.last_entry_id()
        newest = self._newest
        if newest is None:
            return last_id > 0
        fresh = last_id - newest.entry - 1
        waited_ms = self._clock_utc_ms() - newest.utc_ms
        return fresh >= self._settings.every_entries or (
            fresh > 0 and waited_ms >= self._settings.every_hours * _HOUR_MS
        )
