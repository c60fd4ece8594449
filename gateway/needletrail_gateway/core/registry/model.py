"""The clinic's registry: who works here, with which pens, cartridges and permits.

One document, in the form of a TOML file that a clinic could keep by hand. It is checked whole before
anything of it is used: unknown keys, double ids, and references to nobody are errors. Depths are
millimetres in the document and in these models, and micrometres wherever one calculates.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from needletrail_protocol.authentication import EPOCH_MAX, KEY_LENGTH
from needletrail_protocol.measure import DIAL_MAX_COUNTS, Calibration
from needletrail_protocol.topics import is_identifier

Keys = bytes | Mapping[int, bytes]  # a pen's one key, or its keys by epoch

Tier = Literal["home", "nano", "cosmetic", "medical", "radio-frequency"]
Supervision = Literal["none", "documented", "on_premises"]
DeviceKind = Literal["pen", "radio-frequency", "roller"]

DEPTH_MAX_MM = 20


def _identifier(value: object) -> object:
    if not isinstance(value, str) or not is_identifier(value):
        raise ValueError("must be 1 to 32 of a-z, 0-9 and '-', and not begin with '-'")
    return value


def _gtin(value: object) -> object:
    if not isinstance(value, str) or len(value) != 14 or not set(value) <= set("0123456789"):
        raise ValueError("must be a GTIN of 14 digits, in quotes")
    weighted = sum(int(digit) * (3, 1)[index % 2] for index, digit in enumerate(value[:13]))
    if (10 - weighted % 10) % 10 != int(value[13]):
        raise ValueError("has a wrong check digit")
    return value


def _badge_id(value: object) -> object:
    if not isinstance(value, str) or not 1 <= len(value) <= 64 or not _is_path_segment(value):
        raise ValueError("must be 1 to 64 of the characters that a badge's link can carry")
    return value


def _is_path_segment(text: str) -> bool:
    return all("!" <= character <= "~" and character not in "/\\" for character in text)


Identifier = Annotated[str, BeforeValidator(_identifier)]
Gtin = Annotated[str, BeforeValidator(_gtin)]
BadgeId = Annotated[str, BeforeValidator(_badge_id)]
DepthMm = Annotated[float, Field(ge=0, le=DEPTH_MAX_MM)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=0)]


def misplaced(place: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """An error that concerns several places of a document; `place` is the one to look at."""
    return PydanticCustomError("misplaced", "{message}", {"place": place, "message": message})


def check_distinct(section: str, key: str, found: list[Any]) -> None:
    """An error if two entries of [[section]] have the same key."""
    seen: dict[Any, int] = {}
    for index, one in enumerate(found):
        if one in seen:
            raise misplaced((section, index, key), f"entry {seen[one] + 1} has the same {key}")
        seen[one] = index


def um(mm: float) -> int:
    """Whole micrometres of a depth in millimetres."""
    return round(mm * 1000)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Clinic(_Entry):
    """Where the treatments happen. place: a clinic, or somebody's home."""

    id: Identifier
    name: Text
    policy: Identifier
    medical_director: Identifier | None = None
    place: Literal["clinic", "home"] = "clinic"


class Practitioner(_Entry):
    """A person and the permit they hold here. `max_mm` is a documented limit of their own.

    The licence is good from `license_from` to `license_expires`, both days included, but not while
    it is suspended (`suspended_from` to `suspended_until`; without an end: until further notice).
    """

    id: BadgeId
    name: Text
    credential: Text
    license: Text
    license_from: date | None = None
    license_expires: date
    suspended_from: date | None = None
    suspended_until: date | None = None
    tier: Tier
    max_mm: DepthMm | None = None
    max_inclusive: bool = True
    basis: Text | None = None
    supervision: Supervision = "none"
    supervisor: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.license_from is not None and self.license_from > self.license_expires:
            raise misplaced(("license_from",), "the licence would end before it begins")
        if self.suspended_until is not None:
            if self.suspended_from is None:
                raise misplaced(("suspended_until",), "suspended_from is missing")
            if self.suspended_until < self.suspended_from:
                raise misplaced(("suspended_until",), "the suspension would end before it begins")
        return self

    def is_suspended(self, on: date) -> bool:
        """Whether the licence is suspended on that day, or has not begun."""
        if self.license_from is not None and on < self.license_from:
            return True
        if self.suspended_from is None or on < self.suspended_from:
            return False
        return self.suspended_until is None or on <= self.suspended_until

    def licensed_until(self, on: date) -> date:
        """The last day of the licence, as seen from a day on which it is good."""
        if self.suspended_from is not None and on < self.suspended_from:
            return min(self.license_expires, self.suspended_from - timedelta(days=1))
        return self.license_expires


def _is_key(secret: SecretStr) -> bool:
    try:
        return len(bytes.fromhex(secret.get_secret_value())) == KEY_LENGTH
    except ValueError:
        return False


class PenKey(_Entry):
    """A pen's key in one key epoch, 64 hexadecimal digits."""

    epoch: Annotated[int, Field(ge=1, le=EPOCH_MAX)]
    key: SecretStr


