"""When a set-up counts as done, and when it is done again."""

import shutil
from pathlib import Path

import pytest

from bootstrap import stamps


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "bootstrap").mkdir(parents=True)
    (root / ".venv").mkdir()
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "bootstrap" / "needs.py").write_text("A = 1\n")
    (root / "tool").touch()
    stamps.write(root, ("test", "runtime"), [str(root / "tool")])
    return root


def test_a_stamp_counts_for_each_profile_it_was_written_for(root: Path) -> None:
    assert stamps.is_fresh(root, "test")
    assert stamps.is_fresh(root, "runtime")
    assert not stamps.is_fresh(root, "check")


@pytest.mark.parametrize(
    "name",
    ["pyproject.toml", "bootstrap/needs.py", "bootstrap/new.py", "bootstrap/wasm/package-lock.json"],
)
def test_a_change_in_what_decides_the_outcome_sets_up_again(root: Path, name: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("changed\n")
    assert not stamps.is_fresh(root, "test")


def test_a_change_elsewhere_does_not(root: Path) -> None:
    (root / "bootstrap" / "notes.txt").write_text("x")
    (root / "README.md").write_text("x")
    assert stamps.is_fresh(root, "test")


def test_without_the_environment_it_sets_up_again(root: Path) -> None:
    shutil.rmtree(root / ".venv")
    assert not stamps.is_fresh(root, "test")


def test_without_a_program_it_sets_up_again(root: Path) -> None:
    (root / "tool").unlink()
    assert not stamps.is_fresh(root, "test")


def test_in_another_place_it_sets_up_again(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    assert not stamps.is_fresh(copy, "test")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": 1, "needs": null}', "null"])
def test_a_damaged_stamp_does_not_count(root: Path, text: str) -> None:
    (root / ".venv" / "set-up-test.json").write_text(text)
    assert not stamps.is_fresh(root, "test")
