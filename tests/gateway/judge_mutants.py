"""The judge broken in many ways, one at a time: does any case folder notice?

Strategy: a mutant is one place of the source replaced by something that a tired programmer might have
written. The package is copied, the place replaced, and the cases are played with the copy in a process
of its own. A mutant that no case finds is a rule that nobody would miss.

    make mutants                  all of them; writes the page of the docs
    make mutants ARGS="NAME …"    these, and prints what found them

A few minutes for all. `make test` tries some (test_judge_mutants.py).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
CASES = Path(__file__).parent / "cases"
PAGE = ROOT / "docs" / "reference" / "judge-mutants.md"
PACKAGE = "needletrail_gateway"
WORKERS = 2
_WORD = re.compile(r"[a-z]{4,}")
TIMEOUT_S = 300


@dataclass(frozen=True)
class Mutant:
    """file: of the package. old: a text that occurs in it once. says: what is wrong then."""

    name: str
    file: str
    old: str
    new: str
    says: str

    def applied(self, text: str) -> str:
        """The file's text with the fault in it. ValueError if the place is not there, or not once."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.old!r} occurs {text.count(self.old)} times")
        return text.replace(self.old, self.new)


_FINDINGS, _JUDGE = "core/judging/findings.py", "core/judging/judge.py"
_SCOPE, _TREATMENT = "core/judging/scope.py", "core/treatment.py"
_PACKS, _REGISTRY = "core/packs/model.py", "core/registry/model.py"

