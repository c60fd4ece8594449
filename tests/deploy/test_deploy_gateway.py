"""The deployed parts together: broker, gateway, InfluxDB and a real pen, with the files of deploy/.

The gateway gets the settings file of deploy/ and what compose.yaml or its systemd unit gives it:
variables, folders of secrets, credentials. Changed for the bench are folders and ports
(bench_deployment), the names `mosquitto` and `influxdb`, which are this machine here, and InfluxDB: the
bench's 1.6.7 stands for 2.7, so tokens are not exercised here.
"""

import json
import os
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from end_to_end.influx_bench import InfluxBench
from end_to_end.reading import statements

from deploy.bench_deployment import DEPLOY, ROOT, WAIT_S, Deployment, until
from deploy.compose_file import compose
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.documents import read_registry

BENCH = ROOT / "tapes" / "bench"
TAPE = "02-cosmetic-exceeded"
PEN = "pen-04"


class Clinic(Deployment):
    """A deployment with a pen that was enrolled by the command, and a registry that was imported."""

    def __init__(self, folder: Path, influx: InfluxBench) -> None:
        super().__init__(folder)
        self.influx = influx
        self.make_secrets("--clinic", "harbor", "--host", "localhost")
        self.registry = self.etc / "clinic.toml"
        shutil.copyfile(BENCH / "registry.toml", self.registry)
        self.flash = folder / "flash"
        token = self.etc / "tokens" / "gateway" / "NEEDLETRAIL_INFLUX__TOKEN"
        token.parent.mkdir(parents=True)
        token.write_text("InfluxDB 1.6.7 asks for none\n")
        self.config = self.place("gateway.toml")
        self.config.write_text(self.config.read_text().replace("http://localhost:8086", influx.url))
        self.enroll()
        self.needletrail("registry", "import", str(self.registry), "--config", str(self.config))

    def enroll(self) -> None:
        out = self.etc / "pens" / PEN
        self.needletrail(
            *("pen", "enroll", PEN, "--registry", str(self.registry), "--out", str(out)),
            *("--like", "pen-01", "--board", "virtual", "--ca", str(self.etc / "ca.pem")),
            *("--broker-host", "localhost", "--broker-port", str(self.port)),
        )
        self.make_secrets()

    def needletrail(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "needletrail_gateway", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # ---- how the gateway is started ----

    def as_compose(self) -> dict[str, str]:
        """The variables of compose.yaml's gateway."""
        given = compose()["services"]["gateway"]["environment"]
        here = {"mosquitto": "localhost", "http://influxdb:8086": self.influx.url}
        return {
            name: here.get(value, value.replace("/etc/needletrail", str(self.etc)))
            for name, value in given.items()
        }

    def as_systemd(self) -> dict[str, str]:
        """The credentials of the unit, in a folder as systemd makes it, and no variable of ours."""
        unit = (DEPLOY / "systemd" / "needletrail-gateway.service").read_text()
        folder = self.folder / "credentials"
        folder.mkdir()
        for name, file in re.findall(r"^LoadCredential=([^:]+):(\S+)$", unit, re.M):
            source = Path(file.replace("/etc/needletrail", str(self.etc)))
            (folder / name).write_bytes(source.read_bytes())
            (folder / name).chmod(0o400)
        lines = " ".join(re.findall(r"^Environment=(.+)$", unit, re.M))
        given = dict(pair.split("=", 1) for pair in lines.split())
        return given | {"CREDENTIALS_DIRECTORY": str(folder)}

    @contextmanager
    def gateway(self, given: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
        """The gateway's process, ready (Type=notify)."""
        address = self.folder / "notify"
        plain = {
            name: value for name, value in os.environ.items() if not name.startswith("NEEDLETRAIL_")
        }
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
            (self.folder / "gateway.log").open("ab") as log,
        ):
            notify.bind(str(address))
            notify.settimeout(WAIT_S)
            process = subprocess.Popen(
                [sys.executable, "-m", "needletrail_gateway", "gateway", "--config", self.config],
                env=plain | given | {"NOTIFY_SOCKET": str(address)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                try:
                    while notify.recv(64) != b"READY=1":
                        pass
                except TimeoutError:
                    pytest.fail((self.folder / "gateway.log").read_text())
                self.notify = notify
                yield process
            finally:
                process.terminate()
                process.wait(WAIT_S)
                address.unlink()

    def signs_of_life(self, for_s: float) -> int:
        """How often systemd would hear now, for so long, that the gateway's work goes on."""
        count = 0
        end_s = time.monotonic() + for_s
        while (left_s := end_s - time.monotonic()) > 0:
            self.notify.settimeout(left_s)
            with suppress(TimeoutError):
                count += self.notify.recv(64) == b"WATCHDOG=1"
        return count

    def treat(self, micropython: Path) -> list[str]:
        """The pen plays a tape on MicroPython, by TLS, until all of it is acknowledged; its events."""
        shutil.rmtree(self.flash, ignore_errors=True)
        shutil.copytree(self.etc / "pens" / PEN, self.flash)
        pen = json.loads((self.flash / "pen.json").read_text())
        assert pen["broker"] | {"password": ""} == {
            "host": "localhost",
            "port": self.port,
            "username": f"harbor.{PEN}",
            "password": "",
            "ca": "ca.der",
        }
        pen["virtual"] = {"tape": str(BENCH / f"{TAPE}.csv"), "speed": 0, "wait_ready_s": 30}
        (self.flash / "pen.json").write_text(json.dumps(pen))
        done = subprocess.run(
            [micropython, "-X", "heapsize=512k", ROOT / "device" / "main.py", self.flash],
            env=os.environ | {"NEEDLETRAIL_PROTOCOL": str(ROOT / "protocol")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        return [json.loads(line)["event"] for line in done.stdout.splitlines()]

    def is_healthy(self) -> bool:
        """What the container's health check says."""
        kind, _python, script = compose()["services"]["gateway"]["healthcheck"]["test"]
        assert (kind, Path(script).name) == ("CMD", "healthy.py")
        done = subprocess.run(
            [sys.executable, DEPLOY / "gateway" / "healthy.py"],
            env=os.environ | {"NEEDLETRAIL_MQTT__PORT": str(self.port)},
            timeout=20,
            check=False,
        )
        return done.returncode == 0


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    influx = InfluxBench(tmp_path / "influx")
    influx.start()
    one = None
    try:
        one = Clinic(tmp_path / "clinic", influx)
        one.start_broker()
        yield one
    finally:
        if one is not None:
            one.stop_broker()
        influx.stop()


@pytest.mark.parametrize("how", ["as_compose", "as_systemd"])
def test_a_treatment_by_tls_becomes_a_verdict_and_a_series(
    clinic: Clinic, micropython: Path, how: str
) -> None:
    assert not clinic.is_healthy()
    with clinic.gateway(getattr(clinic, how)()):
        until(clinic.is_healthy, "the health check does not see the gateway")
        events = clinic.treat(micropython)
        assert events[-1] == "done"
        with closing(Ledger.open(clinic.var / "ledger.sqlite")) as ledger:
            found = statements(ledger)[f"{PEN}-1-1"]
        truth = json.loads((BENCH / f"{TAPE}.truth.json").read_text())
        assert {key: found[key] for key in ("verdict", "reasons", "passes", "strokes")} == {
            key: truth[key] for key in ("verdict", "reasons", "passes", "strokes")
        }
        assert found["alerts"] == [("DEPTH_EXCEEDED", True)]
        until(lambda: clinic.influx.count("session", "peak_mm") == 1, "the series has no session")
    assert not clinic.is_healthy()
    said = (clinic.folder / "gateway.log").read_text() + clinic.log.read_text()
    assert "u'gateway'" in said
    for secret in (
        clinic.password("gateway"),
        json.loads((clinic.flash / "pen.json").read_text())["key"],
    ):
        assert secret not in said


def test_systemd_hears_that_the_work_goes_on_and_not_when_it_hangs(clinic: Clinic) -> None:
    """The disk for checkpoints takes the committing thread and does not give it back for a while."""
    watched = clinic.as_systemd() | {"WATCHDOG_USEC": "60000000"}
    checkpoints = clinic.var / "checkpoints"
    with clinic.gateway(watched):
        assert 2 <= clinic.signs_of_life(4) <= 8
        until(lambda: list(checkpoints.glob("*.checkpoint")) != [], "there is no checkpoint")
    (checkpoint,) = checkpoints.glob("*.checkpoint")
    said = checkpoint.read_bytes()
    checkpoint.unlink()
    pipe = checkpoint.with_name(checkpoint.name + ".part")
    os.mkfifo(pipe)  # whoever opens it to write waits for a reader
    with clinic.gateway(watched):
        until(clinic.is_healthy, "the network thread went on")
        clinic.signs_of_life(2)  # until it meets that disk
        assert clinic.signs_of_life(5) == 0
        assert clinic.is_healthy()
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        pipe.unlink()
        assert clinic.signs_of_life(5) >= 2
        until(checkpoint.exists, "the checkpoint was not written after all")
        os.close(reader)
    assert checkpoint.read_bytes() == said


def test_a_disk_that_refuses_is_no_reason_to_start_again(clinic: Clinic, micropython: Path) -> None:
    """The kernel refuses the gateway all beyond the first pages of a file, as a full disk would."""
    log = clinic.folder / "gateway.log"
    with clinic.gateway(clinic.as_systemd() | {"WATCHDOG_USEC": "60000000"}) as gateway:
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (16384, resource.RLIM_INFINITY))
        with ThreadPoolExecutor() as pool:
            treatment = pool.submit(clinic.treat, micropython)
            until(lambda: "the ledger can not be written" in log.read_text(), "the ledger was written")
            clinic.signs_of_life(0.1)  # what came before
            assert clinic.signs_of_life(4) >= 2
            everything = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, everything)
            assert treatment.result()[-1] == "done"
        assert gateway.poll() is None


def test_a_backup_is_proven_and_takes_no_good_ones_place(clinic: Clinic, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    beside = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def back_up() -> int:
        command = [DEPLOY / "gateway" / "backup.sh", clinic.config, backups]
        return subprocess.run(command, env={"PATH": beside}, timeout=60, check=False).returncode

    assert [back_up(), back_up()] == [0, 0]
    names = sorted(path.name for path in backups.iterdir())
    assert [re.sub(r"\d", "0", name) for name in names] == ["day-0.sqlite", "month-0000-00.sqlite"]
    for name in names:
        clinic.needletrail("ledger", "verify", "--ledger", str(backups / name))
        assert (backups / name).stat().st_mode & 0o077 == 0
    before = (backups / names[0]).read_bytes()

    ledger = sqlite3.connect(clinic.var / "ledger.sqlite")
    with ledger:
        for (trigger,) in ledger.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            ledger.execute(f"DROP TRIGGER {trigger}")
        changed = ledger.execute(
            "UPDATE entry SET committed_utc_ms = committed_utc_ms + 1 WHERE id = 1"
        )
        assert changed.rowcount == 1
    ledger.close()
    assert back_up() == 3
    assert (backups / names[0]).read_bytes() == before
    assert len(list(backups.glob("not-intact-*.sqlite"))) == 1


def test_the_bench_speaks_of_the_clinic_that_the_settings_are_of() -> None:
    assert read_registry(BENCH / "registry.toml").clinic.id == "harbor"
