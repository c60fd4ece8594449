"""A verdict's statement in words, for a person who has to answer for it, or to check it.

Strategy: nothing is judged or looked up here. What is printed stands in the statement that the ledger
holds, so the explanation of an old verdict never changes with packs or registry.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_MARKS = {"violation": "✗", "review": "?", "compliant": "✓"}
_CLOCKS = {
    "pen": "the pen's own clock",
    "gateway": "the gateway's clock, which pinned the pen's",
    "none": "not known: nobody's clock counts",
}


def in_words(statement: Mapping[str, Any]) -> str:
    """The explanation, in lines of up to about 100 characters."""
    parts = [
        _heading(statement),
        _reasons(statement),
        _limits(statement),
        _work(statement),
        _undecided(statement),
        _basis(statement),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _heading(found: Mapping[str, Any]) -> list[str]:
    verdict = found["verdict"]
    started = found["started"] or "at an unknown time"
    lines = [
        f"{_MARKS[verdict]} {found['session_id']}: {verdict}",
        f"  {started.replace('T', ' ').replace('Z', ' UTC')}, pen {found['pen']}, "
        f"{found['practitioner'] or 'nobody badged in'}, "
        f"{'tier ' + found['tier'] if found['tier'] else 'no tier'}",
    ]
    cartridge = found["cartridge"]
    if cartridge is None:
        lines.append("  no cartridge tag was read")
    else:
        parts = [f"cartridge {cartridge['gtin']}"]
        parts += [f"{name} {cartridge[name]}" for name in ("lot", "serial") if cartridge[name]]
        if cartridge["expires"]:
            parts.append(f"good until {cartridge['expires']}")
        lines.append("  " + ", ".join(parts))
    return lines


def _reasons(found: Mapping[str, Any]) -> list[str]:
    if not found["rules"]:
        return ["Why", "  Nothing can be said against it."]
    lines = ["Why"]
    overridden = {one["code"]: one for one in found.get("overridden", [])}
    for rule in found["rules"]:
        mark = _MARKS[rule.get("outcome", "violation")]
        kind = ", ".join(rule[key] for key in ("outcome", "severity") if key in rule)
        lines.append(f"  {mark} {rule['code']}" + (f" ({kind})" if kind else "") + f": {rule['text']}")
        lines += [f"      {citation}" for citation in rule["citation"]]
        word = overridden.get(rule["code"])
        if word is not None:
            lines.append(f"    overridden by {word['who']}, {word['utc']}: {word['why']}")
    return lines


def _limits(found: Mapping[str, Any]) -> list[str]:
    bound = [found["scope_mm"], found["scope_inclusive"]]
    lines = ["Limits (the lowest one binds)"]
    width = max(len(limit["name"]) for limit in found["limits"])
    for limit in found["limits"]:
        mark = "→" if [limit["mm"], limit["inclusive"]] == bound else " "
        sign = "up to" if limit["inclusive"] else "below"
        lines.append(f"  {mark} {limit['name']:<{width}}  {sign} {limit['mm']:.3f} mm")
    lines.append(
        f"    reading tolerance {found['tolerance_mm']:.3f} mm; all depths are the dial's setting"
    )
    return lines


def _work(found: Mapping[str, Any]) -> list[str]:
    if not found["passes"] and not found["work_ms"]:
        return ["What was done", "  The needles did not work on skin."]
    lines = [
        "What was done",
        f"  peak {found['peak_mm']:.3f} mm; needles worked {_seconds(found['work_ms'])} in "
        f"{found['passes']} passes, {found['strokes']} strokes",
        f"  deeper than limit and tolerance for {_seconds(found['over_limit_ms'])} in all",
    ]
    spans = found["breach_spans_ms"]
    if spans:
        lines.append(f"  breaches (200 ms on end or more), {_seconds(found['breach_ms'])} in all:")
        lines += [f"    {_span(span, found['started_t_ms'])}" for span in spans]
    return lines


def _undecided(found: Mapping[str, Any]) -> list[str]:
    """What is open, and why: the reasons that ask for a person's look."""
    lines = [
        f"  {rule['code']}: {rule['text']}"
        for rule in found["rules"]
        if rule.get("outcome") == "review"
    ]
    lines += [
        f"  part {fault['part']}: {fault['fault']}"
        + (" is over" if fault["is_over"] else "")
        + (" before the session" if fault["t_ms"] is None else "")
        for fault in found.get("faults", [])
    ]
    return ["What could not be decided", *lines] if lines else []


def _basis(found: Mapping[str, Any]) -> list[str]:
    policy = found["policy"]
    lines = [
        "Judged by",
        f"  policy {policy['pack']} {policy['version']}"
        + (f", registry as of entry {found['registry_entry']}" if found.get("registry_entry") else ""),
    ]
    clock = found.get("clock")
    if clock is not None:
        offset = clock["offset_ms"]
        lines.append(
            f"  time by {_CLOCKS.get(clock['source'], clock['source'])}"
            + (f" (offset {offset / 1000:+.3f} s)" if offset is not None else "")
        )
    grant = found.get("grant")
    if grant is not None:
        issues = [grant["issued"], *(one["issued"] for one in grant["taken"])]
        held = ", then ".join(issue or "none" for issue in issues)
        lines.append(f"  grant that the pen held: {held}")
    return lines


def _span(span: Sequence[int], started_t_ms: int) -> str:
    begin, end = span[0] - started_t_ms, span[1] - started_t_ms
    return f"{begin / 1000:.2f} s to {end / 1000:.2f} s after the beginning ({_seconds(end - begin)})"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.2f} s"