MUTANTS = [
    # ---- depth ----
    Mutant(
        "tolerance-counts-against-the-practitioner",
        _TREATMENT,
        "self.scope.um + self._tolerance_um",
        "self.scope.um - self._tolerance_um",
        "the tolerance of a reading is taken from the limit instead of added to it",
    ),
    Mutant(
        "no-tolerance-at-a-breach",
        _TREATMENT,
        "highest_counts(self.scope.um + self._tolerance_um)",
        "highest_counts(self.scope.um)",
        "a breach begins at the limit, without tolerance",
    ),
    Mutant(
        "at-limit-begins-a-step-later",
        _FINDINGS,
        "peak_um >= not_reached_um - facts.tolerance_um",
        "peak_um > not_reached_um - facts.tolerance_um",
        "`>` for `>=` where “at the limit” begins",
    ),
    Mutant(
        "at-limit-beyond-the-tolerance",
        _FINDINGS,
        "peak_um >= not_reached_um - facts.tolerance_um",
        "peak_um >= not_reached_um + facts.tolerance_um",
        "“at the limit” begins above the limit: the tolerance has the wrong sign",
    ),
    Mutant(
        "inclusive-and-exclusive-swapped",
        _SCOPE,
        "(limit.um for limit in self.limits if not limit.inclusive)",
        "(limit.um for limit in self.limits if limit.inclusive)",
        "limits that may be reached and limits that must not are swapped",
    ),
    Mutant(
        "only-the-lowest-limit-counts",
        _SCOPE,
        "(limit.um for limit in self.limits if not limit.inclusive)",
        "(limit.um for limit in self.limits[:1] if not limit.inclusive)",
        "a lower limit that may be reached opens the one above it that must not",
    ),
    Mutant(
        "the-highest-limit-wins",
        _SCOPE,
        "limits.sort(key=lambda limit: (limit.um, limit.inclusive))",
        "limits.sort(key=lambda limit: (-limit.um, limit.inclusive))",
        "of all limits the highest binds",
    ),
    Mutant(
        "of-equal-limits-the-inclusive-one",
        _SCOPE,
        "(limit.um, limit.inclusive))\n    return Scope(",
        "(limit.um, not limit.inclusive))\n    return Scope(",
        "of two equal limits the one that may be reached is the lower",
    ),
    Mutant(
        "equal-limits-not-all-named",
        _SCOPE,
        "if (limit.um, limit.inclusive) == (lowest.um, lowest.inclusive)",
        "if limit is lowest",
        "of several limits that bind only one is named",
    ),
    Mutant(
        "a-breach-is-forgotten",
        _FINDINGS,
        "    if facts.breach_ms > 0:\n        return",
        "    if facts.breach_ms > 200:\n        return",
        "a breach of 200 ms is none",
    ),
    Mutant(
        "what-was-missing-is-not-said",
        _FINDINGS,
        'return {"DEPTH_EXCEEDED", *scope.findings_beyond}',
        'return {"DEPTH_EXCEEDED"}',
        "beyond a fallback it is not said what was missing",
    ),
    Mutant(
        "credential-limit-ignored",
        _SCOPE,
        "if who.max_mm is not None:",
        "if who.max_mm:",
        "a credential's limit of 0 is taken for none",
    ),
    Mutant(
        "own-permit-ignored",
        _SCOPE,
        "if person.max_mm is not None:",
        "if person.max_mm:",
        "a permit of 0 is taken for none",
    ),
    Mutant(
        "pen-label-ignored",
        _SCOPE,
        'limits = [*limits, Limit("pen label", um(pen.label_max_mm), True)]',
        "limits = [*limits]",
        "the pen's label is no limit",
    ),
    Mutant(
        "needles-ignored",
        _SCOPE,
        "if product is not None and needles_limit:",
        "if product is not None and not needles_limit:",
        "the length of the needles is no limit",
    ),
    # ---- people ----
    Mutant(
        "license-ends-a-day-early",
        _SCOPE,
        "if person.license_expires < on:",
        "if person.license_expires <= on:",
        "`<=` for `<`: a licence is not good on its last day",
    ),
    Mutant(
        "license-never-ends",
        _SCOPE,
        "if person.license_expires < on:",
        "if False:",
        "a rule skipped: licences do not end",
    ),
    Mutant(
        "suspension-ends-a-day-early",
        _REGISTRY,
        "on <= self.suspended_until",
        "on < self.suspended_until",
        "the last day of a suspension is none",
    ),
    Mutant(
        "suspension-begins-a-day-late",
        _REGISTRY,
        "if self.suspended_from is None or on < self.suspended_from:\n            return False",
        "if self.suspended_from is None or on <= self.suspended_from:\n            return False",
        "the first day of a suspension is none",
    ),
    Mutant(
        "first-day-of-a-license-ignored",
        _REGISTRY,
        "if self.license_from is not None and on < self.license_from:",
        "if self.license_from is not None and on > self.license_from:",
        "a licence is good before its first day, and not after it",
    ),
    Mutant(
        "supervisor-license-ignored",
        _SCOPE,
        "            or supervisor.license_expires < on\n",
        "",
        "a supervisor whose licence has lapsed supervises",
    ),
    Mutant(
        "supervisor-license-ends-a-day-early",
        _SCOPE,
        "or supervisor.license_expires < on",
        "or supervisor.license_expires <= on",
        "a supervisor's licence is not good on its last day",
    ),
    Mutant(
        "suspended-supervisor-supervises",
        _SCOPE,
        "            or supervisor.is_suspended(on)\n",
        "",
        "a supervisor whose licence is suspended supervises",
    ),
    Mutant(
        "anybody-supervises",
        _SCOPE,
        "            or not _may_supervise(tier, supervisor)\n",
        "",
        "somebody who needs supervision, or has a limit, supervises",
    ),
    Mutant(
        "less-supervision-is-enough",
        _SCOPE,
        "SUPERVISION_RANK[person.supervision] < SUPERVISION_RANK[who.supervision]",
        "SUPERVISION_RANK[person.supervision] < SUPERVISION_RANK[who.supervision] - 1",
        "documented supervision is enough where the premises are asked for",
    ),
    Mutant(
        "director-not-asked-for",
        _PACKS,
        'place == "clinic" and has_director and "clinic_with_director" in self.where',
        'place == "clinic" and "clinic_with_director" in self.where',
        "a clinic needs no medical director",
    ),
    Mutant(
        "clearance-not-asked-for",
        _SCOPE,
        "if tier.requires_cleared_device and not pen.cleared_class_ii:",
        "if tier.requires_cleared_device and pen.cleared_class_ii is None:",
        "a pen need not be cleared",
    ),
    Mutant(
        "any-device-will-do",
        _SCOPE,
        "if tier.device is not None and pen.kind not in tier.device.kinds:",
        "if tier.device is not None and not tier.device.kinds:",
        "the kind of device does not matter",
    ),
    Mutant(
        "no-fallback",
        _SCOPE,
        "tier = policy.find_tier(tier.fallback) if tier.fallback is not None else None\n    findings",
        "tier = None\n    findings",
        "where something is missing nothing is left, not even cosmetic work",
    ),
    Mutant(
        "fallback-hides-what-was-missing",
        _SCOPE,
        "beyond.extend(code for code in missing if code not in beyond)",
        "beyond = list(missing)",
        "of what was missing only the last tier's is said",
    ),
    Mutant(
        "without-a-tier-shallow-work-is-fine",
        _SCOPE,
        "findings = tuple(beyond)  # nothing",
        "findings = ()  # nothing",
        "whom no tier permits anything may work as deep as a reading can be off",
    ),
    # ---- cartridges ----
    Mutant(
        "cartridge-expires-a-day-early",
        _FINDINGS,
        "last_day is not None and last_day < facts.on",
        "last_day is not None and last_day <= facts.on",
        "a cartridge is not good on its last day",
    ),
    Mutant(
        "delivery-date-ignored",
        _FINDINGS,
        "last_days = [cartridge.expires, None if lot is None else lot.expires]",
        "last_days = [cartridge.expires]",
        "the last day that the delivery named is not looked at",
    ),
    Mutant(
        "recall-a-day-late",
        _FINDINGS,
        "and lot.recalled <= facts.on",
        "and lot.recalled < facts.on",
        "a lot may still be used on the day of its recall",
    ),
    Mutant(
        "several-uses-are-never-sterile",
        _FINDINGS,
        "is_single_use = product is None or product.sterile_single_use",
        "is_single_use = product is not None",
        "every known product is for single use and sterile",
    ),
    Mutant(
        "any-demand-is-every-demand",
        _FINDINGS,
        "any(rule.sterile for rule in demands) and not is_single_use",
        "all(rule.sterile for rule in demands) and not is_single_use",
        "a cartridge must be sterile only if the tiers below ask for it, too",
    ),
    Mutant(
        "a-tag-without-a-lot-is-known",
        _FINDINGS,
        "if product is None or lot is None or cartridge.serial is None or cartridge.expires is None:",
        "if product is None or cartridge.serial is None or cartridge.expires is None:",
        "a cartridge of a lot that nobody received is known",
    ),
    # ---- clients ----
    Mutant(
        "no-is-yes",
        _FINDINGS,
        "if any(answers.get(one.condition, False) for one in refusals):",
        "if any(one.condition in answers for one in refusals):",
        "whoever answers is refused, whatever the answer",
    ),
    Mutant(
        "prevention-does-not-help",
        _FINDINGS,
        "answers.get(one.condition, False) and one.condition not in visit.prevented",
        "answers.get(one.condition, False)",
        "preventive treatment is not looked at",
    ),
    Mutant(
        "one-answer-is-a-questionnaire",
        _FINDINGS,
        "any(one.condition not in answers for one in (*refusals, *preventions))",
        "False",
        "a questionnaire with one answer is complete",
    ),
    Mutant(
        "interval-a-day-short",
        _FINDINGS,
        "and (facts.on - same[0]).days < rule.interval_least_days",
        "and (facts.on - same[0]).days <= rule.interval_least_days",
        "`<=` for `<`: the interval is a day longer",
    ),
    Mutant(
        "interval-since-the-first-treatment",
        _FINDINGS,
        "same = sorted((one.on for one in visit.earlier if one.tier == tier.name), reverse=True)",
        "same = sorted(one.on for one in visit.earlier if one.tier == tier.name)",
        "the interval is counted from the first treatment, not from the last",
    ),
    Mutant(
        "course-one-more",
        _FINDINGS,
        "_number_in_course(facts, same) > rule.treatments_most",
        "_number_in_course(facts, same) > rule.treatments_most + 1",
        "a course may have one treatment more",
    ),
    Mutant(
        "course-never-begins-anew",
        _FINDINGS,
        "if after - on > timedelta(days=COURSE_GAP_DAYS):",
        "if False:",
        "a course goes on for ever",
    ),
    Mutant(
        "course-begins-anew-a-day-early",
        _FINDINGS,
        "if after - on > timedelta(days=COURSE_GAP_DAYS):",
        "if after - on >= timedelta(days=COURSE_GAP_DAYS):",
        "half a year to the day begins another course",
    ),
    Mutant(
        "duration-bounds-outside",
        _FINDINGS,
        "if facts.duration_ms > longest_ms:",
        "if facts.duration_ms >= longest_ms:",
        "the longest plausible time is too long",
    ),
    Mutant(
        "duration-too-short-is-not-seen",
        _FINDINGS,
        "if facts.duration_ms < shortest_ms:",
        "if facts.duration_ms < 0:",
        "no treatment is too short",
    ),
    Mutant(
        "the-tier-below-always-holds-the-work",
        _FINDINGS,
        "if is_for_device and band.allows(peak_um):",
        "if is_for_device:",
        "deep work is held to what shallow work asks for",
    ),
    Mutant(
        "no-doubt-between-tiers",
        _FINDINGS,
        "0 if facts.peak_um is None else facts.peak_um + facts.tolerance_um",
        "0 if facts.peak_um is None else facts.peak_um",
        "within the tolerance the shallower tier counts",
    ),
    Mutant(
        "the-fallback-hides-the-refusal",
        _FINDINGS,
        "name = scope.tier if scope.permit is None else scope.permit",
        "name = scope.tier",
        "who does medical work without supervision is held to what cosmetic work asks for",
    ),
    Mutant(
        "the-device-does-not-make-the-tier",
        _FINDINGS,
        "is_for_device = below.device is None or scope.kind in below.device.kinds",
        "is_for_device = True",
        "work with radio frequency is held to what medical needling asks for",
    ),
    # ---- the record ----
    Mutant(
        "gap-not-said",
        _FINDINGS,
        '    if facts.has_gap:\n        found.add("RECORD_GAP")\n',
        "",
        "a rule skipped: gaps",
    ),
    Mutant(
        "fault-not-said",
        _FINDINGS,
        '    if facts.has_fault:\n        found.add("SENSOR_FAULT")\n',
        "",
        "a rule skipped: parts that failed",
    ),
    Mutant(
        "tampering-not-said",
        _FINDINGS,
        '    if facts.is_tampered:\n        found.add("RECORD_TAMPERED")\n',
        "",
        "a rule skipped: two records in one place",
    ),
    Mutant(
        "a-second-of-silence-is-no-gap",
        _TREATMENT,
        "HOLE_LEAST_MS = 1_000",
        "HOLE_LEAST_MS = 1_020",
        "a gap begins a reading later",
    ),
    Mutant(
        "a-grant-lives-a-moment-longer",
        _TREATMENT,
        "utc_ms < issued_utc_ms + self.rules.policy.grant.life_ms",
        "utc_ms < issued_utc_ms + self.rules.policy.grant.life_ms + 60_000",
        "a grant is good for a minute longer than the pack says",
    ),
    Mutant(
        "the-newest-grant-counts-for-all",
        _TREATMENT,
        "issued_utc_ms = self.grants[-1][1]\n        if issued_utc_ms is None:",
        "issued_utc_ms = self.grants[0][1]\n        if issued_utc_ms is None:",
        "a grant that the pen took meanwhile does not count",
    ),
    Mutant(
        "an-empty-battery-is-a-doubt",
        _TREATMENT,
        'return self.part not in ("battery", "firmware", "grant")',
        "return True",
        "every failed part is a doubt about the record",
    ),
    Mutant(
        "a-wrong-clock-is-believed",
        _TREATMENT,
        "return opened_utc_ms + self.rules.policy.clock.agrees_within_ms >= issued_utc_ms",
        "return True",
        "a session may begin before its grant was issued",
    ),
    Mutant(
        "clocks-may-differ-by-less",
        "core/clock.py",
        'abs(offset_ms) <= self.agrees_within_ms else "gateway"',
        'abs(offset_ms) < self.agrees_within_ms else "gateway"',
        "`<` for `<=`: clocks ten seconds apart do not agree",
    ),
    Mutant(
        "the-day-of-arrival",
        _TREATMENT,
        "self._on = received_on if boot_utc_ms is None else utc(self._utc_ms(opened.t_ms)).date()",
        "self._on = received_on",
        "wrong as-of date: the day on which the record came",
    ),
    Mutant(
        "a-late-badge-counts-from-then-on",
        _TREATMENT,
        "        elif kept is not None:\n            self.meter = self._new_meter()\n",
        "        elif kept is not None:\n            self._over_counts()\n            return\n"
        "            self.meter = self._new_meter()\n",
        "what was done before a late badge is not counted again under its limit",
    ),
    Mutant(
        "todays-registry",
        "core/lane.py",
        "then = rules_at(clock.boot_utc_ms + record.t_ms)",
        "then = rules_at(None)",
        "wrong as-of date: the registry of today, not that of the session",
    ),
    Mutant(
        "the-registry-before",
        "core/registry/history.py",
        "bisect_right(self._times, utc_ms) - 1, 0)",
        "bisect_right(self._times, utc_ms) - 2, 0)",
        "wrong as-of date: the registry before the one that was in force",
    ),
    Mutant(
        "a-note-for-ever",
        "core/notes.py",
        "if index < 0 or utc_ms - of_person[index][0] > NOTE_GOOD_MS:",
        "if index < 0:",
        "a note is good for ever",
    ),
    Mutant(
        "anybodys-note",
        "core/notes.py",
        "of_person = self._of_person.get(practitioner, [])",
        "of_person = next(iter(self._of_person.values()), [])",
        "a note counts for whoever works",
    ),
    # ---- the verdict ----
    Mutant(
        "a-hard-rule-is-overridden",
        _JUDGE,
        'if rule.severity == "soft" and rule.code in facts.overrides\n    )\n    set_aside',
        "if rule.code in facts.overrides\n    )\n    set_aside",
        "a hard rule can be overridden",
    ),
    Mutant(
        "an-override-does-nothing",
        _JUDGE,
        "outcomes = {rule.outcome for rule in rules if rule.code not in set_aside}",
        "outcomes = {rule.outcome for rule in rules}",
        "a soft rule that was overridden still counts",
    ),
    Mutant(
        "one-override-for-all",
        _JUDGE,
        "outcomes = {rule.outcome for rule in rules if rule.code not in set_aside}",
        "outcomes = {rule.outcome for rule in rules if not set_aside}",
        "an override of one reason sets all aside",
    ),
    Mutant(
        "the-mildest-outcome",
        _JUDGE,
        'if "violation" in outcomes:',
        'if "violation" in outcomes and "review" not in outcomes:',
        "the mildest outcome is the verdict",
    ),
    Mutant(
        "without-work-all-the-same",
        _JUDGE,
        "    if facts.peak_um is not None:\n        found |= standing_findings",
        "    if True:\n        found |= standing_findings",
        "who treated nobody is judged as if they had",
    ),
    Mutant(
        "grants-are-not-looked-at",
        _JUDGE,
        '        if not facts.has_grant:\n            found.add("GRANT_STALE")\n',
        "",
        "a rule skipped: grants",
    ),
    Mutant(
        "reasons-out-of-order",
        _JUDGE,
        "map(policy.find_rule, sorted(found))",
        "map(policy.find_rule, sorted(found, reverse=True))",
        "reasons are not in alphabetical order",
    ),
]


