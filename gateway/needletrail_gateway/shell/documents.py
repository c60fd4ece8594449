"""Reading what people write: registry and policy pack, TOML files checked whole.

A `DocumentError` names the file, the line, the place in it, what is wrong and what was expected, for
every mistake at once. A policy pack is laid over the one that it extends; a mistake that shows only
then is told where it stands, also if that is the other pack's file.
"""

import difflib
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from needletrail_gateway.core.packs import extend
from needletrail_gateway.core.packs.extend import Origin, Sheet
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Keys, Registry
from needletrail_gateway.shell.toml_places import find_places, line_of

_Model = TypeVar("_Model", bound=BaseModel)
_Place = tuple[str | int, ...]

PACK_SUFFIX = ".toml"
BUILT_IN = "built in"  # what holds where no pack says anything


@dataclass(frozen=True)
class Complaint:
    """One mistake in a file. Line and place are None if it concerns the file as a whole."""

    file: str
    line: int | None
    place: str | None
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join([where, *([self.place] if self.place else []), self.message + "."])


class DocumentError(Exception):
    """A file that can not be used. The text is for the person who wrote the file."""

    def __init__(self, text: str = "", complaints: Iterable[Complaint] = ()) -> None:
        """`complaints`: the same, one by one, where it is known one by one."""
        self.complaints = tuple(complaints)
        super().__init__(text or "\n".join(map(str, self.complaints)))


@dataclass(frozen=True)
class Pack:
    """A policy pack with the origin of everything in it. `files`: the file of each pack's name."""

    policy: Policy
    origins: Mapping[_Place, Origin]
    files: Mapping[str, Path]

    def origin(self, place: _Place) -> str:
        """The name of the pack that says what stands at a place of the policy; or BUILT_IN."""
        if not any(place[:length] in self.origins for length in range(1, len(place) + 1)):
            return BUILT_IN
        return extend.find_origin(self.origins, place).pack


# ---- what is read ----


def read_registry(path: Path) -> Registry:
    """The registry in a TOML file; DocumentError otherwise."""
    source = _read(path)
    return _validated(Registry, source.document, lambda place: (source, place))


def read_policy(name: str, folder: Path | None = None) -> Policy:
    """The policy pack NAME, from `folder` or from those that come with Needletrail."""
    return read_pack(name, folder).policy


def read_pack(name: str, folder: Path | None = None) -> Pack:
    """The same, with the origin of everything in it."""
    folder = packs_folder() if folder is None else folder
    path = folder / f"{name}{PACK_SUFFIX}"
    if not path.is_file():
        raise DocumentError(f"{path}: there is no policy pack {name!r}. {_known([folder])}")
    return read_pack_file(path)


def read_pack_file(path: Path) -> Pack:
    """A policy pack in a file of whatever folder; what it extends is beside it, or comes with us."""
    chain = _chain(path)
    sheet = Sheet({})
    lineage: list[str] = []
    pack = None
    files = {source.name: source.path for source in chain}
    for source in reversed(chain):
        if pack is not None:
            _check_version(source, pack.policy)
        if "lineage" in source.document:
            here = Origin(source.name, ("lineage",))
            raise DocumentError(complaints=[source.complaint(here, "is filled in by Needletrail")])
        own = extend.take_apart(source.name, source.document)
        mistakes = extend.mistakes(sheet, own) if sheet.pieces else []
        if mistakes:
            raise DocumentError(complaints=[source.complaint(*mistake) for mistake in mistakes])
        sheet = extend.lay(sheet, own)
        document, origins = extend.assemble(sheet)
        policy = _validated(
            Policy,
            {**document, "lineage": lineage},
            lambda place, origins=origins: _found(place, origins, chain),  # type: ignore[misc]
            over=source,
        )
        if policy.name != source.path.name.removesuffix(PACK_SUFFIX):
            raise DocumentError(
                complaints=[
                    source.complaint(
                        Origin(source.name, ("name",)),
                        f"expected the file's own name, {source.path.name.removesuffix(PACK_SUFFIX)}",
                    )
                ]
            )
        pack = Pack(policy, origins, files)
        lineage = [f"{policy.name} {policy.version}", *lineage]
    assert pack is not None
    return pack


def packs_folder() -> Path:
    """Where the packs that come with Needletrail are."""
    return data_folder("packs", Path(__file__).parents[2] / "packs")


def data_folder(name: str, in_source: Path) -> Path:
    """A folder that travels with the package: beside the sources, or inside the installed wheel."""
    installed = Path(__file__).parents[1] / "data" / name
    return installed if installed.is_dir() else in_source


def keys_of(registry: Registry) -> dict[str, Keys]:
    """The pens' keys that a registry document holds: one, or those by epoch."""
    found: dict[str, Keys] = {}
    for pen in registry.pen:
        if pen.keys is not None:
            found[pen.id] = {one.epoch: _key(one.key) for one in pen.keys}
        elif pen.key is not None:
            found[pen.id] = _key(pen.key)
    return found


