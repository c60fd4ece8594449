"""The time series by name: measurements, tags, fields and units. The one place that says them.

Whoever makes points, writes a query or describes the series takes the names from here, so a renamed
field breaks the build and not a graph. This module knows nothing of how points are made.

Three kinds of tables. Most are told from the ledger's entries: the same entries always make the same
points, so all of it can be made again. `daily` ones say how things stood at the end of a day (UTC); the
point of today is written again until the day is over. `live` ones are the health of pens and gateway,
which no record holds: they are written as they happen and can not be made again.

A later entry may change what an earlier one said (an override, a late note, an acknowledged alert).
Then the same point is written again, with the same tags and time, and takes the place of the old one.
That is why a verdict is not a tag but three fields of which one is 1.

Tags have few values. Sessions, serial numbers and clients are none of them, and clients are nowhere.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["float", "integer", "boolean", "text"]
Source = Literal["ledger", "daily", "live"]
Retention = Literal["raw", "long"]


@dataclass(frozen=True)
class Tag:
    """What points are grouped and chosen by. `bound` says where its values come from."""

    name: str
    text: str
    bound: str


@dataclass(frozen=True)
class Field:
    """A value. `unit` is what stands at a panel's axis: mm, ms, s, d, %, or "" for counts and texts."""

    name: str
    kind: Kind
    unit: str
    text: str


@dataclass(frozen=True)
class Measurement:
    """A table of points. `time`: of which moment a point is."""

    name: str
    text: str
    time: str
    source: Source
    tags: tuple[Tag, ...]
    fields: tuple[Field, ...]
    retention: Retention = "long"

    def field(self, name: str) -> Field:
        """The field of that name; KeyError if there is none."""
        for one in self.fields:
            if one.name == name:
                return one
        raise KeyError(f"{self.name} has no field {name}")

    def tag(self, name: str) -> Tag:
        """The tag of that name; KeyError if there is none."""
        for one in self.tags:
            if one.name == name:
                return one
        raise KeyError(f"{self.name} has no tag {name}")


CLINIC = Tag("clinic", "the clinic's id", "clinics")
PEN = Tag("pen", "the pen's id", "pens of the registry")
PRACTITIONER = Tag(
    "practitioner",
    "the practitioner's id; `unregistered` for a badge that the registry does not know, `none` without",
    "people of the registry",
)
TIER = Tag("tier", "the tier under which the session was judged; `none` if there is none", "5")
CODE = Tag("code", "the code of a reason (docs/reference/verdicts.md)", "codes of the policy packs")
GTIN = Tag(
    "gtin", "the cartridge product's GTIN; `unregistered` if unknown", "products of the registry"
)
LOT = Tag("lot", "the lot; `unregistered` if unknown", "lots of the registry")
ITEM = Tag("item", "a cartridge product's GTIN or a consumable's id", "items of the registry")
TURN = Tag(
    "turn",
    "left out for a pen's first 9999 sessions in its first 99 key epochs; tells later ones apart",
    "1",
)

SESSION_ID = Field("session", "text", "", "the session's id: PEN-EPOCH-NUMBER")
PEN_ID = Field("pen", "text", "", "the pen's id")

UNREGISTERED = "unregistered"  # a tag's value comes from the registry, never from a badge alone
NONE = "none"

DEPTH = Measurement(
    "depth",
    "Every reading of a session, at the pen's rate. Depth is the ring's setting, not the penetration.",
    "the reading",
    "ledger",
    (CLINIC, PEN, TURN),
    (
        Field("depth_mm", "float", "mm", "the depth setting"),
        Field("strokes", "integer", "", "strokes since the motor's count began"),
        Field("contact", "boolean", "", "whether the tip touches skin"),
        SESSION_ID,
    ),
    "raw",
)

DEPTH_1S = Measurement(
    "depth_1s",
    "The readings of one second (UTC) of one session.",
    "the second's beginning",
    "ledger",
    (CLINIC, PEN, TURN),
    (
        Field("lowest_mm", "float", "mm", "the lowest depth setting"),
        Field("mean_mm", "float", "mm", "the mean depth setting"),
        Field("highest_mm", "float", "mm", "the highest depth setting"),
        Field("limit_mm", "float", "mm", "the limit in force, tolerance not included"),
        Field("strokes", "integer", "", "strokes in this second"),
        Field("samples", "integer", "", "readings in this second"),
        Field("contact_samples", "integer", "", "readings with skin contact"),
        Field("work_ms", "integer", "ms", "time of work (motor and contact) in this second"),
        Field("over_limit_ms", "integer", "ms", "time of work beyond the limit in this second"),
        SESSION_ID,
    ),
)

