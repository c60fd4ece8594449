"""A case folder: a registry, a script in human terms, and the verdict that must come of it; data only.

Strategy: three TOML files are read and checked whole before anything is run. Whatever is not known, is
of the wrong kind or is missing is an error with file and line, so that nobody needs to look into this
code to write a case. docs/how-to/add-a-case.md tells what can be written; case_stage.py plays it.
"""

import copy
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from needletrail_gateway.core.packs.model import Code, Policy
from needletrail_gateway.core.registry.changes import SECTIONS
from needletrail_gateway.core.registry.model import (
    CartridgeLot,
    CartridgeProduct,
    Clinic,
    Consumable,
    Pen,
    Practitioner,
    Registry,
)
from needletrail_gateway.shell.documents import DocumentError, read_pack_file
from needletrail_gateway.shell.toml_places import find_places, line_of

CASES = Path(__file__).parent / "cases"
REGISTRY, RECORDS, EXPECTED = "registry.toml", "records.toml", "expected.toml"
BEGINS = datetime(2026, 7, 1, 9, tzinfo=UTC)

_ROWS: dict[str, type[BaseModel]] = {
    "clinic": Clinic,
    "practitioner": Practitioner,
    "pen": Pen,
    "cartridge_product": CartridgeProduct,
    "cartridge_lot": CartridgeLot,
    "consumable": Consumable,
}


class CaseError(Exception):
    """A case that can not be run as it is written: file, line, and what is wrong."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


# ---- what can happen ----


class _PenStep(_Table):
    pen: str | None = None


class _Lasting(_PenStep):
    s: Annotated[float, Field(gt=0)] | None = None
    ms: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "_Lasting":
        if (self.s is None) == (self.ms is None):
            raise ValueError("say how long: either s or ms")
        return self

    @property
    def lasts_ms(self) -> int:
        return self.ms if self.ms is not None else round((self.s or 0) * 1000)


class Tag(_Table):
    """What a cartridge's tag says otherwise than a fresh one. "" leaves that element out."""

    serial: str | None = None
    lot: str | None = None
    gtin: str | None = None
    expires: date | Literal[""] | None = None


class Boot(_Table):
    """The pen is switched on. pinned: it says hello, and the gateway notes what time it is."""

    boot: str
    clock: Literal["set", "unset"] = "set"
    clock_off_s: float = 0
    pinned: bool = False


class Open(_Table):
    """A session begins."""

    open: str
    badge: str | None = None
    cartridge: Tag | Literal["none", "blank"] = Tag()
    cause: Literal["cartridge", "motor", "badge"] = "cartridge"
    grant_hours: float | Literal["none"] | None = None


class Work(_Lasting):
    """Motor on, on skin."""

    work_mm: float


class Dial(_Lasting):
    """The dial at a depth, with motor and contact as said."""

    dial_mm: float
    motor: bool
    contact: bool


class Rest(_PenStep):
    """Motor off, in the air. each_ms: one reading in so many."""

    rest_s: Annotated[float, Field(gt=0)]
    each_ms: Annotated[int, Field(ge=20, le=10_000)] = 20


class Silent(_PenStep):
    """No readings at all."""

    silent_ms: Annotated[int, Field(gt=0)]


class BadgeRead(_PenStep):
    """A badge is read while the session runs."""

    badge: str


class TakeGrant(_PenStep):
    """The pen takes another grant, issued so many hours ago."""

    take_grant_hours: float | Literal["none"]


class FaultTold(_PenStep):
    """A part of the pen fails, or works again."""

    fault: str
    says: str = "no answer"
    is_over: bool = False


class Lose(_PenStep):
    """So many of the next records are lost before they were sent."""

    lose: Annotated[int, Field(ge=1)]


class Forge(_PenStep):
    """Somebody with the pen's key sends another record in the place of the last one."""

    forge: Literal["the last record"]


class Close(_PenStep):
    """The session ends."""

    close: Literal["removal", "idle", "power off", "badge", "other cartridge", "power loss"]


class PassDays(_Table):
    """Days go by; all pens are switched off."""

    pass_days: Annotated[int, Field(ge=1)]


class PassSeconds(_Table):
    """Time goes by, and the pens stay on."""

    pass_s: Annotated[float, Field(gt=0)]


class NoteWritten(_Table):
    """The clinic's note on a treatment. no = "all": every condition of the pack, but those of `yes`."""

    note: str
    practitioner: str
    yes: list[str] = []
    no: list[str] | Literal["all"] = []
    prevented: list[str] = []
    area: str | None = None
    session: str | None = None


class OverrideWritten(_Table):
    """Somebody's word that a reason does not hold in a session (left out: the one that is open)."""

    override: Code
    why: str = "for the test"
    who: str = "md-01"
    session: str | None = None


class Import(_Table):
    """The registry changes: a file of the folder is laid over what it is."""

    import_: str = Field(alias="import")


class Restart(_Table):
    """The gateway is killed and started again."""

    restart: Literal["gateway"]


