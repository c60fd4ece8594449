"""The systemd units: nothing that systemd does not know, and little that they could do.

systemd itself reads them, in a root folder of their own in which the programs are that they name. No
unit is started here.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.compose_file import DEPLOY, ROOT, compose

UNITS = DEPLOY / "systemd"
OURS = sorted(path.name for path in [*UNITS.glob("*.service"), *UNITS.glob("*.timer")])
# Of 10, as systemd reckons: what a unit needs of the network and of its own folders is in it.
EXPOSURE = {
    "needletrail-gateway.service": 1.4,
    "needletrail-influx-setup.service": 1.9,
    "needletrail-backup.service": 0.6,
    "mosquitto.service": 2.7,
}
PLACES = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder with our units, Mosquitto's own, systemd's targets, and the programs they start."""
    top = tmp_path_factory.mktemp("root")
    system = top / "etc" / "systemd" / "system"
    shutil.copytree(UNITS, system)
    (place,) = [place for place in PLACES if place.is_dir()][:1]
    for pattern in ("*.target", "*.slice", "*.socket", "systemd-*.service", "mosquitto.service"):
        for path in place.glob(pattern):
            shutil.copyfile(path, system / path.name)
    assert (system / "mosquitto.service").exists(), "Debian's Mosquitto brings its unit; `make setup`"
    programs = {
        found
        for path in system.rglob("*")
        if path.name.startswith(("needletrail", "mosquitto")) and path.is_file()
        for found in re.findall(r"^Exec\w+=(/\S+)", path.read_text(), re.M)
    }
    for program in programs:
        path = top / program.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return top


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing; `make setup` installs it"
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"LC_ALL": "C"},
    )


@pytest.mark.parametrize("unit", [*OURS, "mosquitto.service"])
def test_systemd_understands_every_line(root: Path, unit: str) -> None:
    done = analyze("verify", "--man=no", f"--root={root}", unit)
    said = [line for line in done.stderr.splitlines() if "needletrail" in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_systemd_tells_what_it_does_not_know(root: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "root"
    shutil.copytree(root, wrong)
    unit = wrong / "etc/systemd/system/needletrail-gateway.service"
    unit.write_text(unit.read_text().replace("ProtectClock=", "ProtectClok="))
    assert "Unknown key" in analyze("verify", "--man=no", f"--root={wrong}", unit.name).stderr


@pytest.mark.parametrize("unit", EXPOSURE)
def test_a_unit_can_do_little(root: Path, unit: str) -> None:
    limit = str(round(EXPOSURE[unit] * 10))
    done = analyze("security", "--offline=yes", f"--root={root}", f"--threshold={limit}", unit)
    assert done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if "✓" not in line)


def test_every_service_of_ours_has_a_bound() -> None:
    assert {name for name in OURS if name.endswith(".service")} < set(EXPOSURE)


def test_the_timer_is_a_time() -> None:
    (time,) = re.findall(r"^OnCalendar=(.+)$", (UNITS / "needletrail-backup.timer").read_text(), re.M)
    assert analyze("calendar", time).returncode == 0


def lines_of(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.M)


def test_the_broker_can_be_told_to_read_its_lists_again() -> None:
    """Its process has stepped down to another account, and only CAP_KILL signals another's process."""
    drop_in = UNITS / "mosquitto.service.d" / "needletrail.conf"
    (capabilities,) = lines_of(drop_in, "CapabilityBoundingSet")
    commands = lines_of(drop_in, "ExecReload")
    assert commands[0] == ""  # Debian's own is taken away
    assert len(commands) == 2
    assert commands[1].startswith("+") or "CAP_KILL" in capabilities.split()


def test_the_record_waits_for_the_broker_alone() -> None:
    unit = UNITS / "needletrail-gateway.service"
    (after,) = lines_of(unit, "After")
    assert set(after.split()) == {"network.target", "mosquitto.service"}
    assert not lines_of(unit, "(?:Wants|Requires|BindsTo|Requisite)")


def test_a_gateway_that_hangs_is_started_again_and_leaves_no_memory_behind() -> None:
    unit = UNITS / "needletrail-gateway.service"
    assert lines_of(unit, "Type") == ["notify"]
    assert lines_of(unit, "Restart") == ["always"]
    (watchdog_s,) = lines_of(unit, "WatchdogSec")
    source = (ROOT / "gateway/needletrail_gateway/record/ledger.py").read_text()
    (patience_ms,) = re.findall(r"busy_timeout = (\d+)", source)
    assert 2 * int(patience_ms) / 1000 < int(watchdog_s) <= 120  # a slow disk is no reason
    assert lines_of(unit, "LimitCORE") == ["0"]
    assert "PYTHONFAULTHANDLER=1" in " ".join(lines_of(unit, "Environment")).split()


def test_units_and_compose_start_the_gateway_alike() -> None:
    unit = (UNITS / "needletrail-gateway.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.+)$", unit, re.M)
    dockerfile = (DEPLOY / "gateway" / "Dockerfile").read_text()
    assert command == "/opt/needletrail/bin/needletrail gateway --config /etc/needletrail/gateway.toml"
    assert 'ENTRYPOINT ["needletrail"]' in dockerfile
    assert 'CMD ["gateway", "--config", "/etc/needletrail/gateway.toml"]' in dockerfile
    mounted = [one["target"] for one in compose()["services"]["gateway"]["volumes"]]
    for path in re.findall(r"^LoadCredential=[^:]+:(\S+)$", unit, re.M):
        assert any(path.startswith(one + "/") for one in mounted), path


def test_credentials_have_the_names_of_settings() -> None:
    for path in UNITS.glob("*.service"):
        for name, file in re.findall(r"^LoadCredential=([^:]+):(\S+)$", path.read_text(), re.M):
            assert name in ("NEEDLETRAIL_MQTT__PASSWORD", "NEEDLETRAIL_INFLUX__TOKEN", "admin-token")
            assert file.startswith("/etc/needletrail/")


def test_grafanas_unit_gives_it_the_variables_that_compose_gives_it() -> None:
    text = (UNITS / "grafana-server.service.d" / "needletrail.conf").read_text()
    names = re.findall(r"^Environment=(\w+)=", text, re.M)
    assert sorted(names) == sorted(compose()["services"]["grafana"]["environment"])


def test_what_units_need_is_installed_by_the_page() -> None:
    page = (ROOT / "docs" / "how-to" / "deploy-on-debian.md").read_text()
    for path in sorted(UNITS.rglob("*")):
        if path.is_file():
            assert path.name in page or path.parent.name in page, path.name
