"""`needletrail policy`: what a pack says, whether it can be used, how two differ, who may do what.

Reads arguments, asks the core, shows what it said: as text for a person, with --json for a machine. A
pack is named, or is a file: what ends in .toml is taken as a file. Nothing is ever changed here.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from needletrail_gateway.core.packs import words
from needletrail_gateway.core.packs.compare import Change, compare, overall
from needletrail_gateway.core.packs.explain import Answer, Reason, TierAnswer, explain
from needletrail_gateway.core.packs.schema import pack_schema
from needletrail_gateway.core.packs.words import DEPTHS_ARE_SETTINGS, Line
from needletrail_gateway.core.registry.model import DEPTH_MAX_MM
from needletrail_gateway.desk.options import JsonOption
from needletrail_gateway.shell.documents import (
    PACK_SUFFIX,
    Complaint,
    DocumentError,
    Pack,
    read_pack,
    read_pack_file,
)
from needletrail_gateway.shell.settings import read_settings

policy_app = typer.Typer(
    no_args_is_help=True,
    help="Policy packs: what they say, whether they are in order, how two differ, who may do what. "
    "PACK is a name, such as default or us-ca, or a file that ends in .toml.",
)

PackArgument = Annotated[str, typer.Argument(metavar="PACK", help="A pack's name, or a .toml file.")]
PacksOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="The gateway's settings, if packs are in a folder of your own."
    ),
]
TierOption = Annotated[
    str | None,
    typer.Option("--tier", metavar="TIER", help="Only this tier; a wrong one lists those there are."),
]
CitationsOption = Annotated[
    bool, typer.Option("--citations", help="Also the citation of each rule: source and quotation.")
]

_ANSWERS = {"yes": "Yes.", "if": "Yes, under conditions.", "no": "No."}
_HEADINGS = {
    "stricter": "Stricter",
    "milder": "Milder",
    "different": "Different",
}


@policy_app.command(
    "show",
    short_help="What a pack says, rule by rule.",
    help="What a pack says, rule by rule, and which pack each rule is from: this one, or one that it "
    "extends. With --citations also on whose authority.",
    epilog="Example: needletrail policy show us-ca --tier cosmetic --citations",
)
def show(
    pack: PackArgument,
    tier: TierOption = None,
    citations: CitationsOption = False,
    config: PacksOption = None,
    as_json: JsonOption = False,
) -> None:
    """A table, a line a rule."""
    found = _read(pack, config)
    _check_tier(found, tier)
    lines = [line for line in words.lines(found.policy) if tier is None or line.address[0] == tier]
    if as_json:
        _print_json(
            _facts(found)
            | {"lines": [_line_facts(found, line) for line in lines], "note": DEPTHS_ARE_SETTINGS}
        )
        return
    policy = found.policy
    console = Console()
    _say(console, f"{policy.name} {policy.version}, in force from {policy.effective}", style="bold")
    _say(console, policy.describes)
    if policy.lineage:
        _say(console, f"Extends {', which extends '.join(policy.lineage)}.")
    if policy.remove:
        _say(console, f"Takes away from it: {', '.join(policy.remove)}.")
    _say(console, "")
    table = Table("rule", "what it says", "from", box=None, header_style="bold", pad_edge=False)
    for line in lines:
        said = escape(line.words)
        if citations:
            said += "".join(f"\n  [dim]{escape(one)}[/]" for one in line.citations)
        table.add_row(escape(line.subject), said, found.origin(line.path))
    console.print(table, highlight=False)
    _say(console, "")
    _say(console, DEPTHS_ARE_SETTINGS)


@policy_app.command(
    "check",
    short_help="Whether pack files can be used.",
    help="Check pack files, with those that they extend. Every mistake is told at once, with file, "
    "line, place and what was expected. Exit code 2 if there is one.",
    epilog="Example: needletrail policy check packs/*.toml",
)
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Packs in TOML.")],
    as_json: JsonOption = False,
) -> None:
    """Each file by itself; one that can not be used does not keep the others from being checked."""
    results: list[dict[str, Any]] = []
    errors: list[DocumentError] = []
    for file in files:
        result: dict[str, Any] = {"file": str(file), "errors": []}
        try:
            found = read_pack_file(file)
        except DocumentError as error:
            errors.append(error)
            complaints = error.complaints or [Complaint(str(file), None, None, str(error))]
            result["errors"] = [vars(one) for one in complaints]
        else:
            lines = words.lines(found.policy)
            own = sum(found.origin(line.path) == found.policy.name for line in lines)
            result |= _facts(found) | {"rules": len(lines), "own_rules": own}
        results.append(result)
    if as_json:
        _print_json(results)
    else:
        for result in results:
            if not result["errors"]:
                below = f", over {' over '.join(result['lineage'])}" if result["lineage"] else ""
                print(
                    f"{result['file']}: in order. {result['name']} {result['version']}{below}: "
                    f"{result['rules']} rules, {result['own_rules']} of them its own."
                )
    if errors:
        if as_json:
            raise typer.Exit(2)
        raise DocumentError("\n".join(map(str, errors)))


@policy_app.command(
    "diff",
    short_help="What is stricter and what is milder in another pack.",
    help="How pack B differs from pack A, rule by rule: what is stricter, what is milder, and what is "
    "different without being either. What only has other words or another authority is counted; "
    "--citations lists it, too.",
    epilog="Example: needletrail policy diff default us-ca",
)
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="The pack to begin from.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The pack to go to.")],
    citations: CitationsOption = False,
    config: PacksOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rule by rule."""
    old, new = _read(before, config), _read(after, config)
    changes = compare(old.policy, new.policy)
    whole = overall(changes)
    if as_json:
        _print_json(
            {
                "before": _name(old),
                "after": _name(new),
                "overall": whole,
                "changes": [
                    {
                        "subject": list(one.address),
                        "direction": one.direction,
                        "before": one.before,
                        "after": one.after,
                        "citations": list(one.citations),
                    }
                    for one in changes
                ],
            }
        )
        return
    console = Console()
    a, b = old.policy, new.policy
    summary = {
        "the same": "allows and forbids the same as",
        "stricter": "is stricter than",
        "milder": "is milder than",
        "different": "is neither stricter nor milder than",
    }
    _say(console, f"{b.name} {b.version} {summary[whole]} {a.name} {a.version}.", style="bold")
    for direction, heading in _HEADINGS.items():
        chosen = [one for one in changes if one.direction == direction]
        if chosen:
            _say(console, f"\n{heading}:", style="bold")
            for one in chosen:
                _say_change(console, one, citations)
    reworded = [one for one in changes if one.direction == "reworded"]
    if reworded and citations:
        _say(console, "\nThe same, in other words or on another authority:", style="bold")
        for one in reworded:
            _say_change(console, one, citations)
    elif reworded:
        _say(
            console,
            f"\n{len(reworded)} rules have only other words or another authority (--citations).",
        )