class Hold(_Table):
    """From now on this pen's records do not reach the gateway."""

    hold: str


class Deliver(_Table):
    """All that was held back arrives."""

    deliver: str


class Repeat(_Table):
    """Every message of every pen arrives once more."""

    repeat: Literal["everything"]


class Amend(_Table):
    """A closed session (left out: the last one) is judged again, for a reason."""

    amend: Literal["override", "note", "late record"]
    session: str | None = None


Step = (
    Boot
    | Open
    | Work
    | Dial
    | Rest
    | Silent
    | BadgeRead
    | TakeGrant
    | FaultTold
    | Lose
    | Forge
    | Close
    | PassDays
    | PassSeconds
    | NoteWritten
    | OverrideWritten
    | Import
    | Restart
    | Hold
    | Deliver
    | Repeat
    | Amend
)


def _verb(model: type[BaseModel]) -> str:
    """The key by which a step is known: the first one that the model itself declares."""
    name = next(iter(model.__annotations__))
    return model.model_fields[name].alias or name


VERBS: dict[str, type[BaseModel]] = {_verb(model): model for model in get_args(Step)}


# ---- what must come of it ----


class Said(_Table):
    """What a verdict must say; what is left out may be anything.

    undecided: the reasons that only ask for a look. alerts: what was raised while it ran.
    """

    verdict: Literal["compliant", "review", "violation"]
    reasons: list[Code]
    limited_by: str | None = None
    scope_mm: float | None = None
    tier: str | None = None
    practitioner: str | None = None
    peak_mm: float | None = None
    breach_ms: int | None = None
    over_limit_ms: int | None = None
    session_ms: int | None = None
    undecided: list[Code] | None = None
    overridden: list[Code] | None = None
    clock: Literal["pen", "gateway", "none"] | None = None
    amended: bool | None = None
    alerts: list[Code] | None = None


class Expected(Said):
    """The verdict on the last session, and under other packs where it is another one.

    packs: under which the case is run; it is played under the first, and judged again under the others.
    also: what must be said of other sessions of the case, under the first pack.
    """

    session: str | None = None
    packs: list[str] | Literal["every"] = "every"
    under: dict[str, Said] = {}
    also: dict[str, Said] = {}


@dataclass(frozen=True)
class Case:
    """A case that is well written. documents: the registry as it begins, and those imported later."""

    name: str
    folder: Path
    registry: Registry
    later: Mapping[str, Registry]
    begins: datetime
    steps: tuple[Any, ...]
    expected: Expected

    def policy(self, shipped: Mapping[str, Policy], name: str) -> Policy:
        """The pack of that name: one beside the case, or one that comes with Needletrail."""
        own = self.folder / f"{name}.toml"
        if own.is_file():
            return read_own_pack(own)
        return shipped[name]

    @property
    def own_pack(self) -> str:
        """The pack under which it is played."""
        return self.registry.clinic.policy


def names(root: Path = CASES) -> list[str]:
    """Every case."""
    return sorted(path.name for path in root.iterdir() if path.is_dir())


_OWN_PACKS: dict[Path, Policy] = {}


def read_own_pack(path: Path) -> Policy:
    """A pack beside a case; it may extend one that comes with Needletrail."""
    if path not in _OWN_PACKS:
        try:
            _OWN_PACKS[path] = read_pack_file(path).policy
        except DocumentError as error:
            raise CaseError(str(error)) from error
    return _OWN_PACKS[path]


def read_case(name: str, root: Path = CASES) -> Case:
    """The case of that name; CaseError if anything about it is not as it should be."""
    folder = root / name
    known = {REGISTRY, RECORDS, EXPECTED}
    missing = [one for one in sorted(known) if not (folder / one).is_file()]
    if missing:
        raise CaseError(f"{folder}: {', '.join(missing)} is missing")
    files = {one: _File.read(folder / one) for one in known}
    document = _registry_document(files[REGISTRY], root)
    script = files[RECORDS]
    begins, steps = _steps(script)
    later = {}
    for step in steps:
        if isinstance(step, Import):
            path = folder / step.import_
            if not path.is_file():
                raise CaseError(f"{script.path}: there is no file {step.import_!r} to import")
            document = _laid_over(document, _File.read(path))
            later[step.import_] = _registry(path, document)
    first = _registry(folder / REGISTRY, _registry_document(files[REGISTRY], root))
    packs = {first.clinic.policy, *(one.clinic.policy for one in later.values())}
    allowed = known | set(later) | {f"{pack}.toml" for pack in packs}
    for path in sorted(folder.iterdir()):
        if path.name not in allowed:
            raise CaseError(f"{path}: nothing in the case asks for this file")
    return Case(name, folder, first, later, begins, steps, files[EXPECTED].model(Expected))


