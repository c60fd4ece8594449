"""Who may do what under a policy pack, and why: each step with the rule that decides it.

A question names a tier, a credential and a depth, or leaves some of them open. The answer is `yes`,
`if` (yes, under conditions that the clinic has to meet) or `no`, for each tier and all together: who
may work so deep in one tier may work so deep. What is asked of every treatment alike (cartridge,
refusals) is told as well, and makes no `if` of a `yes`.
"""

from dataclasses import dataclass
from typing import Literal

from needletrail_gateway.core.packs import words
from needletrail_gateway.core.packs.extend import Path
from needletrail_gateway.core.packs.model import Band, Policy, TierRule, Who
from needletrail_gateway.core.packs.words import Line
from needletrail_gateway.core.registry.model import um

Verdict = Literal["yes", "if", "no"]


@dataclass(frozen=True)
class Reason:
    """One step: what holds, by which citations, and where the rule stands in the policy."""

    text: str
    citations: tuple[str, ...]
    path: Path


@dataclass(frozen=True)
class TierAnswer:
    """The answer for one tier. `against`: why not. `conditions`: what must be given."""

    tier: str
    answer: Verdict
    against: tuple[Reason, ...]
    conditions: tuple[Reason, ...]
    always: tuple[Reason, ...]


@dataclass(frozen=True)
class Answer:
    """The whole answer, the tiers in the pack's order."""

    answer: Verdict
    question: str
    tiers: tuple[TierAnswer, ...]

    @property
    def allowing(self) -> tuple[TierAnswer, ...]:
        """The tiers that allow it."""
        return tuple(one for one in self.tiers if one.answer != "no")


def explain(
    policy: Policy,
    tier: str | None = None,
    credential: str | None = None,
    depth_mm: float | None = None,
) -> Answer:
    """The answer to: may `credential` work at `depth_mm` in `tier`? ValueError without such a tier."""
    if tier is not None and policy.find_tier(tier) is None:
        raise ValueError(f"{policy.name} has no tier {tier}")
    lines = words.lines(policy)
    answers = tuple(
        _answer(one, [line for line in lines if _is_of(line, policy, one)], credential, depth_mm)
        for one in policy.tier
        if tier is None or one.name == tier
    )
    verdicts = {one.answer for one in answers}
    verdict: Verdict = "yes" if "yes" in verdicts else "if" if "if" in verdicts else "no"
    return Answer(verdict, _question(tier, credential, depth_mm), answers)


def _question(tier: str | None, credential: str | None, depth_mm: float | None) -> str:
    who = "anybody" if credential is None else f"a practitioner with the credential {credential}"
    depth = "" if depth_mm is None else f" at {words.mm(depth_mm)}"
    where = "" if tier is None else f" in tier {tier}"
    return f"May {who} work{depth}{where}?"


def _is_of(line: Line, policy: Policy, tier: TierRule) -> bool:
    if line.address[0] == "refusal":
        refusal = policy.find_refusal(line.address[1])
        return refusal is not None and tier.name in refusal.tiers
    return line.address[0] == tier.name


def _answer(
    tier: TierRule, lines: list[Line], credential: str | None, depth_mm: float | None
) -> TierAnswer:
    depth = next(line for line in lines if line.address[1:] == ("depth",))
    against = []
    if depth_mm is not None and not tier.band.allows(um(depth_mm)):
        against.append(_reason(depth, f"{words.mm(depth_mm)} is beyond the tier: {depth.words}"))
    people = [
        (who, line) for who in tier.who for line in lines if line.address[1:] == ("who", who.credential)
    ]
    able = [(who, line) for who, line in people if credential in (None, who.credential)]
    if not able:
        named = ", ".join(who.credential for who in tier.who)
        cited = tuple(dict.fromkeys(cite for _, line in people for cite in line.citations))
        text = f"the tier does not name {credential}; it names {named}"
        if not named:
            text = "nobody may work in this tier"
        against.append(Reason(text, cited, people[0][1].path if people else depth.path))
    within = [(who, line) for who, line in able if depth_mm is None or _reaches(who, depth_mm)]
    if able and not within:
        against += [
            _reason(line, f"beyond the limit of {who.credential}: {line.words}") for who, line in able
        ]
    if against:
        return TierAnswer(tier.name, "no", tuple(against), (), ())
    needs_somebody = all(who.supervision != "none" for who, _ in within)
    conditions = [
        _reason(line, f"{who.credential}: {line.words}")
        for who, line in within
        if credential is None or who.supervision != "none" or who.max_mm is not None
    ]
    conditions += [
        _reason(line) for line in lines if line.address[1] in ("where", "device", "screening")
    ]
    always = [
        _reason(line)
        for line in lines
        if line.address[0] == "refusal" or line.address[1] == "cartridge"
    ]
    is_yes = not (
        needs_somebody
        or tier.requires_medical_director
        or tier.requires_cleared_device
        or (tier.screening is not None and tier.screening.needed)
    )
    return TierAnswer(
        tier.name, "yes" if is_yes else "if", (), (_reason(depth), *conditions), tuple(always)
    )


def _reaches(who: Who, depth_mm: float) -> bool:
    if who.max_mm is None:
        return True
    return Band(0, True, um(who.max_mm), who.inclusive).allows(um(depth_mm))


def _reason(line: Line, text: str | None = None) -> Reason:
    return Reason(text or f"{line.subject}: {line.words}", line.citations, line.path)
