"""`needletrail treatment` and `needletrail explain`: the clinic's word on a treatment, and the judge's.

Clients are pseudonyms here, and what they answered comes in a file, so that it does not stay in a
shell's history.
"""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from needletrail_gateway.core.judging.attested import judge_attested
from needletrail_gateway.core.judging.explain import in_words
from needletrail_gateway.core.notes import (
    ATTESTED,
    NOTE,
    OVERRIDE,
    AttestedTreatment,
    OverrideNote,
    TreatmentNote,
    body_of,
)
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.treatment import utc
from needletrail_gateway.desk.options import (
    ConfigOption,
    JsonOption,
    LedgerOption,
    WhoOption,
    for_dashboards,
    now_utc_ms,
    opened_ledger,
    place_of,
    registry_in_force,
    who_is_it,
)
from needletrail_gateway.desk.registry_commands import moment_utc_ms
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.replay.amend import amend, amend_later
from needletrail_gateway.shell.documents import DocumentError, read_policy
from needletrail_gateway.shell.notebook import Notebook

treatment_app = typer.Typer(
    no_args_is_help=True,
    help="The clinic's word on treatments: whom, what the questionnaire brought, what was overridden.",
)

ClientOption = Annotated[
    str, typer.Option("--client", metavar="PSEUDONYM", help="c- and 8 to 32 of a-z and 0-9; no name.")
]
PractitionerOption = Annotated[
    str, typer.Option("--practitioner", metavar="ID", help="Who treats: the badge's id.")
]
AnswersOption = Annotated[
    Path | None,
    typer.Option(
        "--answers",
        metavar="FILE",
        help="The questionnaire in TOML: one line a condition, true or false. Left out: nobody asked.",
    ),
]
PreventedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--prevented", metavar="CONDITION", help="Preventive treatment was given; may repeat."
    ),
]
AreaOption = Annotated[
    str | None, typer.Option("--area", metavar="NAME", help="What is treated, such as full-face.")
]
UsedOption = Annotated[
    list[str] | None,
    typer.Option("--used", metavar="ITEM=N", help="A consumable that is used; may repeat."),
]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="When it begins (UTC); left out: now.")
]


@treatment_app.command(
    "note",
    short_help="Who is treated, before it begins.",
    help="Note a treatment before the needles touch the skin. It belongs to what the practitioner then "
    "does: their sessions of the next four hours, until their next note. With --session it belongs "
    "to that session alone. A note may be written afterwards (--at, --session): sessions that it "
    "belongs to are judged again.",
    epilog="Example: needletrail treatment note --client c-7k2m9qxa --practitioner rn-01 "
    "--answers answers.toml --area full-face --config gateway.toml",
)
def note(
    client: ClientOption,
    practitioner: PractitionerOption,
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="ID", help="This session alone.")
    ] = None,
    answers: AnswersOption = None,
    prevented: PreventedOption = None,
    area: AreaOption = None,
    used: UsedOption = None,
    at: AtOption = None,
    who: WhoOption = None,
    as_json: JsonOption = False,
) -> None:
    """A treatment note."""
    location, folder = place_of(config, ledger)
    with opened_ledger(location) as opened:
        registry = registry_in_force(opened)
        policy = read_policy(registry.clinic.policy, folder)
        if session is not None:
            opened.session(session)
        now = now_utc_ms()
        fields = _common(
            registry, policy, practitioner, client, answers, prevented, area, used, at, who, now
        )
        made = _made(TreatmentNote, fields | {"session": session})
        entry = opened.note(NOTE, body_of(made), now, session)
        verdict = _amended(opened, session, "note") if session is not None else None
        others = [] if session is not None else _amended_by_time(opened)
    _said(entry, as_json, _healing(registry, policy, practitioner), verdict, others)


