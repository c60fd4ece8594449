"""One pack laid over another. What a pack does not say, the one that it extends says.

A document is taken apart into pieces, each with an address: `tier.medical`, `tier.medical.who.nurse`,
`rule.RECORD_GAP`. First goes what the pack removes; then its pieces are laid over those that are left.

- A piece with a citation of its own is one rule and is replaced whole: nothing of it is inherited, so
  its citation covers all of it.
- A tier's own keys and the settings `grant` and `clock` are laid over key by key. Citations come anew
  with the pack that gives any; those for one key ("House rule for `hard`: …") stay as long as the key.
- Name, version, date and description are always the pack's own.

Each value keeps its origin, so that an error, a table or a difference can say which pack it is from.
Nothing here checks what a document says: what is out of shape is carried along for the model to refuse.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

Address = tuple[str, ...]
Path = tuple[str | int, ...]

SECTIONS = ("without_badge", "grant", "clock", "retention")
LISTS = {"tier": "name", "refusal": "condition", "rule": "code"}
TIER_SECTIONS = ("place", "device", "cartridge", "screening", "course", "healing")
TIER_LISTS = {"who": "credential", "duration": "area"}
DEPTH_KEYS = ("min_mm", "min_inclusive", "max_mm", "inclusive")

_FOR_KEY = re.compile(r"[^:“]*\bfor `(\w+)`: ")
_WHOLE = "\0"  # the key under which something is carried that should be a table and is none


class Origin(NamedTuple):
    """Where a value stands: the pack, and the place in that pack's document."""

    pack: str
    path: Path


@dataclass(frozen=True)
class Piece:
    """A table of a document without those inside it that are pieces themselves."""

    address: Address
    values: Mapping[str, Any]
    origin: Origin
    origins: Mapping[str, Origin]

    @property
    def is_laid_by_key(self) -> bool:
        """Whether another pack may change single keys of it."""
        head, *rest = self.address or ("",)
        return (head == "tier" and len(rest) == 1) or head in ("grant", "clock")


@dataclass(frozen=True)
class Sheet:
    """A document in pieces, and the addresses that it removes from what it is laid over."""

    pieces: Mapping[Address, Piece]
    removed: tuple[Address, ...] = ()


class Mistake(NamedTuple):
    """Something that can not be laid over the other pack."""

    origin: Origin
    message: str


def take_apart(pack: str, document: Mapping[str, Any]) -> Sheet:
    """The document of a pack in pieces."""
    pieces: dict[Address, Piece] = {}
    own: dict[str, Any] = {}
    for key, value in document.items():
        if key in SECTIONS and isinstance(value, dict):
            _add(pieces, pack, (key,), value, (key,))
        elif key in LISTS and isinstance(value, list):
            for index, entry in enumerate(value):
                address = (key, _name_of(entry, LISTS[key], index))
                _take_entry(pieces, pack, address, entry, (key, index))
        else:
            own[key] = value
    _add(pieces, pack, (), own, ())
    removed = document.get("remove", [])
    named = [one for one in removed if isinstance(one, str)] if isinstance(removed, list) else []
    return Sheet(pieces, tuple(address_of(one) for one in named))


def address_of(text: str) -> Address:
    """The address that a person writes with dots."""
    return tuple(text.split(".", 3))


def _take_entry(
    pieces: dict[Address, Piece], pack: str, address: Address, entry: Any, path: Path
) -> None:
    if not isinstance(entry, dict):
        _add(pieces, pack, _free(pieces, address), {_WHOLE: entry}, path)
        return
    address = _free(pieces, address)
    inside: list[tuple[str, Any]] = []
    own = {}
    for key, value in entry.items():
        is_section = key in TIER_SECTIONS and isinstance(value, dict)
        is_list = key in TIER_LISTS and isinstance(value, list)
        if address[0] == "tier" and (is_section or is_list):
            inside.append((key, value))
        else:
            own[key] = value
    _add(pieces, pack, address, own, path)
    for key, value in inside:
        if isinstance(value, dict):
            _add(pieces, pack, (*address, key), value, (*path, key))
            continue
        for index, one in enumerate(value):
            below = _free(pieces, (*address, key, _name_of(one, TIER_LISTS[key], index)))
            _add(
                pieces,
                pack,
                below,
                one if isinstance(one, dict) else {_WHOLE: one},
                (*path, key, index),
            )


def _name_of(entry: Any, key: str, index: int) -> str:
    """What an entry is called; what has no name gets one that nobody can write."""
    name = entry.get(key) if isinstance(entry, dict) else None
    return name if isinstance(name, str) else f"\0{index}"


def _free(pieces: Mapping[Address, Piece], address: Address) -> Address:
    """The address; a second entry of one name gets another, so that the model finds both."""
    while address in pieces:
        address = (*address[:-1], address[-1] + "\0")
    return address


def _add(
    pieces: dict[Address, Piece], pack: str, address: Address, values: Mapping[str, Any], path: Path
) -> None:
    origins = {key: Origin(pack, path if key == _WHOLE else (*path, key)) for key in values}
    pieces[address] = Piece(address, values, Origin(pack, path), origins)


