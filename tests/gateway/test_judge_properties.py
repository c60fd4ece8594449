"""What must hold of every judgement, whatever the session, the pack and the way the records came.

- Any split into commits, any order of arrival, any repeat, any restart: the same verdicts and reasons.
- Deeper is never milder: raise any reading, and the verdict does not get better.
- Tighter is never milder: what a tighter pack is, `TIGHTENINGS` lists.
- Live and final agree: what was told while the session ran are the violations of its verdict, but for
  those that only its end or its whole record can show (`NOT_LIVE`).

Two changes of a pack are no tightening, though one might take them for one. A limit that may be reached
is not tighter than one that must not, however much lower: at the first one the tolerance is on the
practitioner's side, and an excursion that is too brief for a breach is none. And a tier without its
fallback no longer asks for what the fallback asked for. For the same reason a fallback should have a
limit of the kind of the tier above it, or one that must not be reached; those of the packs here have.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from gateway_clinic import (
    KEYS,
    NOW_UTC_MS,
    OTHER_GTIN,
    TODAY,
    badge,
    cartridge_tag,
    clinic,
    clinic_document,
    pen,
    person,
    the_pen,
)
from gateway_desk import Desk
from honest_pen import HonestPen, Sent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack_bounds import PLACES, changed, with_rule, with_tier
from pack_files import SHIPPED
from quick_ledgers import QuickLedgers

from needletrail_gateway.core.clock import BootClock
from needletrail_gateway.core.judging.facts import Earlier, Override, Visit
from needletrail_gateway.core.judging.judge import Verdict
from needletrail_gateway.core.notes import NOTE, TreatmentNote, body_of
from needletrail_gateway.core.packs.model import (
    SUPERVISION_RANK,
    CartridgeRule,
    CourseRule,
    PlaceRule,
    Policy,
    ScreeningRule,
    TierRule,
)
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.treatment import Elsewhere, Rules, Treatment
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.replay.amend import amend
from needletrail_gateway.shell.documents import read_policy
from needletrail_protocol.readings import Readings, decode_record

PACKS = {name: read_policy(name) for name in SHIPPED}
ORDER = ["compliant", "review", "violation"]
CITED = ["For the test: a rule that was tightened."]
QUICK = settings(max_examples=100, deadline=None)
SLOW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

CREDENTIALS = sorted(
    {who.credential for pack in PACKS.values() for tier in pack.tier for who in tier.who}
)
TIERS = ["cosmetic", "nano", "home", "medical", "radio-frequency"]
CONDITIONS = [one.condition for one in PACKS["default"].refusal]
CODES = [rule.code for rule in PACKS["default"].rule]

# Raised by the record, by the end, or never an alert: a look is nothing to interrupt anybody for.
NOT_LIVE = {
    "RECORD_GAP",
    "CLOCK_UNCERTAIN",
    "SENSOR_FAULT",
    "RECORD_TAMPERED",
    "GRANT_STALE",
    "DEPTH_AT_LIMIT",
    "DURATION_SHORT",
    "DURATION_LONG",
}


# ---- sessions of all kinds ----


@dataclass(frozen=True)
class Scene:
    """A session: where, by whom, on whom, and the dial's readings with motor and contact on."""

    registry: Registry
    pen_id: str
    who: bytes | None
    tag: bytes | None
    depths_um: tuple[int, ...]
    visit: Visit | None
    overrides: dict[Any, Override] = field(default_factory=dict)
    used_in: str | None = None
    late_badge: bytes | None = None
    idle_ms: int = 0

    def elsewhere(self) -> Elsewhere:
        return Elsewhere(
            lambda _treatment: self.used_in,
            lambda _treatment: self.visit,
            lambda _treatment: self.overrides,
        )


