"""What the judge knows of a session: what the pen recorded, and what the clinic noted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from needletrail_gateway.core.judging.cartridge import Cartridge
from needletrail_gateway.core.judging.scope import Scope
from needletrail_gateway.core.packs.model import Code
from needletrail_gateway.core.registry.model import Tier

COURSE_GAP_DAYS = 180  # a client who stays away longer begins another course


@dataclass(frozen=True)
class Earlier:
    """A treatment that the same client had before: the day, and how deep it went."""

    on: date
    tier: Tier


@dataclass(frozen=True)
class Visit:
    """What the clinic noted of the treatment. None: nothing was said of it.

    entry: of the note. client: the pseudonym. screening: answers by condition. prevented: conditions
    against which something was given before. area: what was treated. earlier: the client's earlier
    treatments.
    """

    entry: int = 0
    client: str = ""
    screening: Mapping[str, bool] | None = None
    prevented: frozenset[str] = frozenset()
    area: str | None = None
    earlier: tuple[Earlier, ...] = ()


@dataclass(frozen=True)
class Override:
    """A person's word that a soft rule does not hold here, and why."""

    who: str
    why: str
    utc_ms: int


@dataclass(frozen=True)
class Facts:
    """What is known of a session, at its end or so far.

    on: the day of the treatment. breach_ms, peak_um: counted by the definitions of the protocol; peak
    is None without work. duration_ms: from opening to end; None while it runs. used_in: another
    session in which this cartridge worked. has_gap: part of the record is missing. has_clock: it is
    known when it was. has_grant: all work was done under a grant that was good at the time.
    has_fault: a part of the pen had failed. is_tampered: two records claim one place in it.
    """

    on: date
    scope: Scope
    tolerance_um: int
    peak_um: int | None
    breach_ms: int
    has_tag: bool
    cartridge: Cartridge | None
    used_in: str | None
    has_gap: bool
    has_clock: bool
    has_grant: bool
    has_fault: bool
    is_tampered: bool = False
    duration_ms: int | None = None
    visit: Visit | None = None
    overrides: Mapping[Code, Override] = field(default_factory=dict)