def _key(secret: SecretStr) -> bytes:
    return bytes.fromhex(secret.get_secret_value())


# ---- files ----


@dataclass(frozen=True)
class _Source:
    """A file that is TOML; what it means is not known yet. `name`: what its pack is called here."""

    path: Path
    name: str
    document: dict[str, Any]
    places: Mapping[_Place, int]

    def complaint(self, origin: Origin, message: str) -> Complaint:
        """What is wrong at a place of this file."""
        place = ".".join(str(part) for part in origin.path)
        return Complaint(str(self.path), line_of(self.places, origin.path), place or None, message)


def _read(path: Path) -> _Source:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DocumentError(f"{path}: can not be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path}: is not UTF-8 text (byte {error.start}).") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(f"{path}: is not valid TOML: {error}.") from error
    return _Source(path, path.name.removesuffix(PACK_SUFFIX), document, find_places(text))


def _chain(path: Path) -> list[_Source]:
    """The file of a pack and those that it extends, the root last."""
    chain = [_read(path)]
    while "extends" in chain[-1].document:
        last = chain[-1]
        wanted = last.document["extends"]
        here = Origin(last.name, ("extends",))
        if not isinstance(wanted, str):
            raise DocumentError(
                complaints=[last.complaint(here, "expected the name of a pack, in quotes")]
            )
        folders = list(dict.fromkeys([last.path.parent, packs_folder()]))
        found = next((one for one in (_file(folder, wanted) for folder in folders) if one), None)
        if found is None:
            message = f"there is no policy pack {wanted!r}. {_known(folders)}"
            raise DocumentError(complaints=[last.complaint(here, message.removesuffix("."))])
        if any(found.resolve() == one.path.resolve() for one in chain):
            names = " extends ".join([*(one.name for one in chain), wanted])
            message = f"a pack can not extend itself: {names}"
            raise DocumentError(complaints=[last.complaint(here, message)])
        chain.append(_read(found))
    return chain


def _file(folder: Path, name: str) -> Path | None:
    path = folder / f"{name}{PACK_SUFFIX}"
    return path if path.is_file() and path.parent == folder else None


def _known(folders: Iterable[Path]) -> str:
    found = {path.name for folder in folders for path in folder.glob(f"*{PACK_SUFFIX}")}
    known = ", ".join(sorted(name.removesuffix(PACK_SUFFIX) for name in found)) or "none"
    return f"Known packs: {known}."


def _check_version(source: _Source, parent: Policy) -> None:
    wanted = source.document.get("extends_version", parent.version)
    if wanted != parent.version:
        message = (
            f"was written over {parent.name} {wanted}, which is now {parent.version}. See what has "
            f"changed, then write extends_version = {parent.version!r}"
        )
        raise DocumentError(
            complaints=[source.complaint(Origin(source.name, ("extends_version",)), message)]
        )


# ---- mistakes ----


def _found(
    place: _Place, origins: Mapping[_Place, Origin], chain: list[_Source]
) -> tuple[_Source, _Place]:
    origin = extend.find_origin(origins, place)
    return next(source for source in chain if source.name == origin.pack), origin.path


def _validated(
    model: type[_Model],
    document: dict[str, Any],
    find: Callable[[_Place], tuple[_Source, _Place]],
    over: _Source | None = None,
) -> _Model:
    """The document as a model. `find`: the file, and the place in it, of a place of the document.

    over: the file that was laid over the others last. What is wrong in others came with it.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        complaints = []
        for found in error.errors():
            context = found.get("ctx", {})
            here = ([context.get("place", ())], _message(model, dict(found)))
            for places, message in context.get("mistakes", [here]):
                candidates = [find((*found["loc"], *one)) for one in places]
                # Of several places that do not go together, the one that came last is the new one.
                source, place = next((one for one in candidates if one[0] is over), candidates[0])
                told = message
                if over is not None and source is not over:
                    told += f" (once {over.path} is laid over it)"
                complaints.append(source.complaint(Origin(source.name, place), told))
        raise DocumentError(complaints=complaints) from error


def _message(model: type[BaseModel], found: dict[str, Any]) -> str:
    message = str(found["msg"]).removeprefix("Value error, ")
    if found["type"] == "extra_forbidden":
        message = "this key is not known here; check its spelling"
        *outer, key = found["loc"]
        known = _keys_at(model, outer)
        close = difflib.get_close_matches(str(key), known, 1)
        if close:
            message += f"; perhaps {close[0]} is meant"
        elif known:
            message += f": expected one of {', '.join(known)}"
    return message.removesuffix(".")


def _keys_at(model: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    """The keys that a table at a place of a model's document may have."""
    kind: Any = model
    for part in location:
        if isinstance(part, str):
            if part not in kind.model_fields:
                return []
            kind = _inner(kind.model_fields[part].annotation)
            if kind is None:
                return []
    return [name for name in kind.model_fields if name != "lineage"]


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model`, `list[Model]` or `Model | None`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((kind for kind in map(_inner, typing.get_args(annotation)) if kind), None)
