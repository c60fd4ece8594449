"""Grants: what every practitioner of the clinic may do with one pen, as the pen holds it.

A grant follows from the rules in force. It is sent when a pen says hello, when what it says has
changed, and again when half its life is over, so that a pen that stays connected never holds an
expired one. The cartridge is not known yet; the judge adds it.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from needletrail_gateway.core.judging.scope import decide, decide_for
from needletrail_gateway.core.treatment import Rules, utc
from needletrail_protocol import conversation

MAX_LENGTH = 2_000  # a pen of 128 KiB holds three such, and not three of the longest message
PERMITS_MAX = 200
_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Grant:
    """payload: for the pen. content: what it says, but for the times of its issue and its end."""

    payload: bytes
    content: tuple[object, ...]
    issued_utc_ms: int
    life_ms: int
    left_out: tuple[str, ...]

    def is_due(self, following: "Grant", now_utc_ms: int) -> bool:
        """Whether the pen that holds this one needs the following one."""
        is_old = not 0 <= now_utc_ms - self.issued_utc_ms < self.life_ms // 2
        return is_old or following.content != self.content


def grant_for(rules: Rules, pen_id: str, now_utc_ms: int) -> Grant:
    """The grant of a pen of the registry.

    A permit's third element is when its licence, or that of whoever supervises, runs out: the pen
    compares that with its own clock. The fourth says whether the bound is exclusive, and hard. If
    there are more permits than a grant holds, the last ones of the registry are left out.
    """
    registry = rules.registry
    pen = registry.find_pen(pen_id)
    if pen is None:
        raise ValueError(f"{pen_id} is not in the registry")
    rule = rules.policy.grant
    permits = []
    today = utc(now_utc_ms).date()
    for person in registry.practitioner:
        last_day = min(today, person.license_expires)  # a lapsed permit is sent with its end
        scope = decide_for(rules.policy, registry, pen, person, None, last_day)
        until = scope.valid_until
        until_utc_ms = 0 if until is None else _end_of_day_utc_ms(until)
        flags = 0 if scope.inclusive else conversation.EXCLUSIVE
        if scope.hard:
            flags |= conversation.HARD
        permits.append([person.id, scope.um, until_utc_ms, *([flags] if flags else [])])
    nobody = decide(rules.policy, registry, pen, None, None, today)
    bits = conversation.REFUSE_EXPIRED if rule.when_expired == "refuse" else 0
    if rule.unknown_badge == "refuse":
        bits |= conversation.REFUSE_UNKNOWN
    policy = f"{rules.policy.name} {rules.policy.version}"[:64]
    left_out: list[str] = []
    while True:
        held = permits[:PERMITS_MAX]
        expires_utc_ms = now_utc_ms + rule.life_ms
        payload = conversation.encode_grant((now_utc_ms, expires_utc_ms, policy, nobody.um, held, bits))
        if len(held) == len(permits) and len(payload) <= MAX_LENGTH:
            content = (policy, nobody.um, bits, tuple(map(tuple, held)))
            return Grant(payload, content, now_utc_ms, rule.life_ms, tuple(left_out))
        left_out.append(str(permits.pop()[0]))


def _end_of_day_utc_ms(day: date) -> int:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return round(midnight.timestamp() * 1000) + _DAY_MS