@treatment_app.command(
    "attest",
    short_help="A treatment without a pen.",
    help="Record a treatment that no pen has seen, such as one with a roller, by the word of whoever "
    "did it. It is judged by the policy in force; the needles' length stands for the depth.",
    epilog="Example: needletrail treatment attest --client c-7k2m9qxa --practitioner est-01 "
    "--device roller --needle-mm 0.2 --minutes 20 --config gateway.toml",
)
def attest(
    client: ClientOption,
    practitioner: PractitionerOption,
    device: Annotated[str, typer.Option("--device", metavar="KIND", help="roller or radio-frequency.")],
    needle_mm: Annotated[float, typer.Option("--needle-mm", metavar="MM", help="The needles' length.")],
    minutes: Annotated[float, typer.Option("--minutes", metavar="N", help="How long it took.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    answers: AnswersOption = None,
    prevented: PreventedOption = None,
    area: AreaOption = None,
    used: UsedOption = None,
    at: AtOption = None,
    who: WhoOption = None,
    as_json: JsonOption = False,
) -> None:
    """An attested manual record."""
    location, folder = place_of(config, ledger)
    with opened_ledger(location) as opened:
        registry = registry_in_force(opened)
        policy = read_policy(registry.clinic.policy, folder)
        now = now_utc_ms()
        fields = _common(
            registry, policy, practitioner, client, answers, prevented, area, used, at, who, now
        )
        more = {"device": device, "needle_mm": needle_mm, "minutes": minutes}
        made = _made(AttestedTreatment, fields | more)
        assert isinstance(made, AttestedTreatment)
        person = registry.find_practitioner(practitioner)
        assert person is not None
        visit = Notebook(opened).visit_of(made, 0, made.at_utc_ms)
        on = utc(made.at_utc_ms).date()
        judged = judge_attested(policy, registry, person, made, visit, on)
        version = f"{policy.name} {policy.version}"
        found = {"verdict": judged.outcome, "reasons": judged.reasons, "policy": version}
        row = None
        if judged.tier is not None:
            row = {
                "client": made.client,
                "started_utc_ms": made.at_utc_ms,
                "tier": judged.tier,
            }
        body = body_of(made.model_copy(update=found))
        entry = opened.note(ATTESTED, body, now, visit=row)
        if row is not None:
            amend_later(opened, row | {"note_entry": entry}, NOTE, now_utc_ms())
    verdict = {"verdict": judged.outcome, "reasons": list(judged.reasons)}
    _said(entry, as_json, _healing(registry, policy, practitioner), verdict)


@treatment_app.command(
    "override",
    short_help="A soft rule does not hold here, and why.",
    help="Record that a soft rule does not hold in one session. The reason stays in its statement, "
    "with your word beside it, and counts no more: the session is judged again, and the new verdict is "
    "entered beside the old one. A session that is still open takes it up at its end. A hard rule can "
    "not be overridden. Who and why appear on dashboards: name no client there.",
    epilog="Example: needletrail treatment override pen-01-1-7 DURATION_LONG --why 'two areas' "
    "--config gateway.toml",
)
def override(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="PEN-EPOCH-NUMBER.")],
    code: Annotated[str, typer.Argument(metavar="CODE", help="The reason's code.")],
    why: Annotated[
        str,
        typer.Option(
            "--why", metavar="TEXT", help="Why it does not hold here; dashboards show it: no client."
        ),
    ],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    who: WhoOption = None,
    as_json: JsonOption = False,
) -> None:
    """Somebody answers for it."""
    why, who = for_dashboards("--why", why), for_dashboards("--who", who_is_it(who))
    location, folder = place_of(config, ledger)
    with opened_ledger(location) as opened:
        opened.session(session)
        policy = read_policy(registry_in_force(opened).clinic.policy, folder)
        rule = policy.find_rule(code)
        if rule is None:
            raise DocumentError(f"the pack {policy.name} has no rule {code!r}")
        if rule.severity == "hard":
            raise DocumentError(f"{code} is a hard rule: nobody can override it. {rule.text}")
        made = _made(OverrideNote, {"who": who, "session": session, "code": code, "why": why})
        entry = opened.note(OVERRIDE, body_of(made), now_utc_ms(), session)
        verdict = _amended(opened, session, "override")
    _said(entry, as_json, verdict=verdict)


def explain(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="PEN-EPOCH-NUMBER.")],
    config: ConfigOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """A verdict, with every reason, limit and interval behind it."""
    with opened_ledger(place_of(config, ledger)[0]) as opened:
        statement = opened.statement(opened.session(session))
    if statement is None:
        raise DocumentError(f"the session {session} is still open: there is no verdict yet")
    print(json.dumps(statement, ensure_ascii=False) if as_json else in_words(statement), end="")
    if as_json:
        print()