@policy_app.command(
    "explain",
    short_help="Who may do what under a pack, and why.",
    help="Who may do what under a pack, and why, with citations. Ask with any of --tier, --credential "
    "and --depth: may an esthetician work at 0.5 mm here? Without any: everybody and everything.",
    epilog="Example: needletrail policy explain us-ca --credential esthetician --depth 0.5",
)
def explain_policy(
    pack: PackArgument,
    tier: TierOption = None,
    credential: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A credential as in the registry, such as nurse."),
    ] = None,
    depth: Annotated[
        float | None,
        typer.Option(metavar="MM", min=0, max=DEPTH_MAX_MM, help="A depth setting in millimetres."),
    ] = None,
    config: PacksOption = None,
    as_json: JsonOption = False,
) -> None:
    """The answer first, then tier by tier why."""
    found = _read(pack, config)
    _check_tier(found, tier)
    answer = explain(found.policy, tier, credential, depth)
    if as_json:
        _print_json(
            {"pack": _name(found)}
            | {"question": answer.question, "answer": answer.answer}
            | {"tiers": [_tier_facts(found, one) for one in answer.tiers], "note": DEPTHS_ARE_SETTINGS}
        )
        return
    _say_answer(Console(), found, answer)


@policy_app.command(
    "schema",
    short_help="The JSON Schema of a pack, for editors.",
    help="Print the JSON Schema of a pack. Editors that know Taplo use it for a file that begins with "
    "#:schema and where the schema is: they complete keys and mark mistakes while you type.",
    epilog="Example: needletrail policy schema > packs/pack.schema.json",
)
def schema() -> None:
    """The same file as beside the packs that come with Needletrail."""
    _print_json(pack_schema())


# ---- what is read ----


def _read(pack: str, config: Path | None) -> Pack:
    if pack.endswith(PACK_SUFFIX):
        return read_pack_file(Path(pack))
    return read_pack(pack, None if config is None else read_settings(config).policy.folder)


def _check_tier(found: Pack, tier: str | None) -> None:
    if tier is not None and found.policy.find_tier(tier) is None:
        known = ", ".join(one.name for one in found.policy.tier)
        raise DocumentError(f"--tier: {found.policy.name} has no tier {tier!r}. Its tiers: {known}.")


# ---- what is said ----


def _print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=1))


def _name(found: Pack) -> dict[str, str]:
    return {"name": found.policy.name, "version": found.policy.version}


def _facts(found: Pack) -> dict[str, Any]:
    policy = found.policy
    return _name(found) | {
        "effective": policy.effective.isoformat(),
        "describes": policy.describes,
        "lineage": policy.lineage,
        "removed": policy.remove,
    }


def _line_facts(found: Pack, line: Line) -> dict[str, Any]:
    return {
        "subject": list(line.address),
        "words": line.words,
        "from": found.origin(line.path),
        "citations": list(line.citations),
    }


def _reason_facts(found: Pack, reason: Reason) -> dict[str, Any]:
    return {
        "text": reason.text,
        "from": found.origin(reason.path),
        "citations": list(reason.citations),
    }


def _tier_facts(found: Pack, answer: TierAnswer) -> dict[str, Any]:
    return {
        "tier": answer.tier,
        "answer": answer.answer,
        "against": [_reason_facts(found, one) for one in answer.against],
        "conditions": [_reason_facts(found, one) for one in answer.conditions],
        "always": [_reason_facts(found, one) for one in answer.always],
    }


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _say_change(console: Console, change: Change, citations: bool) -> None:
    absent = "not said"
    if len(change.address) == 1 or change.address[1:2] == ("who",):
        absent = "not permitted"
    _say(console, f"  {change.subject}: {change.before or absent} → {change.after or absent}")
    if citations:
        for one in change.citations:
            _say(console, f"      {one}", style="dim")


def _say_answer(console: Console, found: Pack, answer: Answer) -> None:
    policy = found.policy
    _say(console, f"{answer.question} By {policy.name} {policy.version}:")
    _say(console, _ANSWERS[answer.answer], style="bold")
    for one in answer.tiers:
        _say(console, f"\nTier {one.tier}: {_ANSWERS[one.answer].lower()}", style="bold")
        for reason in (*one.against, *one.conditions):
            _say(console, f"  {reason.text} [{found.origin(reason.path)}]")
            for citation in reason.citations:
                _say(console, f"      {citation}", style="dim")
        if one.always:
            _say(console, "  In any case:")
            for reason in one.always:
                _say(console, f"    {reason.text}")
    _say(console, f"\n{DEPTHS_ARE_SETTINGS}")