SESSION = Measurement(
    "session",
    "A judged session, by its newest verdict.",
    "the session's beginning",
    "ledger",
    (CLINIC, PEN, PRACTITIONER, TIER, TURN),
    (
        Field("sessions", "integer", "", "1; its sum counts sessions"),
        Field("compliant", "integer", "", "1 if the verdict is compliant, else 0"),
        Field("review", "integer", "", "1 if the verdict is review, else 0"),
        Field("violation", "integer", "", "1 if the verdict is violation, else 0"),
        Field("worked", "integer", "", "1 if the needles worked, else 0"),
        Field("alerts", "integer", "", "alerts raised in it"),
        Field("alerted", "integer", "", "1 if an alert was raised in it, else 0"),
        Field("amended", "integer", "", "how often its verdict was amended"),
        Field("peak_mm", "float", "mm", "the deepest setting while working"),
        Field("scope_mm", "float", "mm", "the limit that bound"),
        Field("breach_ms", "integer", "ms", "time in breach"),
        Field("over_limit_ms", "integer", "ms", "time of work beyond the limit, breach or not"),
        Field("breaches", "integer", "", "breaches"),
        Field("passes", "integer", "", "passes (an estimate)"),
        Field("strokes", "integer", "", "strokes"),
        Field("samples", "integer", "", "readings"),
        Field("work_ms", "integer", "ms", "time of work"),
        Field("session_ms", "integer", "ms", "from the session's beginning to its end"),
        Field("verdict", "text", "", "compliant, review or violation"),
        Field("reasons", "text", "", "the codes of its reasons, with spaces between"),
        Field("limited_by", "text", "", "which limits bound"),
        Field("policy", "text", "", "the policy pack and its version"),
        SESSION_ID,
    ),
)

REASON = Measurement(
    "reason",
    "A reason in a session's newest verdict. One that an amendment took away stays with `counted` 0.",
    "the session's beginning",
    "ledger",
    (CLINIC, PEN, PRACTITIONER, TIER, CODE, TURN),
    (
        Field("counted", "integer", "", "1 if it counts for the verdict, else 0"),
        Field("overridden", "integer", "", "1 if a person has overridden it, else 0"),
        Field("outcome", "text", "", "what it leads to: review or violation"),
        Field("severity", "text", "", "hard or soft"),
        SESSION_ID,
    ),
)

PASS = Measurement(
    "pass",
    "A pass: one continuous contact with the motor on (an estimate).",
    "the pass's beginning",
    "ledger",
    (CLINIC, PEN, PRACTITIONER, TURN),
    (
        Field("number", "integer", "", "its number in the session, from 1"),
        Field("duration_ms", "integer", "ms", "how long it lasted"),
        SESSION_ID,
    ),
)

BREACH = Measurement(
    "breach",
    "A breach: time of work beyond the limit, tolerance included, for at least 200 ms.",
    "the breach's beginning",
    "ledger",
    (CLINIC, PEN, PRACTITIONER, TIER, TURN),
    (
        Field("breaches", "integer", "", "1; its sum counts breaches"),
        Field("duration_ms", "integer", "ms", "how long it lasted"),
        Field("limit_mm", "float", "mm", "the limit that was exceeded"),
        SESSION_ID,
    ),
)

ALERT = Measurement(
    "alert",
    "An alert, at the moment at the pen that it speaks of.",
    "when it was raised, by the pen's clock as corrected",
    "ledger",
    (CLINIC, PEN, PRACTITIONER, CODE, TURN),
    (
        Field("alerts", "integer", "", "1; its sum counts alerts"),
        Field("open", "integer", "", "1 until somebody has acknowledged it, then 0"),
        Field("shown", "integer", "", "1 if the pen has shown it, else 0"),
        Field("limit_mm", "float", "mm", "the limit in force"),
        Field("depth_mm", "float", "mm", "the depth setting when it was raised"),
        Field("told_by", "text", "", "gateway, or pen if its word came ahead of its records"),
        Field("acknowledged_by", "text", "", "who acknowledged it"),
        Field("open_ms", "integer", "ms", "from its arrival to its acknowledgement"),
        SESSION_ID,
    ),
)

NOTICE = Measurement(
    "notice",
    "An alert, at the moment when the gateway learnt of it. Alert rules look here: pens may be late.",
    "when the gateway committed it",
    "ledger",
    (CLINIC, PEN, PRACTITIONER, CODE),
    (
        Field("notices", "integer", "", "1; its sum counts notices"),
        Field("delay_ms", "integer", "ms", "from the moment at the pen to the gateway's commit"),
        SESSION_ID,
    ),
)

OVERRIDE = Measurement(
    "override",
    "A person's word that a soft rule does not hold in one session.",
    "when it was entered",
    "ledger",
    (CLINIC, CODE),
    (
        Field("overrides", "integer", "", "1; its sum counts overrides"),
        Field("who", "text", "", "who entered it"),
        Field("why", "text", "", "the reason given; pseudonyms in it are left out"),
        PEN_ID,
        SESSION_ID,
    ),
)