def _common(
    registry: Registry,
    policy: Policy,
    practitioner: str,
    client: str,
    answers: Path | None,
    prevented: list[str] | None,
    area: str | None,
    used: list[str] | None,
    at: str | None,
    who: str | None,
    now: int,
) -> dict[str, Any]:
    """What all treatments have in common, checked against registry and policy."""
    if registry.find_practitioner(practitioner) is None:
        raise DocumentError(f"--practitioner: {practitioner} is not registered as a practitioner")
    screening = None if answers is None else _answers(answers, policy)
    for condition in prevented or []:
        if policy.find_refusal(condition) is None:
            raise DocumentError(_unknown_condition("--prevented", condition, policy))
    return {
        "who": who_is_it(who),
        "at_utc_ms": now if at is None else moment_utc_ms("--at", at),
        "practitioner": practitioner,
        "client": client,
        "screening": screening,
        "prevented": tuple(prevented or []),
        "area": area,
        "used": dict(_used(registry, one) for one in used or []),
    }


def _answers(path: Path, policy: Policy) -> dict[str, bool]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DocumentError(f"{path}: can not be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DocumentError(f"{path}: is not valid TOML: {error}.") from error
    for condition, answer in found.items():
        if policy.find_refusal(condition) is None:
            raise DocumentError(_unknown_condition(str(path), condition, policy))
        if not isinstance(answer, bool):
            raise DocumentError(f"{path}: {condition}: the answer is true or false.")
    return found


def _unknown_condition(where: str, condition: str, policy: Policy) -> str:
    known = ", ".join(one.condition for one in policy.refusal) or "none"
    return f"{where}: the pack {policy.name} asks nothing of {condition!r}. Known conditions: {known}."


def _used(registry: Registry, text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if registry.find_consumable(name) is None:
        known = ", ".join(one.id for one in registry.consumable) or "none"
        raise DocumentError(f"--used: the registry has no consumable {name!r}. Known: {known}.")
    if not count.isdecimal():
        raise DocumentError(f"--used: {text!r} is not ITEM=N.")
    return name, int(count)


def _made(model: type[BaseModel], fields: dict[str, Any]) -> BaseModel:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        complaints = []
        for found in error.errors():
            option = "--" + str(found["loc"][0]).replace("_", "-")
            complaints.append(f"{option}: {str(found['msg']).removeprefix('Value error, ')}.")
        raise DocumentError("\n".join(complaints)) from error


def _healing(registry: Registry, policy: Policy, practitioner: str) -> str | None:
    """What to tell the client, by the tier of the practitioner's permit."""
    person = registry.find_practitioner(practitioner)
    rule = None if person is None else policy.healing_for(person.tier)
    return None if rule is None else rule.tell


def _amended_by_time(ledger: Ledger) -> list[str]:
    """The sessions that began after a note's time and were judged before it was written."""
    notes = Notebook(ledger)
    notes.read_on()
    overtaken = sorted(notes.overtaken())
    for session_id in overtaken:
        amend(ledger, session_id, NOTE, now_utc_ms())
    return overtaken


def _amended(ledger: Ledger, session: str, because: str) -> dict[str, Any] | None:
    """The session's statement after it was judged again; None while it is open."""
    row = ledger.session(session)
    if row["verdict_entry"] is None:
        return None
    amend(ledger, session, because, now_utc_ms())
    return ledger.statement(ledger.session(session))


def _said(
    entry: int,
    as_json: bool,
    tell: str | None = None,
    verdict: dict[str, Any] | None = None,
    judged_again: Sequence[str] = (),
) -> None:
    if as_json:
        said: dict[str, Any] = {"entry": entry, "tell_client": tell}
        if judged_again:
            said["judged_again"] = list(judged_again)
        if verdict is not None:
            said |= {"verdict": verdict["verdict"], "reasons": verdict["reasons"]}
        print(json.dumps(said))
        return
    print(f"Recorded (entry {entry}).")
    if verdict is not None:
        reasons = f" ({', '.join(verdict['reasons'])})" if verdict["reasons"] else ""
        print(f"The verdict is: {verdict['verdict']}{reasons}.")
    if judged_again:
        print(f"Judged again, with this note: {', '.join(judged_again)}.")
    if tell is not None:
        print(f"Tell the client: {tell}")