def judged(policy: Policy, scene: Scene) -> tuple[Verdict, set[str]]:
    """The verdict, and what was told while the session ran, its end included."""
    sealed = HonestPen(scene.pen_id, key=bytes(32))
    sealed.boot()
    opened = decode_record(sealed.open(scene.who, scene.tag).payload)
    rules = Rules(policy, scene.registry)
    of_pen = the_pen(scene.registry, scene.pen_id)
    treatment = Treatment(rules, of_pen, 1, opened, BootClock(NOW_UTC_MS), TODAY)
    elsewhere = scene.elsewhere()
    told = {one.code for one in treatment.new_alerts(elsewhere)}
    for sent in sealed.readings(scene.depths_um):
        treatment.read(Readings(decode_record(sent.payload)))
        told |= {one.code for one in treatment.new_alerts(elsewhere)}
    if scene.late_badge is not None:
        treatment.identify(scene.late_badge)
        told |= {one.code for one in treatment.new_alerts(elsewhere)}
    verdict = treatment.close(sealed.t_ms + scene.idle_ms, elsewhere)
    told |= {one.code for one in treatment.new_alerts(elsewhere)}
    return verdict, told


days = st.integers(-40, 40).map(lambda count: TODAY + timedelta(days=count))
depths = st.one_of(
    st.integers(0, 4000),
    st.sampled_from([0, 30, 31, 219, 220, 250, 280, 281, 300, 330, 331, 469, 470, 500, 530, 531]),
    st.sampled_from([1500, 1530, 1531, 2000, 2030, 2031, 2470, 2500, 2530, 2531, 3030, 3031]),
)
spells = st.lists(st.tuples(depths, st.integers(1, 14)), min_size=1, max_size=5)


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    """The small clinic, with one practitioner of any credential, and any pen."""
    own = person(
        "x-01",
        draw(st.sampled_from(CREDENTIALS)),
        draw(st.sampled_from(TIERS)),
        supervision=draw(st.sampled_from(list(SUPERVISION_RANK))),
        supervisor="md-01",
    )
    if draw(st.booleans()):
        own |= {"max_mm": draw(st.integers(0, 3000)) / 1000, "max_inclusive": draw(st.booleans())}
    if draw(st.integers(0, 4)) == 0:
        own |= {"license_expires": draw(days)}
    document = clinic_document(
        pen=[
            pen(
                "pen-01",
                kind=draw(st.sampled_from(["pen", "pen", "radio-frequency", "roller"])),
                cleared_class_ii=draw(st.integers(0, 4)) > 0,
                label_max_mm=draw(st.sampled_from([0.5, 2.5, 3.5])),
            )
        ]
    )
    document["practitioner"].append(own)
    document["clinic"]["place"] = draw(st.sampled_from(["clinic", "clinic", "home"]))
    if draw(st.integers(0, 4)) == 0:
        del document["clinic"]["medical_director"]
    return Registry.model_validate(document)