def lay(parent: Sheet, child: Sheet) -> Sheet:
    """The child laid over the parent. Of three it does not matter which two are laid first."""
    gone = [*child.removed, *_out_of_shape(child)]
    left = {
        address: piece
        for address, piece in parent.pieces.items()
        if address == () or not _is_under(address, gone)
    }
    for address, piece in child.pieces.items():
        below = left.get(address)
        left[address] = piece if below is None or not piece.is_laid_by_key else _over(below, piece)
    return Sheet(left, tuple(dict.fromkeys([*parent.removed, *child.removed])))


def _out_of_shape(sheet: Sheet) -> list[Address]:
    """What should be tables and is none: it must not hide behind those of the other pack."""
    tables = {0: {*SECTIONS, *LISTS}, 2: {*TIER_SECTIONS, *TIER_LISTS}}
    return [
        (*address, key)
        for address, piece in sheet.pieces.items()
        for key in piece.values
        if key in tables.get(len(address), ()) and address[:1] in ((), ("tier",))
    ]


def _is_under(address: Address, removed: Iterable[Address]) -> bool:
    return any(address[: len(one)] == one for one in removed)


def _over(below: Piece, piece: Piece) -> Piece:
    values = {**below.values, **piece.values}
    origins = {**below.origins, **piece.origins}
    inherited = below.values.get("citation")
    if isinstance(inherited, list):
        given = piece.values.get("citation")
        own = given if isinstance(given, list) else []
        changed = piece.values.keys() | {_key_of(one) for one in own}
        is_new = "citation" in piece.values
        kept = [
            one
            for one in inherited
            if (not is_new if _key_of(one) is None else _key_of(one) not in changed)
        ]
        if not is_new and kept:
            values["citation"] = kept
        elif not is_new:
            del values["citation"]
        elif isinstance(given, list):
            values["citation"] = [*given, *kept]
    return replace(below, values=values, origins=origins)


def _key_of(citation: Any) -> str | None:
    """The key that a citation is for, if it is for one alone."""
    found = _FOR_KEY.match(citation) if isinstance(citation, str) else None
    return found[1] if found else None


def mistakes(parent: Sheet, child: Sheet) -> list[Mistake]:
    """What can not be laid over the parent: things removed that are not there, depth without a why."""
    found = []
    root = child.pieces[()]
    for index, one in enumerate(root.values.get("remove", []) if child.removed else []):
        address = address_of(one) if isinstance(one, str) else None
        if address is not None and not any(
            _is_under(known, [address]) for known in parent.pieces if known
        ):
            place = Origin(root.origin.pack, ("remove", index))
            found.append(Mistake(place, f"{one} is not in {root.values.get('extends')}"))
    for address, piece in child.pieces.items():
        is_kept = address in parent.pieces and not _is_under(address, child.removed)
        changes_depth = any(key in piece.values for key in DEPTH_KEYS)
        is_tier = len(address) == 2 and address[0] == "tier"
        if is_tier and is_kept and changes_depth and "citation" not in piece.values:
            message = (
                f"the depth of tier {address[1]} is changed here, so its citation is expected here"
            )
            found.append(Mistake(Origin(piece.origin.pack, piece.origin.path), message))
    return found


def assemble(sheet: Sheet) -> tuple[dict[str, Any], dict[Path, Origin]]:
    """The document again, for the model; and for each place in it the origin."""
    document: dict[str, Any] = {}
    origins: dict[Path, Origin] = {}
    paths: dict[Address, Path] = {}
    for address in sorted(sheet.pieces, key=len):  # stable: outer tables first, in their order
        piece = sheet.pieces[address]
        values = piece.values[_WHOLE] if _WHOLE in piece.values else dict(piece.values)
        path: Path
        if not address:
            document, path = {**values, **document}, ()
        else:
            outer = paths.get(address[:2], ()) if len(address) > 2 else ()
            table = _at(document, outer)
            name = address[len(address) - 1] if len(address) in (1, 3) else address[-2]
            if len(address) in (1, 3):
                table.setdefault(name, values)
                path = (*outer, name)
            else:
                entries = table.setdefault(name, [])
                if not isinstance(entries, list):
                    continue  # out of shape already
                entries.append(values)
                path = (*outer, name, len(entries) - 1)
        paths[address] = path
        origins[path] = piece.origin
        for key, origin in piece.origins.items():
            if key != _WHOLE:
                origins[(*path, key)] = origin
    return document, origins


def _at(document: dict[str, Any], path: Path) -> Any:
    table: Any = document
    for part in path:
        table = table[part]
    return table


def find_origin(origins: Mapping[Path, Origin], path: Path) -> Origin:
    """The origin of what stands at a place of the assembled document, or of the table around it."""
    for length in range(len(path), -1, -1):
        origin = origins.get(path[:length])
        if origin is not None:
            return Origin(origin.pack, (*origin.path, *path[length:]))
    raise KeyError(path)
