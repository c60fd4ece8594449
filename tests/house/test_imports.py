"""Who may import whom: the rules of docs and architecture, read from the sources.

Sources are parsed, never imported, so a rule can not be got round by importing late.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GATEWAY = ROOT / "gateway" / "needletrail_gateway"
PROTOCOL = ROOT / "protocol" / "needletrail_protocol"
DEVICE = ROOT / "device"

OURS = ("needletrail_protocol", "needletrail_gateway", "needletrail_device", "needletrail_dashboards")

# The gateway's rooms, and which of the others each may import.
ROOMS: dict[str, tuple[str, ...]] = {
    "core": (),
    "record": ("core",),
    "shell": ("core", "record"),
    "replay": ("core", "record", "shell"),
    "series": ("core", "record", "shell"),
    "desk": ("core", "record", "shell", "replay", "series"),
    "workshop": ("core", "record", "shell"),
    "bench": ("core", "record", "shell"),
}

# What a pure decision may need. No clock, chance, files, network or process is among them.
PURE = {
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "functools",
    "itertools",
    "math",
    "re",
    "typing",
    "unicodedata",
    "biip",
    "pydantic",
    "pydantic_core",
}
IMPURE_CALLS = {"open", "print", "input", "eval", "exec", "__import__", "breakpoint"}
CLOCK_CALLS = {"now", "utcnow", "today"}

# What MicroPython has on the boards and in its Unix port.
MICROPYTHON = {
    "_thread",
    "array",
    "asyncio",
    "binascii",
    "collections",
    "errno",
    "gc",
    "hashlib",
    "io",
    "json",
    "machine",
    "math",
    "micropython",
    "neopixel",
    "network",
    "ntptime",
    "os",
    "random",
    "rp2",
    "select",
    "socket",
    "struct",
    "sys",
    "time",
    "tls",
}


def sources(folder: Path) -> list[Path]:
    """The Python files under a folder."""
    return sorted(folder.rglob("*.py"))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def nodes(tree: ast.AST, *, at_run_time: bool = False) -> Iterator[ast.AST]:
    """Every node; at run time without what stands under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(tree):
        if (
            at_run_time
            and isinstance(child, ast.If)
            and isinstance(child.test, ast.Name)
            and child.test.id == "TYPE_CHECKING"
        ):
            for other in child.orelse:
                yield other
                yield from nodes(other, at_run_time=True)
            continue
        yield child
        yield from nodes(child, at_run_time=at_run_time)


def package_of(path: Path) -> list[str]:
    """The dotted package a file is in, for relative imports."""
    parts: list[str] = []
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return parts


def imports(path: Path, *, at_run_time: bool = False) -> set[str]:
    """Every module a file imports, by its full name; `from a import b` counts as a.b, too."""
    found: set[str] = set()
    for node in nodes(parsed(path), at_run_time=at_run_time):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = package_of(path)
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def ours(path: Path) -> set[str]:
    """What a file imports of our own packages."""
    return {name for name in imports(path) if name.split(".")[0] in OURS}


def outside(names: set[str], *allowed: str) -> list[str]:
    """Those names that are in none of the allowed packages."""
    return sorted(
        name for name in names if not any(name == one or name.startswith(one + ".") for one in allowed)
    )


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ---- who may import whom ----


@pytest.mark.parametrize("path", sources(PROTOCOL), ids=by_name)
def test_protocol_imports_nothing_of_ours(path: Path) -> None:
    assert outside(ours(path), "needletrail_protocol") == []


@pytest.mark.parametrize("path", sources(DEVICE), ids=by_name)
def test_device_imports_protocol_only(path: Path) -> None:
    assert outside(ours(path), "needletrail_protocol", "needletrail_device") == []


@pytest.mark.parametrize("path", sources(GATEWAY), ids=by_name)
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    room = path.relative_to(GATEWAY).parts[0]
    if room in ROOMS:
        allowed = [f"needletrail_gateway.{below}" for below in (room, *ROOMS[room])]
        assert outside(ours(path) - {"needletrail_gateway"}, "needletrail_protocol", *allowed) == []


@pytest.mark.parametrize("path", sources(ROOT / "dashboards"), ids=by_name)
def test_dashboards_import_the_schema_alone(path: Path) -> None:
    schema = "needletrail_gateway.core.series.schema"
    assert outside(ours(path), "needletrail_dashboards", schema) == []