CARTRIDGE_USE = Measurement(
    "cartridge_use",
    "A cartridge that worked in a session.",
    "the session's beginning",
    "ledger",
    (CLINIC, PEN, GTIN, LOT, TURN),
    (
        Field("uses", "integer", "", "1; its sum counts uses"),
        Field("first", "integer", "", "1 if no session had used it before, else 0"),
        Field("reused", "integer", "", "1 if it was used once more than it may be, else 0"),
        Field("recalled", "integer", "", "1 if its lot was recalled when it was used, else 0"),
        Field("expired", "integer", "", "1 if it had expired, else 0"),
        Field("serial", "text", "", "its serial number"),
        Field("strokes", "integer", "", "strokes in this session"),
        SESSION_ID,
    ),
)

STOCK = Measurement(
    "stock",
    "How much of a cartridge product or consumable there is.",
    "the day's beginning (UTC); it stands at the day's end",
    "daily",
    (CLINIC, ITEM),
    (
        Field("title", "text", "", "what the registry calls it"),
        Field("is_cartridge", "boolean", "", "a cartridge product, or another consumable"),
        Field("left", "integer", "", "how many there should be"),
        Field("usable", "integer", "", "of these, neither expired nor recalled"),
        Field("received", "integer", "", "received so far"),
        Field("used", "integer", "", "used so far"),
        Field("discarded", "integer", "", "thrown away or missing so far"),
        Field("used_28d", "integer", "", "used in the last 28 days"),
        Field("days_left", "integer", "d", "how long the usable ones last at that rate"),
        Field("reorder_at", "integer", "", "the level at which to order"),
        Field("is_low", "integer", "", "1 if it is time to order, else 0"),
    ),
)

LOT_STATE = Measurement(
    "lot",
    "How a lot of cartridges stands.",
    "the day's beginning (UTC); it stands at the day's end",
    "daily",
    (CLINIC, GTIN, LOT),
    (
        Field("left", "integer", "", "how many there should be"),
        Field("days_to_expiry", "integer", "d", "days to its last day of use; below 0 it is past"),
        Field("recalled", "integer", "", "1 if it has been recalled, else 0"),
        Field("title", "text", "", "what the registry calls the product"),
    ),
)

OPENED = Measurement(
    "opened",
    "Cartridges that pens saw for the first time on a day, against those that treated.",
    "the day's beginning (UTC)",
    "daily",
    (CLINIC,),
    (
        Field("opened", "integer", "", "cartridges opened"),
        Field("treated", "integer", "", "of these, cartridges that worked"),
        Field("unknown", "integer", "", "of these, cartridges whose lot the registry does not know"),
    ),
)

LICENCE = Measurement(
    "licence",
    "A practitioner's licence.",
    "the day's beginning (UTC)",
    "daily",
    (CLINIC, PRACTITIONER),
    (
        Field("days_left", "integer", "d", "days to its last day; below 0 it has lapsed"),
        Field("credential", "text", "", "physician, nurse, esthetician and so on"),
        Field("suspended", "integer", "", "1 if it is suspended, else 0"),
    ),
)

PEN_HEALTH = Measurement(
    "pen_health",
    "A pen as the gateway sees it.",
    "when it was looked at",
    "live",
    (CLINIC, PEN),
    (
        Field("online", "integer", "", "1 if it is connected, else 0"),
        Field("in_session", "integer", "", "1 if a session of it is open, else 0"),
        Field("silent_s", "integer", "s", "since it was last heard"),
        Field("backlog", "integer", "", "records that it holds and the gateway has not"),
        Field("battery_percent", "integer", "%", "what its battery held when it last said hello"),
        Field("clock_offset_ms", "integer", "ms", "its clock's lead over the gateway's"),
        Field("firmware", "text", "", "its firmware's version"),
        Field("calibrated_days", "integer", "d", "days since its depth ring was calibrated"),
        Field("faults", "text", "", "parts that have failed, with spaces between"),
    ),
)

GATEWAY_HEALTH = Measurement(
    "gateway_health",
    "The gateway itself.",
    "when it looked",
    "live",
    (CLINIC,),
    (
        Field("records", "integer", "", "records taken in since it started"),
        Field("refused", "integer", "", "messages refused since it started"),
        Field("quarantined", "integer", "", "messages and points in the quarantine"),
        Field("entries", "integer", "", "entries of the ledger"),
        Field("outbox", "integer", "", "entries that the time series has not yet"),
        Field("outbox_s", "integer", "s", "for how long the oldest of them has waited"),
        Field("commit_ms", "float", "ms", "the longest commit since the point before"),
        Field("pens_online", "integer", "", "pens connected"),
        Field("pens", "integer", "", "pens of the registry that have a key"),
    ),
)

MEASUREMENTS: tuple[Measurement, ...] = (
    DEPTH,
    DEPTH_1S,
    SESSION,
    REASON,
    PASS,
    BREACH,
    ALERT,
    NOTICE,
    OVERRIDE,
    CARTRIDGE_USE,
    STOCK,
    LOT_STATE,
    OPENED,
    LICENCE,
    PEN_HEALTH,
    GATEWAY_HEALTH,
)
