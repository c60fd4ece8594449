"""What is taken from apt's answer, and how an unpacked program is run."""

from pathlib import Path

import pytest

from bootstrap import packages, unpack
from bootstrap.needs import MICROPYTHON, PROFILES, SUITES

SIMULATION = """\
Inst gcc-14-base (14.2.0-19 Debian:13/stable [amd64])
Inst libc6 (2.41-12 Debian:13/stable [amd64])
Inst libffi8 (3.4.8-2 Debian:13/stable [amd64])
Inst micropython (1.25.0+ds-1 Debian:13/stable [amd64])
Conf libc6 (2.41-12 Debian:13/stable [amd64])
"""


def test_of_what_apt_would_install_the_libraries_are_taken() -> None:
    assert unpack.wanted_packages(SIMULATION, "micropython") == ["libc6", "libffi8", "micropython"]


@pytest.mark.parametrize(
    ("triplet", "loader", "libraries"),
    [
        ("x86_64-linux-gnu", "ld-linux-x86-64.so.2", "usr/lib"),
        ("aarch64-linux-gnu", "ld-linux-aarch64.so.1", "usr/lib"),
        ("x86_64-linux-gnu", "ld-linux-x86-64.so.2", "lib"),
    ],
)
def test_the_program_runs_through_the_loader_beside_it(
    tmp_path: Path, triplet: str, loader: str, libraries: str
) -> None:
    folder = tmp_path / libraries / triplet
    (folder / "gconv").mkdir(parents=True)
    for name in (loader, "libc.so.6", "gconv/libCNS.so"):
        (folder / name).touch()
    executable = tmp_path / "usr" / "bin" / "micropython"
    executable.parent.mkdir(parents=True)
    executable.touch()
    assert unpack.command(MICROPYTHON, tmp_path) == [
        str(folder / loader),
        "--library-path",
        str(folder),
        str(executable),
    ]


def test_a_folder_without_a_program_gives_no_command(tmp_path: Path) -> None:
    assert unpack.command(MICROPYTHON, tmp_path) == []


@pytest.mark.parametrize(
    ("policy", "version"),
    [
        ("micropython:\n  Installed: (none)\n  Candidate: 1.25.0+ds-1\n", "1.25.0+ds-1"),
        ("micropython:\n  Installed: (none)\n  Candidate: (none)\n", ""),
        ("", ""),
    ],
)
def test_the_candidate_is_read_from_policy(policy: str, version: str) -> None:
    assert packages.candidate_in(policy) == version


def test_what_includes_a_profile_has_all_of_it() -> None:
    for profile in PROFILES.values():
        for name in profile.includes:
            included = PROFILES[name]
            assert set(included.programs) <= set(profile.programs)
            assert profile.micropython >= included.micropython
            assert profile.development >= included.development
            assert profile.wasm >= included.wasm


def test_each_family_can_unpack_the_same_programs() -> None:
    assert len({tuple(sorted(suites)) for suites in SUITES.values()}) == 1