def test_only_a_replay_needs_numpy() -> None:
    """It is slow to import, and the judge must not depend on it."""
    for folder in (GATEWAY, PROTOCOL, DEVICE):
        for path in sources(folder):
            if GATEWAY / "replay" not in path.parents:
                assert "numpy" not in {name.split(".")[0] for name in imports(path)}, path


def test_only_the_command_line_imports_the_workshop() -> None:
    for path in sources(GATEWAY):
        if GATEWAY / "workshop" not in path.parents and path != GATEWAY / "cli.py":
            assert not [one for one in ours(path) if one.startswith("needletrail_gateway.workshop")], (
                path
            )


def test_the_gateway_has_no_room_without_a_rule() -> None:
    rooms = {path.name for path in GATEWAY.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set(ROOMS)
    assert {path.stem for path in GATEWAY.glob("*.py")} == {"__init__", "__main__", "cli"}


def test_only_tests_import_device_or_dashboards() -> None:
    folders = [ROOT / "gateway", ROOT / "protocol", ROOT / "bootstrap"]
    for path in (path for folder in folders for path in sources(folder)):
        modules = {name.split(".")[0] for name in imports(path)}
        assert not modules & {"needletrail_device", "needletrail_dashboards", "boards"}, path


def test_only_the_boards_touch_the_hardware() -> None:
    """The composition root may ask for a restart, and nothing else of it."""
    for path in sources(DEVICE) + sources(PROTOCOL):
        if path.parent == DEVICE / "boards":
            continue
        allowed = {"machine"} if path == DEVICE / "firmware.py" else set()
        touched = imports(path) & {"machine", "network", "neopixel", "rp2", "esp32"}
        assert touched <= allowed, path


def test_nobody_imports_tests() -> None:
    for folder in ("gateway", "protocol", "device", "bootstrap"):
        for path in sources(ROOT / folder):
            modules = {name.split(".")[0] for name in imports(path)}
            assert not modules & {"tests", "pytest", "hypothesis"}, path


# ---- the core is pure ----


@pytest.mark.parametrize("path", sources(GATEWAY / "core"), ids=by_name)
def test_core_has_no_clock_no_chance_and_no_hands(path: Path) -> None:
    modules = {name.split(".")[0] for name in imports(path)}
    assert sorted(modules - PURE - set(OURS)) == []
    for node in nodes(parsed(path)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, f"{path}:{node.lineno}"
        elif isinstance(node.func, ast.Attribute):
            assert node.func.attr not in CLOCK_CALLS, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", sources(PROTOCOL), ids=by_name)
def test_protocol_does_no_input_or_output(path: Path) -> None:
    modules = {name.split(".")[0] for name in imports(path, at_run_time=True)}
    assert sorted(modules - {"hashlib", "needletrail_protocol"}) == []
    for node in nodes(parsed(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, f"{path}:{node.lineno}"


# ---- what also runs on MicroPython ----


@pytest.mark.parametrize("path", sources(PROTOCOL) + sources(DEVICE), ids=by_name)
def test_shared_code_uses_what_micropython_has(path: Path) -> None:
    modules = {name.split(".")[0] for name in imports(path, at_run_time=True)}
    allowed = MICROPYTHON | {"needletrail_protocol", "needletrail_device", "boards", "firmware"}
    if path.name == "streams.py":
        allowed = allowed | {"ssl"}  # on CPython, where `tls` is missing
    if path.name == "firmware.py":
        allowed = allowed | {"ntptime"}  # on boards with a radio
    assert sorted(modules - allowed) == []
    assert "collections.abc" not in imports(path, at_run_time=True)
    for node in nodes(parsed(path)):
        assert not isinstance(node, ast.Match | ast.TryStar), f"{path}:{node.lineno}"


# ---- the reader of imports reads them all ----


def test_the_rules_see_every_form_of_import(tmp_path: Path) -> None:
    package = tmp_path / "needletrail_x" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    path = package / "one.py"
    path.write_text(
        "import a.b as c\nfrom d import e\nfrom . import f\nfrom ..g import h\n"
        "def late():\n    import i\n"
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import j\nelse:\n    import k\n"
    )
    always = {"a.b", "d", "d.e", "i", "k"}
    relative = {"needletrail_x.inner", "needletrail_x.inner.f", "needletrail_x.g", "needletrail_x.g.h"}
    assert imports(path) == always | relative | {"j"}
    assert imports(path, at_run_time=True) == always | relative
