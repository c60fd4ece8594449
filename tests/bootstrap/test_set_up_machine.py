"""How the set-up knows the machine and its programs."""

from pathlib import Path

import pytest

from bootstrap import machine
from bootstrap.files import write_wrapper
from bootstrap.machine import describe, enabled_at_boot, find
from bootstrap.needs import MICROPYTHON, NGINX

MINT = """\
ID=linuxmint
ID_LIKE="ubuntu debian"
VERSION_CODENAME=wilma
UBUNTU_CODENAME=noble
"""


@pytest.fixture(autouse=True)
def apt_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        write_wrapper(tmp_path / tool, ["true"])
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("text", "family", "codename"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian 12"\n', "debian", "bookworm"),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", "ubuntu", "noble"),
        (MINT, "ubuntu", "noble"),
        ("ID=fedora\nPRETTY_NAME='Fedora Linux 42'\n", "", ""),
    ],
)
def test_the_distribution_is_known_by_os_release(
    tmp_path: Path, text: str, family: str, codename: str
) -> None:
    file = tmp_path / "os-release"
    file.write_text(text)
    described = describe(file)
    assert (described.family, described.codename) == (family, codename)


def test_a_system_without_apt_is_another_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert describe(tmp_path / "os-release").family == ""


def test_a_system_without_os_release_is_another_system(tmp_path: Path) -> None:
    assert describe(tmp_path / "none").family == ""


def test_a_program_says_its_version_on_either_stream(tmp_path: Path) -> None:
    write_wrapper(tmp_path / "nginx", ["sh", "-c", "echo nginx version: nginx/1.22.1 >&2"])
    found = find(NGINX, str(tmp_path))
    assert found is not None
    assert found.version == (1, 22, 1)


def test_a_program_that_does_not_start_has_no_version(tmp_path: Path) -> None:
    write_wrapper(tmp_path / "micropython", ["/nowhere/ld.so", "/nowhere/micropython"])
    found = find(MICROPYTHON, str(tmp_path))
    assert found is not None
    assert found.version == ()


def test_the_projects_own_wrappers_are_not_looked_at(tmp_path: Path) -> None:
    folders = machine.search_path(excluding=tmp_path).split(":")
    assert str(tmp_path) not in folders
    assert "/usr/sbin" in folders


def test_a_service_linked_into_a_target_starts_at_boot(tmp_path: Path) -> None:
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "nginx.service").symlink_to("/lib/systemd/system/nginx.service")
    assert enabled_at_boot("nginx", tmp_path)
    assert not enabled_at_boot("mosquitto", tmp_path)