# ---- running ----


def copied(folder: Path) -> Path:
    """A copy of the package, with the packs where it looks for them."""
    gateway = folder / "gateway"
    shutil.copytree(
        ROOT / "gateway" / PACKAGE, gateway / PACKAGE, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "gateway" / "packs", gateway / "packs")
    return gateway


def names() -> list[str]:
    """Every case; told without the package, which is broken meanwhile."""
    return sorted(path.name for path in CASES.iterdir() if path.is_dir())


def _likely_first(mutant: Mutant) -> list[str]:
    """All cases; first those that are called like it, since a play takes its time."""
    words = set(_WORD.findall(f"{mutant.name} {mutant.says}"))
    return sorted(names(), key=lambda name: (-len(words & set(_WORD.findall(name))), name))


def found_by(mutant: Mutant | None, gateway: Path, cases: Iterable[str]) -> list[str]:
    """The first of these cases that finds it; empty if none does. None: no fault at all."""
    place = None if mutant is None else gateway / PACKAGE / mutant.file
    before = "" if place is None else place.read_text(encoding="utf-8")
    try:
        if mutant is not None and place is not None:
            place.write_text(mutant.applied(before), encoding="utf-8")
        paths = [gateway, ROOT / "protocol", ROOT / "tests", ROOT / "tests" / "gateway"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # two mutants may be as long and as old
        command = [sys.executable, str(Path(__file__).resolve()), "--play", *cases]
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    finally:
        if place is not None:
            place.write_text(before, encoding="utf-8")
    if done.returncode != 0:
        raise RuntimeError(f"{mutant}: {done.stderr[-2000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["package"].startswith(str(gateway)), said["package"]
    return list(said["found"])


def play(cases: Sequence[str]) -> None:
    """In the process of a mutant: play cases until one finds something."""
    import structlog
    from case_folder import CaseError, read_case
    from case_stage import Stage, problems
    from pack_files import SHIPPED

    import needletrail_gateway
    from needletrail_gateway.shell.documents import read_policy

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    shipped = {name: read_policy(name) for name in SHIPPED}
    found = []
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder), shipped)
        for name in cases:
            try:
                if problems(read_case(name), stage):
                    found.append(name)
            except CaseError:  # the gateway itself stumbled
                found.append(name)
            if found:
                break
        stage.close()
    print(json.dumps({"package": str(needletrail_gateway.__file__), "found": found}))


