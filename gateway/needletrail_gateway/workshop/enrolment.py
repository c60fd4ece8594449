"""Giving a pen its identity: a key, an account at the broker, a place in the registry, and a pen.json.

A key belongs to a key epoch. Rotating it adds an epoch and keeps the old key on both sides, in the
registry and in pen.json: what the pen recorded under the old key still arrives, and the pen changes
over when its old journal is empty. The old key may go when the ledger holds a record of a newer epoch,
because that is the proof that the pen has changed over.

Keys come from the operating system's random numbers and are never shown.
"""

import re
import secrets
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from needletrail_gateway.core.registry.model import Pen, um
from needletrail_gateway.workshop.broker_access import (
    Account,
    access_lines,
    make_account,
    password_line,
)
from needletrail_gateway.workshop.errors import WorkshopError
from needletrail_gateway.workshop.pen_file import FILE, read_pen, write_pen, write_private
from needletrail_gateway.workshop.registry_file import Keys, RegistryFile
from needletrail_protocol.authentication import EPOCH_MAX, KEY_LENGTH
from needletrail_protocol.topics import is_identifier

CA_FILE = "ca.der"
PASSWORD_FILE = "mosquitto.password"
ACCESS_FILE = "mosquitto.acl"
PORT, TLS_PORT = 1883, 8883
VIRTUAL = "virtual"

FACTS = ("model", "cleared_class_ii", "label_max_mm", "accuracy_mm", "reading_tolerance_mm")


@dataclass(frozen=True)
class Place:
    """Where a pen will connect, and on what board. `ca`: a certificate, of the broker's authority."""

    board: str
    broker_host: str
    broker_port: int | None = None
    ca: Path | None = None
    wifi: Mapping[str, str] | None = None
    without_grant: str = "warn"
    motor_interlock: bool = False


@dataclass(frozen=True)
class Enrolled:
    """What came of it, without the secrets. `written` are the files, in the order of writing."""

    clinic: str
    pen: str
    epoch: int
    old_epochs: list[int] = field(default_factory=list)
    username: str | None = None
    written: list[Path] = field(default_factory=list)
    calibration_of: str | None = None

    def json(self) -> dict[str, Any]:
        """The same for machines."""
        return asdict(self) | {"written": [str(path) for path in self.written]}


def enroll(
    pen_id: str,
    registry_file: Path,
    out: Path,
    place: Place,
    like: str | None = None,
    *,
    is_forced: bool = False,
    is_dry: bool = False,
) -> Enrolled:
    """Give a pen its first key. It may be in the registry already, without a key.

    is_forced: it may even have a key, if its pen.json was lost or is to be replaced. Then it gets its
    next one, a new account, and the registry's old keys for what it still holds.
    One that is not gets the entry of the pen `like`, and its table until it has been calibrated itself.
    WorkshopError if something is missing, or there already.
    """
    if not is_identifier(pen_id):
        raise WorkshopError(f"{pen_id!r} is no pen's id: use 1 to 32 of a-z, 0-9 and '-'.")
    target = out / FILE
    if target.exists() and not is_forced:
        raise WorkshopError(
            f"{target} is there already, and may hold the only copy of a pen's password. "
            "Give another --out, or --force to replace it."
        )
    file = RegistryFile(registry_file)
    clinic = file.registry.clinic.id
    pen = file.registry.find_pen(pen_id)
    calibration_of = None
    if pen is None:
        entry = _entry(file, pen_id, like)
        calibration_of = like
        file.add_pen(pen_id, entry, f"of {like} until this pen is calibrated")
    known = file.keys(pen_id)
    if known and not is_forced:
        raise WorkshopError(
            f"{registry_file}: {pen_id} is enrolled already. --rotate gives it a new key; if its "
            "pen.json was lost, --force makes a new one."
        )
    epoch = max(known, default=0) + 1
    key = secrets.token_bytes(KEY_LENGTH).hex()
    file.set_keys(pen_id, known | {epoch: key})
    file.save(is_dry=True)
    pen = file.registry.find_pen(pen_id)
    assert pen is not None
    certificate = None if place.ca is None else read_certificate(place.ca)
    account = make_account(clinic, pen_id)
    written = [target, out / PASSWORD_FILE, out / ACCESS_FILE]
    if certificate is not None:
        written.append(out / CA_FILE)
    written.append(registry_file)
    if not is_dry:
        out.mkdir(parents=True, exist_ok=True)
        identity = {"epoch": epoch, "key": key, "previous": _rows(known)}
        write_pen(target, _pen_json(clinic, pen, identity, place, account))
        write_private(out / PASSWORD_FILE, password_line(account))
        write_private(out / ACCESS_FILE, access_lines(account.username, clinic, pen_id))
        if certificate is not None:
            (out / CA_FILE).write_bytes(certificate)
        file.save()
    return Enrolled(clinic, pen_id, epoch, sorted(known), account.username, written, calibration_of)


