"""The folder of secrets: each file is made once, whole or not at all, and only its owner may read it.

On Debian without containers the folder is /etc/needletrail; with containers it is deploy/secrets, and
its parts are mounted there. So every configuration file names the same places in both.
"""

import os
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from needletrail_deploy import authority, broker_lists
from needletrail_deploy.authority import Pair
from needletrail_gateway.record.checkpoints import make_key
from needletrail_gateway.workshop.broker_access import Account, password_line
from needletrail_protocol.topics import is_identifier

ALWAYS_NAMES = ("localhost", "127.0.0.1", "mosquitto")  # the last is the broker's name among containers
RENEW_BEFORE = timedelta(days=60)
_PASSWORD_BYTES = 24
FOLDERS = ("mosquitto", "gateway", "influxdb", "grafana", "pens")


class UnusableError(Exception):
    """Something given, or something in the folder, can not be used; the text says what to do."""


class Folder:
    """One deployment's secrets. `made` and `kept` are the files of this run, in their order."""

    def __init__(self, path: Path, now: datetime) -> None:
        self.path = path
        self.made: list[Path] = []
        self.kept: list[Path] = []
        self.warnings: list[str] = []
        self._now = now

    def fill(self, clinic: str | None, hosts: list[str], *, is_renewed: bool) -> None:
        """Make what is missing, and write the broker's lists. UnusableError if it can not be."""
        for host in hosts:
            if not authority.is_name(host):
                raise UnusableError(f"{host!r} is no name or address of a host.")
        clinic = self._clinic(clinic)
        pens = self._pens()
        # A folder that is there may have been given to a server's account; it stays as it is.
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FOLDERS:
            self._at(name).mkdir(mode=0o700, exist_ok=True)
        self._once("clinic", lambda: f"{clinic}\n")
        self._certificates(clinic, hosts, is_renewed=is_renewed)
        self._passwords()
        self._ledger_key()
        self._lists(clinic, pens)

    def _at(self, name: str) -> Path:
        return self.path / name

    def _clinic(self, given: str | None) -> str:
        file = self._at("clinic")
        known = file.read_text().strip() if file.exists() else None
        if given is None and known is None:
            raise UnusableError(
                "Whose broker is it? Say the clinic's id, as the registry has it: --clinic ID"
            )
        if known is not None and given not in (None, known):
            raise UnusableError(f"{self.path} is of {known}, not of {given}. Give another --folder.")
        clinic = known or given or ""
        if not is_identifier(clinic):
            raise UnusableError(f"{clinic!r} is no clinic's id: use 1 to 32 of a-z, 0-9 and '-'.")
        return clinic

    def _certificates(self, clinic: str, hosts: list[str], *, is_renewed: bool) -> None:
        if not self._at("ca.pem").exists():
            pair = authority.make_authority(f"Needletrail of {clinic}", self._now)
            self._write("ca.key", pair.key)
            self._write("ca.pem", pair.certificate, 0o644)
            self.made += [self._at("ca.key"), self._at("ca.pem")]
        else:
            self.kept += [self._at("ca.pem")]
        server, key = "mosquitto/server.pem", "mosquitto/server.key"
        is_there = self._at(server).exists() and self._at(key).exists()
        if is_there and not is_renewed:
            self.kept += [self._at(server), self._at(key)]
            self._look_at_certificate(self._at(server).read_bytes(), hosts)
            return
        if not self._at("ca.key").exists():
            raise UnusableError(
                f"{self._at('ca.key')} is not here. Bring it back to sign a certificate."
            )
        before = authority.names_of(self._at(server).read_bytes()) if is_there else []
        names = list(dict.fromkeys([*hosts, *before, *ALWAYS_NAMES]))
        signer = Pair(self._at("ca.pem").read_bytes(), self._at("ca.key").read_bytes())
        pair = authority.make_server(signer, names, self._now)
        self._write(key, pair.key)
        self._write(server, pair.certificate, 0o644)
        self.made += [self._at(server), self._at(key)]

    def _look_at_certificate(self, certificate: bytes, hosts: list[str]) -> None:
        absent = [host for host in hosts if host not in authority.names_of(certificate)]
        if absent:
            self.warnings.append(
                f"The broker's certificate does not name {', '.join(absent)}. Add --renew."
            )
        expiry = authority.expiry_of(certificate)
        if expiry - self._now < RENEW_BEFORE:
            self.warnings.append(
                f"The broker's certificate ends on {expiry:%Y-%m-%d}. Renew it with --renew."
            )

    def _passwords(self) -> None:
        for name in (
            "gateway/NEEDLETRAIL_MQTT__PASSWORD",
            "influxdb/admin-password",
            "grafana/admin-password",
        ):
            self._once(name, lambda: secrets.token_urlsafe(_PASSWORD_BYTES) + "\n")
        self._once("influxdb/admin-token", lambda: secrets.token_urlsafe(48) + "\n")
        # Options for mosquitto_sub, which reads a file of that name in XDG_CONFIG_HOME.
        self._once(
            "mosquitto/mosquitto_sub",
            lambda: f"-u {broker_lists.HEALTH}\n-P {secrets.token_urlsafe(_PASSWORD_BYTES)}\n",
        )

    def _ledger_key(self) -> None:
        key = self._at("gateway/ledger.key")
        if key.exists():
            self.kept.append(key)
        else:
            make_key(key)
            self.made.append(key)

    def _lists(self, clinic: str, pens: dict[str, str]) -> None:
        """Written anew each time, as new files: a broker that is running reads them whole."""
        passwords = self._at("mosquitto/passwords")
        before = passwords.read_text().splitlines(keepends=True) if passwords.exists() else []
        options = self._at("mosquitto/mosquitto_sub").read_text().split()
        own = {
            broker_lists.GATEWAY: self._at("gateway/NEEDLETRAIL_MQTT__PASSWORD").read_text().strip(),
            broker_lists.HEALTH: options[options.index("-P") + 1],
        }
        lines = []
        for username, password in own.items():
            same = [
                line
                for line in before
                if broker_lists.username_of(line) == username and broker_lists.fits(line, password)
            ]
            lines.append(same[0] if same else password_line(Account(username, password)))
        lines += pens.values()
        self._write("mosquitto/passwords", "".join(lines).encode())
        self._write("mosquitto/acl", broker_lists.access_list(clinic, pens).encode())
        self.made += [passwords, self._at("mosquitto/acl")]

    def _pens(self) -> dict[str, str]:
        """{account: its line of the password_file} of every pen that was enrolled into `pens`."""
        found: dict[str, str] = {}
        for file in sorted(self._at("pens").glob("*/mosquitto.password")):
            line = file.read_text()
            username = broker_lists.username_of(line)
            if username is None or broker_lists.pen_of(username) is None:
                raise UnusableError(
                    f"{file}: is not what `needletrail pen enroll` writes. Enroll the pen again."
                )
            if username in found:
                raise UnusableError(
                    f"{file}: {username} is in another folder of {file.parents[1]}, too."
                )
            found[username] = line
        return found

    @property
    def pens(self) -> list[str]:
        """The accounts of the pens that may connect."""
        return list(self._pens())

    def _once(self, name: str, make: Callable[[], str]) -> None:
        path = self._at(name)
        if path.exists():
            self.kept.append(path)
            return
        self._write(name, make().encode())
        self.made.append(path)

    def _write(self, name: str, content: bytes, mode: int = 0o600) -> None:
        """Whole or not at all. A file that is replaced keeps its owner and mode."""
        path = self._at(name)
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            was = path.stat()
            if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(part, was.st_uid, was.st_gid)
            part.chmod(was.st_mode & 0o777)
        part.replace(path)