def _steps(script: "_File") -> tuple[datetime, tuple[Any, ...]]:
    document = script.document
    script.check_keys(document, {"begins", "step"}, ())
    begins = document.get("begins", BEGINS)
    if not isinstance(begins, datetime) or begins.tzinfo is None:
        raise script.error(
            ("begins",), "expected a date and time with a zone, such as 2026-07-01T09:00:00Z"
        )
    found = document.get("step")
    if not isinstance(found, list) or not found:
        raise script.error(("step",), "expected a list of steps")
    return begins, tuple(_step(script, index, one) for index, one in enumerate(found))


def _step(script: "_File", index: int, table: Any) -> Any:
    place = ("step", index)
    if not isinstance(table, dict):
        raise script.error(place, "expected a table such as { work_mm = 0.3, s = 2 }")
    verb = next(iter(table), None)
    model = VERBS.get(str(verb))
    if model is None:
        raise script.error(place, f"a step begins with what happens; {_suggest(str(verb), VERBS)}")
    return script.validated(model, table, place)


def _suggest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    end = f"perhaps {close[0]!r} is meant" if close else f"known are {', '.join(sorted(known))}"
    return f"{word!r} is not known here: {end}"


# ---- registries ----


def _registry_document(file: "_File", root: Path) -> dict[str, Any]:
    """The document that a case's registry.toml makes, with the shared one that it names below it."""
    base = file.document.get("base")
    if base is None:
        return _laid_over({}, file)
    shared = root / f"{base}.toml"
    if not isinstance(base, str) or not shared.is_file():
        raise file.error(("base",), f"there is no {base}.toml beside the cases")
    return _laid_over(_laid_over({}, _File.read(shared)), file)


def _laid_over(below: Mapping[str, Any], file: "_File") -> dict[str, Any]:
    """A registry with a file's rows laid over it, key by key, and what the file removes taken away."""
    document: dict[str, Any] = copy.deepcopy(dict(below))
    own = file.document
    file.check_keys(own, {"base", "remove", *_ROWS}, ())
    for index, address in enumerate(own.get("remove", [])):
        if not _take_away(document, str(address)):
            raise file.error(("remove", index), f"{address} is not there")
    if "clinic" in own:
        file.check_keys(own["clinic"], set(Clinic.model_fields), ("clinic",))
        document["clinic"] = {**document.get("clinic", {}), **own["clinic"]}
    for section, keys in SECTIONS.items():
        rows = document.setdefault(section, [])
        for index, row in enumerate(own.get(section, [])):
            place = (section, index)
            file.check_keys(row, set(_ROWS[section].model_fields), place)
            for key in keys:
                if key not in row:
                    raise file.error(place, f"expected {key}")
            same = [one for one in rows if all(one[key] == row[key] for key in keys)]
            if same:
                same[0].update(row)
            else:
                rows.append(dict(row))
    return document


def _take_away(document: dict[str, Any], address: str) -> bool:
    """Such as clinic.medical_director, practitioner.rn-01, or practitioner.rn-01.supervisor."""
    section, _, rest = address.partition(".")
    found = document.get(section)
    if isinstance(found, dict):
        return found.pop(rest, None) is not None
    name, _, key = rest.partition(".")
    for row in found or []:
        if " ".join(str(row[one]) for one in SECTIONS[section]) == name:
            if key:
                return row.pop(key, None) is not None
            document[section].remove(row)
            return True
    return False


def _registry(path: Path, document: Mapping[str, Any]) -> Registry:
    try:
        return Registry.model_validate(document)
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"]))
        raise CaseError(f"{path}: {place}: {found['msg']}") from error


# ---- files ----


@dataclass(frozen=True)
class _File:
    path: Path
    document: dict[str, Any]
    text: str

    @classmethod
    def read(cls, path: Path) -> "_File":
        text = path.read_text(encoding="utf-8")
        try:
            return cls(path, tomllib.loads(text), text)
        except tomllib.TOMLDecodeError as error:
            raise CaseError(f"{path}: is not valid TOML: {error}") from error

    def error(self, place: tuple[str | int, ...], message: str) -> CaseError:
        where = ".".join(map(str, place))
        line = line_of(find_places(self.text), place)
        return CaseError(f"{self.path}:{line}: {where}: {message}")

    def check_keys(self, table: Any, known: set[str], place: tuple[str | int, ...]) -> None:
        if not isinstance(table, dict):
            raise self.error(place, "expected a table")
        for key in table:
            if key not in known:
                raise self.error((*place, key), _suggest(key, known))

    def model(self, model: type[Expected]) -> Expected:
        found = self.validated(model, self.document, ())
        assert isinstance(found, Expected)
        return found

    def validated(
        self, model: type[BaseModel], table: dict[str, Any], place: tuple[str | int, ...]
    ) -> BaseModel:
        known = {field.alias or name for name, field in model.model_fields.items()}
        self.check_keys(table, known, place)
        try:
            return model.model_validate(table)
        except ValidationError as error:
            found = error.errors()[0]
            inner = tuple(
                one for one in found["loc"] if isinstance(one, int) or one in table or place == ()
            )
            message = str(found["msg"]).removeprefix("Value error, ")
            raise self.error((*place, *inner), message) from error