def rotate(pen_id: str, registry_file: Path, out: Path, *, is_dry: bool = False) -> Enrolled:
    """Give a pen its next key. Its old keys stay, in the registry and in its pen.json."""
    target = out / FILE
    file = RegistryFile(registry_file)
    pen = read_pen(target)
    _check_same(target, pen, file, pen_id)
    known = file.keys(pen_id, int(pen["epoch"]))
    epoch = max([*known, int(pen["epoch"])]) + 1
    if epoch > EPOCH_MAX:
        raise WorkshopError(f"{pen_id} has used up all key epochs; give it a new id.")
    old = keys_of_pen(pen)
    if not old.items() <= known.items():
        raise WorkshopError(
            f"{target} holds a key that {registry_file} does not. These two files are not of one time: "
            "take the pen.json that the pen was flashed with last."
        )
    key = secrets.token_bytes(KEY_LENGTH).hex()
    file.set_keys(pen_id, known | {epoch: key})
    file.save(is_dry=True)
    if not is_dry:
        file.save()  # first: a key that no pen has does no harm
        write_pen(target, pen | {"epoch": epoch, "key": key, "previous": _rows(old)})
    return Enrolled(pen["clinic"], pen_id, epoch, sorted(old), None, [registry_file, target])


def retire(
    pen_id: str, registry_file: Path, out: Path, recorded: Iterable[int], *, is_dry: bool = False
) -> Enrolled:
    """Take a pen's old keys away. `recorded`: the epochs of which the ledger holds records.

    WorkshopError unless the pen has changed over: unless there are records of its newest epoch.
    """
    target = out / FILE
    file = RegistryFile(registry_file)
    pen = read_pen(target)
    _check_same(target, pen, file, pen_id)
    epoch = int(pen["epoch"])
    known = file.keys(pen_id, epoch)
    if known.get(epoch) != pen["key"] or epoch != max(known):
        raise WorkshopError(f"{target} does not hold {pen_id}'s newest key of {registry_file}.")
    old = sorted((known | keys_of_pen(pen)).keys() - {epoch})
    if not old:
        raise WorkshopError(f"{pen_id} has no old key: there is nothing to retire.")
    if epoch not in set(recorded):
        raise WorkshopError(
            f"the ledger holds no record of {pen_id} under its key of epoch {epoch} yet: the pen may "
            "still hold records of an older one. Flash its pen.json, switch it on near the gateway, "
            "use it, then try again."
        )
    file.set_keys(pen_id, {epoch: known[epoch]})
    file.save(is_dry=True)
    if not is_dry:
        file.save()
        write_pen(target, pen | {"previous": []})
    return Enrolled(pen["clinic"], pen_id, epoch, old, None, [registry_file, target])


def keys_of_pen(pen: Mapping[str, Any]) -> Keys:
    """All keys of a pen.json by epoch."""
    found = {int(one["epoch"]): str(one["key"]) for one in pen.get("previous", [])}
    found[int(pen["epoch"])] = str(pen["key"])
    return found


def read_certificate(path: Path) -> bytes:
    """A certificate as DER, from a file in DER or PEM; WorkshopError if it is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WorkshopError(f"{path}: can not be read: {error.strerror}.") from error
    found = re.search(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", data, re.DOTALL)
    try:
        certificate = ssl.PEM_cert_to_DER_cert(found.group().decode()) if found else data
        ssl.create_default_context(cadata=certificate)
    except (ValueError, ssl.SSLError) as error:
        raise WorkshopError(
            f"{path}: is no certificate in PEM or DER. Give that of the authority that signed the "
            "broker's certificate."
        ) from error
    return certificate


def _entry(file: RegistryFile, pen_id: str, like: str | None) -> dict[str, Any]:
    """The entry of a new pen."""
    pattern = None if like is None else file.registry.find_pen(like)
    if pattern is None:
        pens = ", ".join(pen.id for pen in file.registry.pen) or "none"
        what = f"--like names a pen of the registry ({pens})"
        if like is not None:
            raise WorkshopError(f"{file.path}: there is no pen {like}: {what}.")
        raise WorkshopError(
            f"{file.path}: {pen_id} is new here. Say what kind of pen it is: {what}; or write its "
            "[[pen]] entry without a key first."
        )
    entry = {name: getattr(pattern, name) for name in FACTS}
    return entry | {"calibration": [list(point) for point in pattern.calibration]}


def _rows(keys: Keys) -> list[dict[str, Any]]:
    """Keys as in pen.json, oldest first."""
    return [{"epoch": epoch, "key": keys[epoch]} for epoch in sorted(keys)]


def _pen_json(
    clinic: str, pen: Pen, identity: Mapping[str, Any], place: Place, account: Account
) -> dict[str, Any]:
    has_tls = place.ca is not None
    broker: dict[str, Any] = {
        "host": place.broker_host,
        "port": place.broker_port or (TLS_PORT if has_tls else PORT),
        "username": account.username,
        "password": account.password,
    }
    if has_tls:
        broker["ca"] = CA_FILE
    found: dict[str, Any] = {
        "clinic": clinic,
        "pen": pen.id,
        "board": place.board,
        **identity,
        "broker": broker,
        "calibration": [[counts, um(depth_mm)] for counts, depth_mm in pen.calibration],
        "calibrated_utc": None,
        "reading_tolerance_um": um(pen.reading_tolerance_mm),
        "without_grant": place.without_grant,
        "motor_interlock": place.motor_interlock,
    }
    if place.wifi is not None:
        found["wifi"] = dict(place.wifi)
    if place.board == VIRTUAL:
        found["virtual"] = {"tape": "tape.csv"}
    return found


def _check_same(target: Path, pen: Mapping[str, Any], file: RegistryFile, pen_id: str) -> None:
    if (pen["clinic"], pen["pen"]) != (file.registry.clinic.id, pen_id):
        raise WorkshopError(
            f"{target} is of {pen['pen']} in {pen['clinic']}, "
            f"not of {pen_id} in {file.registry.clinic.id}."
        )
