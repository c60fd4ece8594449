"""The clinic's registry: who works here, with which pens, cartridges and permits.

One document, in the form of a TOML file that a clinic could keep by hand. It is checked whole before
anything of it is used: unknown keys, double ids, and references to nobody are errors. Depths are
millimetres in the document and in these models, and micrometres wherever one calculates.
"""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)

from needletrail_protocol.measure import Calibration
from needletrail_protocol.topics import is_identifier

Tier = Literal["home", "nano", "cosmetic", "medical", "radio-frequency"]
Supervision = Literal["none", "documented", "on_premises"]


def _identifier(value: object) -> object:
    if not isinstance(value, str) or not is_identifier(value):
        raise ValueError("must be 1 to 32 of a-z, 0-9 and '-', and not begin with '-'")
    return value


def _gtin(value: object) -> object:
    if not isinstance(value, str) or len(value) != 14 or not value.isdecimal():
        raise ValueError("must be a GTIN of 14 digits, in quotes")
    weighted = sum(int(digit) * (3, 1)[index % 2] for index, digit in enumerate(value[:13]))
    if (10 - weighted % 10) % 10 != int(value[13]):
        raise ValueError("has a wrong check digit")
    return value


Identifier = Annotated[str, BeforeValidator(_identifier)]
Gtin = Annotated[str, BeforeValidator(_gtin)]
DepthMm = Annotated[float, Field(ge=0, le=20)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


def um(mm: float) -> int:
    """Whole micrometres of a depth in millimetres."""
    return round(mm * 1000)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Clinic(_Entry):
    """Where the treatments happen."""

    id: Identifier
    name: Text
    policy: Identifier
    medical_director: Identifier | None = None


class Practitioner(_Entry):
    """A person and the permit they hold here. `max_mm` is a documented limit of their own."""

    id: Text
    name: Text
    credential: Text
    license: Text
    license_expires: date
    tier: Tier
    max_mm: DepthMm | None = None
    max_inclusive: bool = True
    basis: Text | None = None
    supervision: Supervision = "none"
    supervisor: str | None = None


class Pen(_Entry):
    """A pen: what its label allows, how its dial reads, and its key."""

    id: Identifier
    model: Text
    cleared_class_ii: bool
    label_max_mm: DepthMm
    accuracy_mm: DepthMm
    reading_tolerance_mm: DepthMm
    calibration: list[tuple[int, DepthMm]]
    key: Annotated[SecretStr | None, Field(exclude=True)] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.counts_to_depth()
        if self.key is not None:
            try:
                length = len(bytes.fromhex(self.key.get_secret_value()))
            except ValueError:
                length = 0
            if length != 32:
                raise ValueError("key must be 64 hexadecimal digits")
        return self

    def counts_to_depth(self) -> Calibration:
        """The dial's calibration, in micrometres."""
        return Calibration([(counts, um(mm)) for counts, mm in self.calibration])


class CartridgeProduct(_Entry):
    """A kind of cartridge, by its GTIN."""

    gtin: Gtin
    name: Text
    needle_max_mm: DepthMm
    sterile_single_use: bool


class CartridgeLot(_Entry):
    """A delivery of cartridges. `recalled` is the day from which it must not be used."""

    gtin: Gtin
    lot: Text
    received: Annotated[int, Field(ge=0)]
    recalled: date | None = None


class Registry(_Entry):
    """The whole document. Lookups by id return None where there is nobody."""

    clinic: Clinic
    practitioner: list[Practitioner] = []
    pen: list[Pen] = []
    cartridge_product: list[CartridgeProduct] = []
    cartridge_lot: list[CartridgeLot] = []

    _people: dict[str, Practitioner] = PrivateAttr(default_factory=dict)
    _pens: dict[str, Pen] = PrivateAttr(default_factory=dict)
    _products: dict[str, CartridgeProduct] = PrivateAttr(default_factory=dict)
    _lots: dict[tuple[str, str], CartridgeLot] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._people.update((person.id, person) for person in self.practitioner)
        self._pens.update((pen.id, pen) for pen in self.pen)
        self._products.update((product.gtin, product) for product in self.cartridge_product)
        self._lots.update(((lot.gtin, lot.lot), lot) for lot in self.cartridge_lot)
        for name, found, distinct in (
            ("practitioner", self.practitioner, self._people),
            ("pen", self.pen, self._pens),
            ("cartridge_product", self.cartridge_product, self._products),
            ("cartridge_lot", self.cartridge_lot, self._lots),
        ):
            if len(found) != len(distinct):
                raise ValueError(f"two entries of [[{name}]] have the same id")
        for person in self.practitioner:
            if person.supervisor is not None and person.supervisor not in self._people:
                raise ValueError(
                    f"practitioner {person.id}: supervisor {person.supervisor} is not registered"
                )
        director = self.clinic.medical_director
        if director is not None and director not in self._people:
            raise ValueError(f"clinic: medical_director {director} is not registered")
        for lot in self.cartridge_lot:
            if lot.gtin not in self._products:
                raise ValueError(f"cartridge_lot {lot.lot}: no cartridge_product has GTIN {lot.gtin}")
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