class Pen(_Entry):
    """A pen: what its label allows, how its dial reads, and its key, or its keys by epoch.

    Several keys: those under which it may still hold records that have not arrived.
    """

    id: Identifier
    model: Text
    kind: DeviceKind = "pen"
    cleared_class_ii: bool
    label_max_mm: DepthMm
    accuracy_mm: DepthMm
    reading_tolerance_mm: DepthMm
    calibration: list[tuple[int, DepthMm]]
    calibrated: date | None = None  # when the table was measured
    key: Annotated[SecretStr | None, Field(exclude=True)] = None
    keys: Annotated[list[PenKey] | None, Field(exclude=True, min_length=1)] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            deepest_um = self.counts_to_depth().depth_um(DIAL_MAX_COUNTS)
        except ValueError as error:
            raise misplaced(("calibration",), str(error)) from error
        if deepest_um > um(DEPTH_MAX_MM):
            raise misplaced(("calibration",), f"the dial would end beyond {DEPTH_MAX_MM} mm")
        if self.key is not None and not _is_key(self.key):
            raise misplaced(("key",), "must be 64 hexadecimal digits")
        if self.keys is not None:
            if self.key is not None:
                raise misplaced(("keys",), "a pen has either key or keys")
            for index, one in enumerate(self.keys):
                if not _is_key(one.key):
                    raise misplaced(("keys", index, "key"), "must be 64 hexadecimal digits")
            check_distinct("keys", "epoch", [one.epoch for one in self.keys])
        return self

    def counts_to_depth(self) -> Calibration:
        """The dial's calibration, in micrometres."""
        return _calibration(tuple(self.calibration))


@lru_cache(maxsize=256)  # each session of a pen asks for it
def _calibration(points: tuple[tuple[int, float], ...]) -> Calibration:
    return Calibration([(counts, um(mm)) for counts, mm in points])


class CartridgeProduct(_Entry):
    """A kind of cartridge, by its GTIN. `reorder_at`: order more when so many are left."""

    gtin: Gtin
    name: Text
    needle_max_mm: DepthMm
    sterile_single_use: bool
    reorder_at: Count | None = None


class CartridgeLot(_Entry):
    """A delivery of cartridges. `recalled` is the day from which it must not be used.

    `received`: how many came with it. What comes or goes later is stock's to say.
    """

    gtin: Gtin
    lot: Text
    received: Count
    expires: date | None = None
    recalled: date | None = None
    recall: Text | None = None


class Consumable(_Entry):
    """What is used up beside cartridges, in whole units (000: sleeves, numbing cream; 004: glide)."""

    id: Identifier
    name: Text
    kind: Literal["sleeve", "numbing_cream", "glide", "other"]
    unit: Text
    received: Count = 0
    reorder_at: Count | None = None


class Registry(_Entry):
    """The whole document. Lookups by id return None where there is nobody."""

    clinic: Clinic
    practitioner: list[Practitioner] = []
    pen: list[Pen] = []
    cartridge_product: list[CartridgeProduct] = []
    cartridge_lot: list[CartridgeLot] = []
    consumable: list[Consumable] = []

    # No private attributes of the model: pydantic looks for those in a slow way.
    @cached_property
    def _people(self) -> dict[str, Practitioner]:
        return {person.id: person for person in self.practitioner}

    @cached_property
    def _pens(self) -> dict[str, Pen]:
        return {pen.id: pen for pen in self.pen}

    @cached_property
    def _products(self) -> dict[str, CartridgeProduct]:
        return {product.gtin: product for product in self.cartridge_product}

    @cached_property
    def _lots(self) -> dict[tuple[str, str], CartridgeLot]:
        return {(lot.gtin, lot.lot): lot for lot in self.cartridge_lot}

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_distinct("practitioner", "id", [person.id for person in self.practitioner])
        check_distinct("pen", "id", [pen.id for pen in self.pen])
        check_distinct("cartridge_product", "gtin", [one.gtin for one in self.cartridge_product])
        check_distinct("cartridge_lot", "lot", [(lot.gtin, lot.lot) for lot in self.cartridge_lot])
        check_distinct("consumable", "id", [one.id for one in self.consumable])
        for index, person in enumerate(self.practitioner):
            if person.supervisor is not None and person.supervisor not in self._people:
                raise misplaced(
                    ("practitioner", index, "supervisor"),
                    f"{person.supervisor} is not registered as a practitioner",
                )
        director = self.clinic.medical_director
        if director is not None and director not in self._people:
            raise misplaced(
                ("clinic", "medical_director"), f"{director} is not registered as a practitioner"
            )
        for index, lot in enumerate(self.cartridge_lot):
            if lot.gtin not in self._products:
                raise misplaced(
                    ("cartridge_lot", index, "gtin"), f"no cartridge_product has GTIN {lot.gtin}"
                )
        return self

    def find_practitioner(self, practitioner_id: str) -> Practitioner | None:
        """The practitioner with that badge id."""
        return self._people.get(practitioner_id)

    def find_pen(self, pen_id: str) -> Pen | None:
        """The pen with that id."""
        return self._pens.get(pen_id)

    def find_product(self, gtin: str) -> CartridgeProduct | None:
        """The cartridge product with that GTIN."""
        return self._products.get(gtin)

    def find_lot(self, gtin: str, lot: str) -> CartridgeLot | None:
        """The delivered lot."""
        return self._lots.get((gtin, lot))

    def find_consumable(self, consumable_id: str) -> Consumable | None:
        """The consumable with that id."""
        return next((one for one in self.consumable if one.id == consumable_id), None)
