"""What goes into .venv, and when it is made anew."""

import tomllib
from pathlib import Path

import pytest

from bootstrap import environment

ROOT = Path(__file__).resolve().parents[2]


def test_a_group_brings_the_groups_it_includes() -> None:
    pyproject = {"dependency-groups": {"dev": ["a>=1", {"include-group": "lint"}], "lint": ["b>=2"]}}
    assert environment.group(pyproject, "dev") == ["a>=1", "b>=2"]


def test_the_projects_own_group_can_be_read() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        requirements = environment.group(tomllib.load(file), "dev")
    assert any(requirement.startswith("pytest") for requirement in requirements)


def test_each_ports_stubs_are_a_group_of_their_own() -> None:
    groups = {"dev": ["a"], "stubs-one": ["b==1", {"include-group": "dev"}], "stubs-two": ["c==2"]}
    found = environment.stubs({"dependency-groups": groups})
    assert found == {"one": ["b==1", "a"], "two": ["c==2"]}
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert sorted(environment.stubs(tomllib.load(file))) == ["esp32", "rp2"]


@pytest.mark.parametrize(
    ("made_at", "here"),
    [("{venv}", True), ("/elsewhere/.venv", False), ("--clear {venv}", True)],
)
def test_an_environment_that_was_moved_is_not_ours(tmp_path: Path, made_at: str, here: bool) -> None:
    venv = tmp_path / "a folder" / ".venv"
    venv.mkdir(parents=True)
    command = f"/usr/bin/python3 -m venv {made_at.format(venv=venv)}"
    (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\ncommand = {command}\n")
    assert environment.was_made_here(venv) is here


def test_an_environment_left_half_done_is_not_used(tmp_path: Path) -> None:
    (tmp_path / environment.UNFINISHED).touch()
    assert not environment.is_usable(tmp_path)


def test_no_environment_is_not_used(tmp_path: Path) -> None:
    assert not environment.is_usable(tmp_path / ".venv")
