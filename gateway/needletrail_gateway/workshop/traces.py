"""A traceback of a built firmware, in the words of its sources.

A built firmware calls everything otherwise (names), in a few files (link), without line numbers. Each
function is marked with where it stood before that; afterwards `words` says what it is called now. That
is written beside the build, and `translate` reads it.

A word may stand for several functions of a file, for methods of different classes share words: then all
are given, first those that a caller or a callee in the traceback speaks for. A function that was moved
to its only caller has no frame of its own. main.py has line numbers; they become the source's.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from needletrail_gateway.workshop.errors import WorkshopError
from needletrail_gateway.workshop.files import File
from needletrail_gateway.workshop.scopes import COMPREHENSIONS, FUNCTIONS, walk

NAMES_FILE = "names.json"
MAIN = "main.py"  # the one file that is no bytecode
_MARK, _WAS = "stood", "was"
_NAMELESS = {
    ast.Lambda: "<lambda>",
    ast.ListComp: "<listcomp>",
    ast.SetComp: "<setcomp>",
    ast.DictComp: "<dictcomp>",
    ast.GeneratorExp: "<genexpr>",
}
_FRAME = re.compile(r'^(.*)File "([^"]+)", line (\d+), in (.+?)(\r?)$')
_LACKS = re.compile(r"'(\w+)' object has no attribute '(\w+)'")


@dataclass(frozen=True)
class Place:
    """A function or class in the sources. `asks`: what it names, in the words of the built firmware."""

    path: str
    name: str
    first_line: int
    last_line: int
    asks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Words:
    """What the words of one file stand for. `lines`: for each of its lines the source's, or 0."""

    places: Mapping[str, list[Place]]
    attributes: Mapping[str, list[str]]
    lines: list[int]


# ---- while it is built ----


def mark(tree: ast.AST, path: str, within: str = "") -> None:
    """Each function, class and attribute remembers what it is called, before anything is renamed."""
    for node in ast.iter_child_nodes(tree):
        inner = within
        if isinstance(node, ast.Attribute):
            vars(node)[_WAS] = node.attr
        word = _word(node)
        if word is not None and isinstance(node, (ast.stmt, ast.expr)):
            inner = f"{within}.{word}" if within else word
            vars(node)[_MARK] = Place(path, inner, node.lineno, node.end_lineno or node.lineno)
        mark(node, path, inner)


def words(file: File, source: str) -> Words:
    """What a shrunk file's words stand for; source: as it was written."""
    places: dict[str, list[Place]] = {}
    attributes: dict[str, set[str]] = {}
    for one in file.statements:
        for node in walk(one.node):
            stood, word = vars(node).get(_MARK), _word(node)
            if stood is not None and word is not None:
                asks = tuple(sorted(set(_asked(node))))
                place = Place(stood.path, stood.name, stood.first_line, stood.last_line, asks)
                places.setdefault(word, []).append(place)
            if isinstance(node, ast.Attribute) and vars(node).get(_WAS, node.attr) != node.attr:
                attributes.setdefault(node.attr, set()).add(vars(node)[_WAS])
    lines = [0] * (source.count("\n") + 1)
    written = _statements(ast.parse(source).body)
    for old, new in zip(_statements([one.node for one in file.statements]), written, strict=True):
        lines[new.lineno] = getattr(old, "lineno", 0)
    return Words(
        {
            word: sorted(found, key=lambda one: (one.path, one.first_line))
            for word, found in places.items()
        },
        {word: sorted(found) for word, found in attributes.items()},
        lines,
    )


def write(path: Path, files: Mapping[str, Words]) -> None:
    """files: by their names in tracebacks."""
    made = {name: asdict(one) for name, one in sorted(files.items())}
    path.write_text(json.dumps(made, sort_keys=True) + "\n", encoding="utf-8")


def _word(node: ast.AST) -> str | None:
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return node.name
    if isinstance(node, (ast.Lambda, *COMPREHENSIONS)):
        return _NAMELESS[type(node)]
    return None


