"""What every file keeps to: no place of one machine, no dead link, nothing undocumented."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from needletrail_gateway.cli import app

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
SAMPLE = ROOT / "gateway" / "gateway.sample.toml"

NOT_OURS = {"build", "dist", "node_modules", "__pycache__"}  # and every hidden folder but .ci
OURS_THOUGH_HIDDEN = {".ci", ".github"}

# In two halves, so that this file does not find itself.
MACHINE_PATHS = re.compile(r"(?<![\w.~*-])/(?:" + "work|" + r"root)/")
INDEX_HOSTS = re.compile(
    "|".join(
        re.escape(first + second) for first, second in [("pypi", ".org"), ("python", "hosted.org")]
    )
)


def files() -> list[Path]:
    """Every file of the project: no environment, no cache, nothing that was built."""
    found: list[Path] = []
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            is_hidden = path.name.startswith(".") and path.name not in OURS_THOUGH_HIDDEN
            if path.is_dir() and not path.is_symlink():
                if not is_hidden and path.name not in NOT_OURS:
                    folders.append(path)
            elif path.is_file():
                found.append(path)
    return found


FILES = files()
PYTHON = [path for path in FILES if path.suffix == ".py"]
MARKDOWN = [path for path in FILES if path.suffix == ".md"]


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def texts() -> Iterator[tuple[Path, str]]:
    """Every file that is text."""
    for path in FILES:
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def occurrences(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{by_name(path)}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        if pattern.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_place_on_one_machine() -> None:
    assert occurrences(MACHINE_PATHS) == []


def test_no_file_names_a_package_index() -> None:
    """Where packages come from is the machine's own setting."""
    assert occurrences(INDEX_HOSTS) == []


def test_no_file_is_empty() -> None:
    assert [by_name(path) for path in FILES if not path.stat().st_size] == []


@pytest.mark.parametrize("path", PYTHON, ids=by_name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "no docstring"
    assert docstring.splitlines()[0].rstrip().endswith((".", ":", "?", "!", ",", ";")), "no sentence"


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = re.compile(r"(^|_)(utils?|helpers?|common|manager|misc)(_|$)")
    assert [by_name(path) for path in PYTHON if empty.search(path.stem)] == []


def test_test_files_have_names_of_their_own() -> None:
    """Without packages, pytest tells test files apart by name alone."""
    folders: dict[str, Path] = {}
    for path in (ROOT / "tests").rglob("*.py"):
        if path.stem not in ("__init__", "conftest") and not (path.parent / "__init__.py").exists():
            assert folders.setdefault(path.name, path) == path, f"{path} and {folders[path.name]}"


# ---- links ----


CODE = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]*`", re.DOTALL)
INLINE = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s|$)", re.MULTILINE)
SOURCE = re.compile(r"<(?:img|a|source)\b[^>]*\b(?:src|href|srcset)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def links(text: str) -> set[str]:
    """The targets of a page's links that stay on this machine."""
    prose = CODE.sub("", text)
    found = {*INLINE.findall(prose), *DEFINITION.findall(prose), *SOURCE.findall(prose)}
    return {target for target in found if not re.match(r"[a-z][a-z0-9+.-]*:|//", target)}


def anchors(text: str) -> set[str]:
    """What a page's headings can be linked by."""
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    slugs = set()
    for heading in HEADING.findall(plain):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slugs.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return slugs


@pytest.mark.parametrize("path", MARKDOWN, ids=by_name)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in sorted(links(text)):
        target, _, anchor = link.partition("#")
        page = (path.parent / target).resolve() if target else path
        assert page.exists(), f"{link}: no such file"
        assert page.is_relative_to(ROOT), f"{link}: outside the project"
        if anchor and page.suffix == ".md":
            assert anchor in anchors(page.read_text(encoding="utf-8")), f"{link}: no such heading"


def test_links_are_found_in_every_form() -> None:
    text = '[a](b.md) ![c](d.svg "t") [e][f] <img src="g.png"> `[no](h.md)` [w](https://x.y)'
    text += "\n\n[f]: i.md#j\n"
    assert links(text) == {"b.md", "d.svg", "g.png", "i.md#j"}
    assert anchors("# One `two`, three\n\n## Ångström-4\n") == {"one-two-three", "ångström-4"}


# ---- what is documented ----


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(full name, command) of everything that can be typed."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, one in sorted(inner.items()):
        yield from commands(one, f"{name} {word}")


COMMANDS = dict(commands(typer.main.get_command(app), "needletrail"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    page = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    assert name in page
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "option":
            for option in parameter.opts:
                assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", page), option


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_explains_itself(name: str) -> None:
    assert COMMANDS[name].help
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


def test_nothing_is_documented_that_can_not_be_typed() -> None:
    page = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    typed = {
        option for command in COMMANDS.values() for one in command.params for option in one.opts
    } | {"--help"}
    written = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page))
    assert written - typed == set()


def settings() -> dict[str, list[str]]:
    """{section: keys} of the sample, with those that are commented out in it."""
    lines = []
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        bare = line.removeprefix("# ")
        lines.append(bare if re.match(r"\[\w+\]|\w+ = ", bare) else "")
    return {section: list(keys) for section, keys in tomllib.loads("\n".join(lines)).items()}


def test_the_sample_is_read_whole() -> None:
    assert settings().keys() == {"mqtt", "ledger", "checkpoint", "policy", "influx"}
    assert "tls_ca" in settings()["mqtt"]


@pytest.mark.parametrize("section", settings())
def test_every_setting_is_documented(section: str) -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    assert f"`{section}`" in page
    for key in settings()[section]:
        assert f"`{key}`" in page
        assert f"`NEEDLETRAIL_{section.upper()}__{key.upper()}`" in page
