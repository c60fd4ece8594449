"""A verdict's statement in words, for a person who has to answer for it, or to check it.

Strategy: nothing is judged or looked up here. What is printed stands in the statement that the ledger
holds, so the explanation of an old verdict never changes with packs or registry. Whoever reads it knows
needles and not this program: codes stand beside sentences, times are UTC, and it is said that a depth
is what the dial was set to.
"""

from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100

_MARKS = {"violation": "✗", "review": "?", "compliant": "✓"}
_MEANINGS = {
    "violation": "violation: a rule was broken",
    "review": "review: a person has to look",
    "compliant": "compliant: no rule was broken",
}
_SEVERITIES = {
    "hard": "nobody may override it",
    "soft": "may be overridden with a written reason",
}
_CLOCKS = {
    "pen": "Time by the pen's own clock",
    "gateway": "Time by the gateway's clock, which noted the time at the pen's hello",
    "none": "The time is not known: the pen's clock was not set, and no gateway heard it",
}
_BECAUSE = {
    "override": "somebody has overridden a reason",
    "note": "the clinic has written a note",
    "late record": "another session's records came late",
    "conflict": "another record claimed a place in its record",
}


def in_words(statement: Mapping[str, Any]) -> str:
    """The explanation, in lines of up to WIDTH characters where words can be parted."""
    parts = [
        _heading(statement),
        _reasons(statement),
        _limits(statement),
        _work(statement),
        _undecided(statement),
        _told(statement),
        _basis(statement),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _heading(found: Mapping[str, Any]) -> list[str]:
    verdict = found["verdict"]
    lines = [
        f"{_MARKS[verdict]} {found['session_id']}: {_MEANINGS[verdict]}",
        f"  {_moment(found['started']) or 'at an unknown time'}, pen {found['pen']}, "
        f"{found['practitioner'] or 'nobody badged in'}, "
        f"{'tier in force: ' + found['tier'] if found['tier'] else 'no tier permitted'}",
    ]
    cartridge = found["cartridge"]
    if cartridge is None:
        lines.append("  no cartridge is known: no tag was read, or it names none")
    else:
        parts = [f"cartridge {cartridge['gtin']}"]
        parts += [f"{name} {cartridge[name]}" for name in ("lot", "serial") if cartridge[name]]
        if cartridge["expires"]:
            parts.append(f"good until {cartridge['expires']}")
        lines.append("  " + ", ".join(parts))
    return lines


def _reasons(found: Mapping[str, Any]) -> list[str]:
    if not found["rules"]:
        if not found["work_ms"]:
            return ["Why", "  The needles did not work on skin, so nobody was treated."]
        return ["Why", "  Nothing can be said against it, and what is needed to say so is on record."]
    lines = ["Why"]
    overridden = _overridden(found)
    for rule in found["rules"]:
        outcome = rule.get("outcome", "violation")
        word = overridden.get(rule["code"])
        kinds = [outcome] if "outcome" in rule else []
        kinds += [_SEVERITIES[rule["severity"]]] if "severity" in rule and word is None else []
        kind = f" ({'; '.join(kinds)})" if kinds else ""
        mark = "○" if word is not None else _MARKS[outcome]
        lines += _wrapped(f"{mark} {rule['code']}{kind}", 2)
        lines += _wrapped(rule["text"], 4)
        for citation in rule["citation"]:
            lines += _wrapped(citation, 6)
        if word is not None:
            when = _moment(word["utc"])
            lines += _wrapped(f"Counts no more: overridden by {word['who']}, {when}: {word['why']}", 4)
    return lines


def _overridden(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {one["code"]: one for one in found.get("overridden", [])}


def _limits(found: Mapping[str, Any]) -> list[str]:
    bound = [found["scope_mm"], found["scope_inclusive"]]
    lines = ["How deep was allowed (the lowest limit binds)"]
    width = max(len(limit["name"]) for limit in found["limits"])
    for limit in found["limits"]:
        mark = "→" if [limit["mm"], limit["inclusive"]] == bound else " "
        sign = "up to" if limit["inclusive"] else "below"
        lines.append(f"  {mark} {limit['name']:<{width}}  {sign} {limit['mm']:.3f} mm")
    lines.append(f"    A reading may be off by {found['tolerance_mm']:.3f} mm.")
    lines.append("    Every depth here is what the dial was set to, not how deep the needles went.")
    return lines


def _work(found: Mapping[str, Any]) -> list[str]:
    if not found["passes"] and not found["work_ms"]:
        return ["What was done", "  The needles did not work on skin."]
    passes = found["passes"]
    count = "1 pass" if passes == 1 else f"{passes} passes"
    lines = [
        "What was done",
        f"  deepest setting while working {found['peak_mm']:.3f} mm",
        f"  needles at work on skin for {_lasting(found['work_ms'])}, in {count}, "
        f"{found['strokes']} strokes",
    ]
    lines += _passes(found)
    beyond_mm = found["scope_mm"] + found["tolerance_mm"]
    if not found["over_limit_ms"]:
        lines.append(f"  never deeper than limit and tolerance ({beyond_mm:.3f} mm)")
        return lines
    lines.append(
        f"  deeper than limit and tolerance ({beyond_mm:.3f} mm) for {_lasting(found['over_limit_ms'])}"
    )
    spans = found["breach_spans_ms"]
    if not spans:
        lines.append("  never for 200 ms on end, so it is no breach")
        return lines
    lines.append(f"  of that in breaches, 200 ms on end or more: {_lasting(found['breach_ms'])}")
    lines += [f"    {_span(span, found['started_t_ms'])}" for span in spans]
    return lines


def _passes(found: Mapping[str, Any]) -> list[str]:
    """Each pass with its number, its beginning and how long it lasted."""
    spans = found.get("pass_spans_ms", [])
    if not spans:
        return []
    times = [
        f"{number} at {_lasting(begin - found['started_t_ms'])} for {_lasting(end - begin)}"
        for number, (begin, end) in enumerate(spans, 1)
    ]
    return _wrapped("passes: " + "; ".join(times), 4)


def _undecided(found: Mapping[str, Any]) -> list[str]:
    """What is open, and why: the reasons that ask for a person's look, and parts that failed."""
    overridden = _overridden(found)
    lines = []
    for rule in found["rules"]:
        if rule.get("outcome") == "review" and rule["code"] not in overridden:
            lines += _wrapped(f"{rule['code']}: {rule['text']}", 2)
    lines += [
        f"  part {fault['part']}: {fault['fault']}"
        + (", over again" if fault["is_over"] else "")
        + (", from before the session" if fault["t_ms"] is None else "")
        for fault in found.get("faults", [])
    ]
    return ["What could not be decided", *lines] if lines else []


def _told(found: Mapping[str, Any]) -> list[str]:
    """What the practitioner was warned of, if the statement comes with its alerts."""
    lines = [
        f"  {one['code']}: "
        + ("shown on the pen" if one.get("reached_pen") else "not known to have been shown on the pen")
        + (f", acknowledged (entry {seen})" if (seen := one.get("acknowledged_entry")) else "")
        for one in found.get("alerts", [])
    ]
    return ["Alerts that were raised", *lines] if lines else []


def _basis(found: Mapping[str, Any]) -> list[str]:
    policy = found["policy"]
    entry = found.get("registry_entry")
    lines = [
        "Judged by",
        f"  policy {policy['pack']} {policy['version']}"
        + (f", and the registry as it stood at entry {entry}" if entry else ""),
    ]
    note = found.get("note_entry")
    if note:
        lines.append(f"  the clinic's note on the treatment, entry {note}")
    clock = found.get("clock")
    if clock is not None:
        offset = clock["offset_ms"]
        apart = f"; the gateway's differs by {offset / 1000:+.3f} s" if offset is not None else ""
        lines += _wrapped(_CLOCKS.get(clock["source"], clock["source"]) + apart, 2)
    grant = found.get("grant")
    if grant is not None:
        lines += _wrapped(_grants(grant), 2)
    if found.get("amends"):
        because = _BECAUSE.get(found["because"], found["because"])
        lines += _wrapped(f"This verdict amends that of entry {found['amends']}: {because}", 2)
    return lines


def _grants(grant: Mapping[str, Any]) -> str:
    """What the pen knew of permits and limits; the verdict follows from the registry all the same."""
    first = _moment(grant["issued"])
    said = "The pen held no grant" if first is None else f"The pen held a grant issued {first}"
    for one in grant["taken"]:
        issued = _moment(one["issued"])
        said += ", then none" if issued is None else f", then one issued {issued}"
    return said


def _moment(text: str | None) -> str | None:
    """As 2026-07-01 09:00:00 UTC, from the statement's RFC 3339 with milliseconds."""
    return None if text is None else f"{text[:10]} {text[11:19]} UTC"


def _span(span: Sequence[int], started_t_ms: int) -> str:
    begin, end = span[0] - started_t_ms, span[1] - started_t_ms
    return f"from {_lasting(begin)} to {_lasting(end)} after the beginning ({_lasting(end - begin)})"


def _lasting(milliseconds: int) -> str:
    """As 1.98 s, or 45 min 7.20 s."""
    minutes, rest_ms = divmod(milliseconds, 60_000)
    return (f"{minutes} min " if minutes else "") + f"{rest_ms / 1000:.2f} s"


def _wrapped(text: str, indent: int) -> list[str]:
    """The text in lines of up to WIDTH characters; what follows the first is indented a little more."""
    lines = []
    line = " " * indent
    for number, word in enumerate(text.split()):
        if number and len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = " " * (indent + 2) + word
        else:
            line += word if not number else f" {word}"
    return [*lines, line]