def _asked(node: ast.AST) -> Iterator[str]:
    for one in walk(node):
        if isinstance(one, ast.Attribute):
            yield one.attr
        elif isinstance(one, ast.Name):
            yield one.id


def _statements(block: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for one in block:
        yield one
        for part in (one, *getattr(one, "handlers", ())):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(part, field, ()))


# ---- afterwards ----


def read(folder: Path) -> dict[str, Words]:
    """What `write` wrote, of a folder that was built; WorkshopError if it was not."""
    path = folder / NAMES_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: Words(
                {word: [Place(**place) for place in places] for word, places in one["places"].items()},
                one["attributes"],
                one["lines"],
            )
            for name, one in found.items()
        }
    except OSError as error:
        raise WorkshopError(
            f"{folder}: there are no names in this folder. `needletrail pen build` makes them."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WorkshopError(f"{path}: was altered. Build the firmware again.") from error


def translate(text: str, files: Mapping[str, Words]) -> str:
    """The text with every frame of the firmware in the sources' words; all else as it is."""
    lines = text.splitlines()
    frames = [_FRAME.match(line) for line in lines]
    made: list[str] = []
    is_after = False
    for index, line in enumerate(lines):
        frame = frames[index]
        if frame is not None:
            caller = frames[index - 1] if index else None
            callee = frames[index + 1] if index + 1 < len(lines) else None
            made += _frame(frame, caller, callee, files) or [line]
            is_after = True
        else:
            made.append(line)
            if is_after:
                made += _meanings(line, files)
            is_after = False
    return "".join(f"{line}\n" for line in made)


def _file(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".mpy")


def _places(frame: "re.Match[str] | None", files: Mapping[str, Words]) -> list[Place]:
    found = None if frame is None else files.get(_file(frame[2]))
    return [] if frame is None or found is None else found.places.get(frame[4], [])


def _frame(
    frame: "re.Match[str]",
    caller: "re.Match[str] | None",
    callee: "re.Match[str] | None",
    files: Mapping[str, Words],
) -> list[str]:
    """The lines that stand for a frame; none if it is not one of ours."""
    known = files.get(_file(frame[2]))
    if known is None:
        return []
    exact = 0
    number = int(frame[3])
    if frame[2].endswith(".py") and number < len(known.lines):
        exact = known.lines[number]
    asked = {word for one in _places(caller, files) for word in one.asks}

    def doubt(place: Place) -> int:
        """How many neighbours do not speak for a place."""
        by_caller = bool(asked) and frame[4] in asked  # they all have the same word
        by_callee = callee is not None and callee[4] in place.asks
        return 2 - by_caller - by_callee

    places = sorted(_places(frame, files), key=doubt)
    if exact:
        places = [one for one in places if one.first_line <= exact <= one.last_line] or places
    if exact and not places:
        return [f'{frame[1]}File "{MAIN}", line {exact}, in {frame[4]}']
    made: list[str] = []
    for place in places:
        where = f"line {exact}" if exact else f"lines {place.first_line} to {place.last_line}"
        begin = frame[1] + "or " if made else frame[1]
        made.append(f'{begin}File "{place.path}", {where}, in {place.name}')
    return made


def _meanings(line: str, files: Mapping[str, Words]) -> Iterator[str]:
    """Of the line behind the last frame: what its words may mean."""
    lacks = _LACKS.search(line)
    error = line.partition(":")[0]
    for word in (error,) if lacks is None else lacks.groups():
        found: set[str] = set()
        for one in files.values():
            if lacks is not None and word == lacks[2]:
                found.update(one.attributes.get(word, ()))
            else:
                found.update(place.name for place in one.places.get(word, ()) if _is_class(place))
        if word == error:
            found = {one for one in found if one.endswith("Error")}
        if found:
            yield f"  {word}: {' or '.join(sorted(found))}"


def _is_class(place: Place) -> bool:
    return place.name.rpartition(".")[2].lstrip("_")[:1].isupper()