def run(mutants: Sequence[Mutant]) -> dict[str, list[str]]:
    """What finds each of them. Two at a time."""
    with TemporaryDirectory() as folder:
        gateways = [copied(Path(folder) / str(number)) for number in range(WORKERS)]
        found: dict[str, list[str]] = {}

        def work(number: int) -> None:
            for mutant in mutants[number::WORKERS]:
                found[mutant.name] = found_by(mutant, gateways[number], _likely_first(mutant))
                print(f"{mutant.name}: {', '.join(found[mutant.name]) or 'NOT FOUND'}", flush=True)

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(work, range(WORKERS)))
    return found


# ---- the page ----

_INTRODUCTION = """\
# How the judge's tests were tested

Tests that pass show little if they would also pass with a wrong judge. So the judge was broken on
purpose, in one place at a time, and the [case folders](../how-to/add-a-case.md) were played. The table
says what was broken, and the first case that noticed. The list is in `tests/gateway/judge_mutants.py`,
which makes this page: run it after a change of the judge. `make test` checks that the page is of the
present list, and tries some of it.

| what was broken | where | noticed by |
|---|---|---|
"""


def page(found: Mapping[str, Sequence[str]]) -> str:
    """The page of the docs."""
    rows = []
    for mutant in MUTANTS:
        rows.append(f"| {mutant.says} | `{mutant.file}` | `{found[mutant.name][0]}` |\n")
    return _INTRODUCTION + "".join(rows)


def on_the_page() -> dict[str, list[str]]:
    """What the page says: the cases that find each mutant."""
    by_words = {mutant.says: mutant.name for mutant in MUTANTS}
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 3 and cells[0] in by_words:
            found[by_words[cells[0]]] = re.findall(r"`([^`]+)`", cells[2])
    return found


def main(words: Sequence[str]) -> int:
    if words[:1] == ["--play"]:
        play(words[1:])
        return 0
    chosen = [mutant for mutant in MUTANTS if not words or mutant.name in words]
    found = run(chosen)
    missed = [name for name, cases in found.items() if not cases]
    print(f"{len(found) - len(missed)} of {len(found)} found", *missed)
    if not words and not missed:
        PAGE.write_text(page(found), encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
