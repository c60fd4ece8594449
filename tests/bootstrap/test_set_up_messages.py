"""What a person reads if something is missing."""

from bootstrap import messages
from bootstrap.needs import INFLUXD, MICROPYTHON, MOSQUITTO


def test_everything_missing_is_named_at_once_with_its_version() -> None:
    text = messages.missing([(MOSQUITTO, (1, 6, 9)), (INFLUXD, ()), (MICROPYTHON, ())])
    assert "Mosquitto 2.0 or newer (MQTT broker); found 1.6.9" in text
    assert "InfluxDB 1.6 or newer (time-series database)\n" in text
    assert "MicroPython 1.25 or newer" in text


def test_a_missing_venv_is_named_with_the_rest() -> None:
    text = messages.missing([(MOSQUITTO, ())], "python3.11-venv")
    assert "venv with pip (python3.11-venv)" in text
    assert "Mosquitto 2.0" in text


def test_without_rights_the_command_is_given_whole() -> None:
    text = messages.no_rights(["mosquitto", "nginx"], has_sudo=True)
    assert "sudo apt-get update && sudo apt-get install --no-install-recommends mosquitto nginx" in text


def test_without_sudo_the_command_is_meant_for_root() -> None:
    text = messages.no_rights(["mosquitto"], has_sudo=False)
    assert "sudo apt-get" not in text
    assert "apt-get update && apt-get install --no-install-recommends mosquitto" in text


def test_another_system_is_told_which_ones_are_served() -> None:
    text = messages.other_system("Fedora Linux 42")
    assert "This is Fedora Linux 42" in text
    assert "Debian 12 and 13 and Ubuntu 24.04" in text


def test_ubuntu_is_reminded_of_universe() -> None:
    assert "universe" in messages.no_package(["mosquitto"], "ubuntu")
    assert "universe" not in messages.no_package(["mosquitto"], "debian")


def test_installed_packages_are_named_and_so_is_what_starts_at_boot() -> None:
    assert "boot" not in messages.installed(["mosquitto", "nginx"], [])
    text = messages.installed(["mosquitto", "nginx"], ["nginx"])
    assert "apt installed: mosquitto, nginx." in text
    assert "sudo systemctl disable nginx" in text