@st.composite
def visits(draw: st.DrawFn) -> Visit:
    """A note, with any answers, and any treatments before."""
    answers = draw(st.none() | st.dictionaries(st.sampled_from(CONDITIONS), st.booleans(), max_size=12))
    earlier = draw(st.lists(st.tuples(st.integers(1, 400), st.sampled_from(TIERS)), max_size=7))
    return Visit(
        entry=1,
        client="c-7k2m9qxa",
        screening=answers,
        prevented=frozenset(draw(st.sets(st.sampled_from(CONDITIONS), max_size=2))),
        area=draw(st.sampled_from([None, "full-face", "single-scar", "hand"])),
        earlier=tuple(Earlier(TODAY - timedelta(days=ago), tier) for ago, tier in earlier),
    )


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Any session by the practitioner, by nobody, or by a stranger."""
    who = draw(st.sampled_from([badge("x-01")] * 5 + [None, badge("zoe-99")]))
    tag = draw(
        st.sampled_from(
            [
                cartridge_tag(),
                cartridge_tag(gtin=OTHER_GTIN, lot="LOT25Q"),
                cartridge_tag(lot="BAD"),
                cartridge_tag(expires="260630"),
                None,
            ]
        )
    )
    codes = draw(st.sets(st.sampled_from(CODES), max_size=3))
    return Scene(
        registry=draw(registries()),
        pen_id="pen-01",
        who=who,
        tag=tag,
        depths_um=tuple(um for um, count in draw(spells) for _ in range(count)),
        visit=draw(st.none() | visits()),
        overrides=dict.fromkeys(codes, Override("md-01", "for the test", NOW_UTC_MS)),
        used_in=draw(st.sampled_from([None, None, "pen-02-1-1"])),
        idle_ms=draw(st.sampled_from([0, 149_000, 450_000, 2_000_000, 6_000_000])),
    )


packs = st.sampled_from(SHIPPED).map(PACKS.__getitem__)


def assert_no_milder(than: Verdict, found: Verdict) -> None:
    assert ORDER.index(found.outcome) >= ORDER.index(than.outcome), (than, found)


# ---- deeper ----


@QUICK
@given(packs, scenes(), st.data())
def test_a_deeper_reading_makes_no_verdict_milder(policy: Policy, scene: Scene, data: Any) -> None:
    before, _ = judged(policy, scene)
    raised = list(scene.depths_um)
    for index in data.draw(st.sets(st.integers(0, len(raised) - 1), min_size=1)):
        raised[index] = max(raised[index], data.draw(depths))
    after, _ = judged(policy, replace(scene, depths_um=tuple(raised)))
    assert_no_milder(before, after)
    assert {*before.reasons} - {"DEPTH_AT_LIMIT"} <= {*after.reasons}
    assert "DEPTH_AT_LIMIT" not in before.reasons or {"DEPTH_AT_LIMIT", "DEPTH_EXCEEDED"} & {
        *after.reasons
    }


# ---- tighter ----


def _limit(draw: Any, mm: float, inclusive: bool) -> tuple[float, bool]:
    """Lower and of the same kind, or as low and now exclusive, or both."""
    lower = draw(st.integers(0, round(mm * 1000))) / 1000
    return draw(st.sampled_from([(lower, inclusive), (mm, False), (lower, False)]))


def _depth(draw: Any, policy: Policy, tier: TierRule) -> Policy:
    mm, inclusive = _limit(draw, tier.max_mm, tier.inclusive)
    depth = {"min_mm": 0.0, "min_inclusive": True, "max_mm": mm, "inclusive": inclusive}
    return with_tier(policy, tier.model_copy(update=depth))


def _one_who(draw: Any, policy: Policy, tier: TierRule) -> Policy:
    who = draw(st.sampled_from(tier.who))
    mm, inclusive = _limit(draw, tier.max_mm if who.max_mm is None else who.max_mm, who.inclusive)
    ranks = list(SUPERVISION_RANK)
    more = ranks[draw(st.integers(SUPERVISION_RANK[who.supervision], len(ranks) - 1))]
    changes = draw(
        st.sampled_from([None, {"max_mm": mm, "inclusive": inclusive}, {"supervision": more}])
    )
    new = [] if changes is None else [who.model_copy(update=changes)]
    return with_tier(
        policy, tier.model_copy(update={"who": [one for one in tier.who if one is not who] + new})
    )


def _place(draw: Any, policy: Policy, tier: TierRule) -> Policy:
    allowed = [*PLACES] if tier.place is None else [*tier.place.where]
    if "clinic" in allowed:
        allowed.append("clinic_with_director")
    fewer = [one for one in sorted(set(allowed)) if draw(st.booleans())]
    rule = PlaceRule.model_construct(where=fewer, citation=CITED)
    return with_tier(policy, tier.model_copy(update={"place": rule}))


def _device(draw: Any, policy: Policy, tier: TierRule) -> Policy:
    assert tier.device is not None
    fewer = [one for one in tier.device.kinds if draw(st.booleans())]
    rule = tier.device.model_copy(
        update=draw(st.sampled_from([{"kinds": fewer}, {"cleared_class_ii": True}]))
    )
    return with_tier(policy, tier.model_copy(update={"device": rule}))


def _cartridge(draw: Any, policy: Policy, tier: TierRule) -> Policy:
    asked = ["single_use", "sterile", "unexpired", "not_recalled", "needle_limits_depth"]
    rule = tier.cartridge or CartridgeRule(citation=CITED)
    turned = rule.model_copy(update={draw(st.sampled_from(asked)): True})
    return with_tier(policy, tier.model_copy(update={"cartridge": turned}))


def _screening(_draw: Any, policy: Policy, tier: TierRule) -> Policy:
    rule = ScreeningRule(needed=True, citation=CITED)
    return with_tier(policy, tier.model_copy(update={"screening": rule}))


def _course(draw: Any, policy: Policy, tier: TierRule) -> Policy:
    was = tier.course or CourseRule(treatments_least=1, citation=CITED)
    longer = (was.interval_least_days or 0) + draw(st.integers(0, 30))
    most = draw(st.integers(0, 5 if was.treatments_most is None else was.treatments_most))
    rule = was.model_copy(
        update=draw(st.sampled_from([{"interval_least_days": longer}, {"treatments_most": most}]))
    )
    return with_tier(policy, tier.model_copy(update={"course": rule}))


def _duration(draw: Any, policy: Policy, tier: TierRule) -> Policy:
    rules = [
        one.model_copy(update={"tolerance_percent": draw(st.integers(0, int(one.tolerance_percent)))})
        for one in tier.duration
    ]
    return with_tier(policy, tier.model_copy(update={"duration": rules}))


def _refusal(draw: Any, policy: Policy, tier: TierRule) -> Policy:
    refusal = draw(st.sampled_from(policy.refusal))
    tiers = sorted({*refusal.tiers, tier.name})
    moved = refusal.model_copy(update=draw(st.sampled_from([{"tiers": tiers}, {"action": "refuse"}])))
    return changed(policy, refusal=[moved if one is refusal else one for one in policy.refusal])


def _rule(draw: Any, policy: Policy, _tier: TierRule) -> Policy:
    rule = draw(st.sampled_from(policy.rule))
    harder = draw(st.sampled_from([{"outcome": "violation"}, {"severity": "hard"}]))
    return with_rule(policy, rule.model_copy(update=harder), rule.code)


TIGHTENINGS: dict[str, Callable[[Any, Policy, TierRule], Policy]] = {
    "a lower limit of the same kind, or one that must not be reached any more": _depth,
    "a credential's limit, more supervision, or a credential that goes": _one_who,
    "fewer places": _place,
    "fewer kinds of device, or a cleared one": _device,
    "another demand on the cartridge": _cartridge,
    "a questionnaire": _screening,
    "a longer interval, or fewer treatments": _course,
    "less tolerance of a duration": _duration,
    "a condition refused in another tier, or refused where prevention was enough": _refusal,
    "a violation where it was a review, or hard where it was soft": _rule,
}


@st.composite
def tightened(
    draw: st.DrawFn, policy: Policy, names: Sequence[str] = tuple(TIGHTENINGS), most: int = 3
) -> Policy:
    """The pack after some tightenings, one upon the other."""
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=most)):
        act = TIGHTENINGS[name]
        candidates = [tier for tier in policy.tier if tier.who or act is not _one_who]
        candidates = [tier for tier in candidates if tier.device is not None or act is not _device]
        if candidates:
            policy = act(draw, policy, draw(st.sampled_from(candidates)))
    return policy


@settings(QUICK, max_examples=150)
@given(packs, scenes(), st.data())
def test_a_tighter_pack_makes_no_verdict_milder(policy: Policy, scene: Scene, data: Any) -> None:
    tighter = data.draw(tightened(policy))
    assert_no_milder(judged(policy, scene)[0], judged(tighter, scene)[0])


@pytest.mark.parametrize("name", sorted(TIGHTENINGS))
@settings(QUICK, max_examples=25)
@given(data=st.data())
def test_each_tightening_alone_makes_no_verdict_milder(name: str, data: Any) -> None:
    policy, scene = data.draw(packs), data.draw(scenes())
    tighter = data.draw(tightened(policy, [name], most=1))
    assert_no_milder(judged(policy, scene)[0], judged(tighter, scene)[0])


def test_a_lower_limit_that_may_be_reached_is_not_tighter_than_one_that_must_not() -> None:
    """The edge that is known: 0.5 mm exclusive, and 0.49 mm inclusive, at 0.5 mm."""
    cosmetic = PACKS["default"].find_tier("cosmetic")
    assert cosmetic is not None
    lower = cosmetic.model_copy(update={"max_mm": 0.49, "inclusive": True})
    registry = clinic()
    scene = Scene(registry, "pen-01", badge("est-01"), cartridge_tag(), (500,) * 50, None)
    assert judged(PACKS["default"], scene)[0].outcome == "review"
    assert judged(with_tier(PACKS["default"], lower), scene)[0].outcome == "compliant"
    exclusive = cosmetic.model_copy(update={"max_mm": 0.49, "inclusive": False})
    assert judged(with_tier(PACKS["default"], exclusive), scene)[0].outcome == "review"


# ---- live and final ----


def violations(verdict: Verdict) -> set[str]:
    """The reasons that make it one, without those that somebody answers for."""
    overridden = {code for code, _ in verdict.overridden}
    return {rule.code for rule in verdict.rules if rule.outcome == "violation"} - overridden


@QUICK
@given(packs, scenes(), st.data())
def test_what_was_told_are_the_violations_of_the_verdict(
    policy: Policy, scene: Scene, data: Any
) -> None:
    stricter = data.draw(st.just(policy) | tightened(policy))
    verdict, told = judged(stricter, scene)
    assert told == violations(verdict) - NOT_LIVE


@QUICK
@given(packs, scenes(), st.sampled_from([badge("x-01"), badge("md-01"), badge("zoe-99")]))
def test_with_a_late_badge_more_may_have_been_told_and_nothing_is_kept_back(
    policy: Policy, scene: Scene, late: bytes
) -> None:
    verdict, told = judged(policy, replace(scene, who=None, late_badge=late))
    assert violations(verdict) - NOT_LIVE <= told


@QUICK
@given(packs, scenes())
def test_without_work_nothing_is_held_against_anybody(policy: Policy, scene: Scene) -> None:
    verdict, _ = judged(policy, replace(scene, depths_um=()))
    assert (verdict.outcome, verdict.reasons) == ("compliant", ())


# ---- whatever the order of arrival ----


@dataclass(frozen=True)
class Day:
    """What some pens have sealed, and the notes that were written before. Clients may be shared."""

    sent: tuple[tuple[Sent, ...], ...]
    notes: tuple[TreatmentNote, ...]
    starts: tuple[str, ...]  # sessions in the order of treatment


PEOPLE = ["est-01", "md-01", "rn-01", "rn-02", "nobody"]


@st.composite
def a_day(draw: st.DrawFn, share_clients: bool) -> Day:
    """Two or three pens, few cartridges, and what people do with them."""
    pens, starts = [], []
    for index, pen_id in enumerate(list(KEYS)[: draw(st.integers(2, 3))]):
        one = HonestPen(pen_id)
        boot_utc_ms = NOW_UTC_MS + 700 * index
        one.boot(boot_utc_ms)
        for _ in range(draw(st.integers(1, 3))):
            one.t_ms += draw(st.integers(0, 3_000))
            who = draw(st.sampled_from([*PEOPLE, None]))
            tag = cartridge_tag(draw(st.sampled_from(["1", "2", "3", f"of {index}"])))
            one.open(None if who is None else badge(who), tag)
            starts.append((boot_utc_ms + one.t_ms, f"{pen_id}-1-{one.session}"))
            for _ in range(draw(st.integers(0, 2))):
                one.work(draw(depths), draw(st.sampled_from([180, 200, 1100])))
                one.rest(100)
            if who is None and draw(st.booleans()):
                one.badge(badge("md-01"))
            if draw(st.booleans()):
                one.fault("skin", is_over=draw(st.booleans()))
            if draw(st.integers(0, 3)):
                one.close()
        one.boot(boot_utc_ms + one.t_ms)  # ends a session that nobody closed
        pens.append(tuple(one.sent))
    notes = tuple(
        TreatmentNote(
            who="desk",
            at_utc_ms=NOW_UTC_MS,
            practitioner=who,
            client="c-7k2m9qxa" if share_clients else f"c-7k2m9qx{index}",
            screening={"rosacea": draw(st.booleans())},
        )
        for index, who in enumerate(PEOPLE[:4])
    )
    return Day(tuple(pens), notes, tuple(session for _, session in sorted(starts)))


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickLedgers]:
    one = QuickLedgers(tmp_path_factory.mktemp("properties"))
    yield one
    one.close()


def new_desk(ledgers: QuickLedgers, policy: Policy, day: Day) -> Desk:
    ledger: Ledger = ledgers.fresh(clinic(), KEYS, NOW_UTC_MS)
    for note in day.notes:
        ledger.note(NOTE, body_of(note), NOW_UTC_MS)
    return Desk(ledger, policy)


def in_order(desk: Desk, day: Day) -> None:
    """Pen after pen, all in one commit."""
    desk.take(*(list(sent) for sent in day.sent))


def anyhow(desk: Desk, day: Day, dice: random.Random) -> None:
    """Any message at any time, more than once; commits and kills between; at last what is missing."""
    everything = [sent for one in day.sent for sent in one]
    for sent in dice.choices(everything, k=2 * len(everything)):
        desk.receive(sent)
        match dice.randrange(8):
            case 0:
                desk.commit()
            case 1:
                desk.restart()  # what was not committed is gone; the pen still has it
    pens = list(day.sent)
    dice.shuffle(pens)
    for one in pens:
        size = dice.randint(1, len(one))
        for at in range(0, len(one), size):
            desk.take(list(one[at : at + size]))


def amended(desk: Desk, day: Day) -> dict[str, Any]:
    """The verdicts once each session has been judged again, in the order of treatment."""
    for session in day.starts:
        amend(desk.ledger, session, "late record", NOW_UTC_MS)
    return desk.verdicts()


@SLOW
@given(day=a_day(False), name=st.sampled_from(SHIPPED), seed=st.integers(0, 2**32))
def test_however_the_records_come_the_verdicts_are_the_same(
    day: Day, name: str, seed: int, ledgers: QuickLedgers
) -> None:
    desk = new_desk(ledgers, PACKS[name], day)
    in_order(desk, day)
    expected = desk.verdicts()
    assert expected.keys() == {*day.starts}
    desk = new_desk(ledgers, PACKS[name], day)
    anyhow(desk, day, random.Random(seed))
    assert desk.verdicts() == expected


@SLOW
@given(day=a_day(True), name=st.sampled_from(SHIPPED), seed=st.integers(0, 2**32))
def test_a_client_whom_several_treated_is_judged_the_same_when_all_has_come(
    day: Day, name: str, seed: int, ledgers: QuickLedgers
) -> None:
    """An interval can be known only when the treatment before it is: judged again, it is."""
    desk = new_desk(ledgers, PACKS[name], day)
    in_order(desk, day)
    expected = amended(desk, day)
    desk = new_desk(ledgers, PACKS[name], day)
    anyhow(desk, day, random.Random(seed))
    assert amended(desk, day) == expected
