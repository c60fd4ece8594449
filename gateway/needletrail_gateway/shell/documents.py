"""Reading what people write: registry and policy pack, TOML files checked whole.

A `DocumentError` names the file, the place in it, what is wrong and what was expected.
"""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from needletrail_gateway.core.policy import Policy
from needletrail_gateway.core.registry import Keys, Registry

_Model = TypeVar("_Model", bound=BaseModel)


class DocumentError(Exception):
    """A file that can not be used. The text is for the person who wrote the file."""


def read_registry(path: Path) -> Registry:
    """The registry in a TOML file; DocumentError otherwise."""
    return _read(path, Registry)


def read_policy(name: str, folder: Path | None = None) -> Policy:
    """The policy pack NAME, from `folder` or from those that come with Needletrail."""
    folder = packs_folder() if folder is None else folder
    path = folder / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.toml"))) or "none"
        raise DocumentError(f"{path}: there is no policy pack {name!r}. Known packs: {known}.")
    return _read(path, Policy)


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


def _read(path: Path, model: type[_Model]) -> _Model:
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
    try:
        return model.model_validate(document)
    except ValidationError as error:
        complaints = [_complaint(path, text, dict(found)) for found in error.errors()]
        raise DocumentError("\n".join(complaints)) from error


def _complaint(path: Path, text: str, found: dict[str, Any]) -> str:
    location = (*found["loc"], *found.get("ctx", {}).get("place", ()))
    place = [str(part) for part in location]
    line = _line_of(text, location)
    where = f"{path}:{line}" if line else str(path)
    what = ".".join(place)
    message = str(found["msg"]).removeprefix("Value error, ")
    if found["type"] == "extra_forbidden":
        message = "this key is not known here; check its spelling"
    return f"{where}: {what}: {message}." if what else f"{where}: {message}."


def _line_of(text: str, location: tuple[Any, ...]) -> int | None:
    """The line of a key, or else of its table, as well as plain text search can tell."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    at = -1
    table = ""
    for part, following in zip(location, (*location[1:], None), strict=True):
        if isinstance(part, int):
            continue
        table = f"{table}.{part}".lstrip(".")
        heads = [
            number
            for number in range(at + 1, len(lines))
            if lines[number] in (f"[[{table}]]", f"[{table}]")
        ]
        wanted = following if isinstance(following, int) else 0
        if wanted < len(heads):
            at = heads[wanted]
            continue
        for number in range(at + 1, len(lines)):
            if lines[number].startswith("["):
                break
            if lines[number].split("=")[0].strip() == part:
                return number + 1
        break
    return at + 1 if at >= 0 else None
