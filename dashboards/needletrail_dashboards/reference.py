"""The reference page of dashboards and rules, told by the same objects that are rendered."""

from collections.abc import Iterator

from needletrail_dashboards.board import Board
from needletrail_dashboards.rules import Group, Rule

HEAD = """\
# Dashboards and alert rules

Made by `make dashboards`; do not edit. The files for Grafana are in
[dashboards/out](../../dashboards/out); how to begin is said in
[first dashboard in ten minutes](../how-to/first-dashboard.md), what the measurements mean in
[the time series](series.md).

**At the top of every dashboard** stand clinic, practitioner, pen and tier (several values or all), how
much time a bar stands for, and whose midnight a day begins at. A choice that a dashboard's measurements
do not know is hidden there; links between dashboards keep all of them, and the period. The period
itself is Grafana's time picker.

**Depth** is the ring's setting wherever it is shown, not the penetration.

**Colours** are Okabe and Ito's: blue is well, orange is to be watched, vermilion is to be acted on. No
meaning rests on a colour alone: states have words and signs (● ▲ ■).

**As it stood.** Panels of stock, licences, lots, pens and gateways show how things stood at the end of
the period shown.
"""


RULES = """\
A rule looks back further than it is evaluated, so its alert stays while its cause is in sight, and one
breach is told once. If InfluxDB can not be asked, rules keep the state they had; only `outbox-stuck`
speaks of that. Contact points are a mail address and a webhook, from Grafana's environment:
`NEEDLETRAIL_ALERT_EMAIL`, `NEEDLETRAIL_ALERT_WEBHOOK` (both must be set) and `NEEDLETRAIL_DOCS_URL`,
where these pages can be read."""


def page(boards: tuple[Board, ...], groups: tuple[Group, ...]) -> str:
    """The page's Markdown."""
    lines = [HEAD]
    for board in boards:
        lines += [*_board(board), ""]
    lines += [*_rules(groups)]
    return "\n".join(lines).rstrip() + "\n"


def _board(board: Board) -> Iterator[str]:
    yield f"## {board.title.partition(': ')[2].capitalize()}"
    yield ""
    yield f"{board.text} Shows `{board.since}` to `now` at first. Its uid is `{board.uid}`."
    yield ""
    yield "| panel | from | what it says | when there is nothing |"
    yield "|---|---|---|---|"
    for _, _, panel in board.panels():
        sources = ", ".join(dict.fromkeys(f"`{ask.source_name}`" for ask in panel.asks))
        yield f"| {panel.title} | {sources} | {panel.text} | {panel.empty} |"
    for mark in board.marks:
        yield f"| {mark.name} (marks) | `{mark.ask.source_name}` | Marked in every graph. | no marks |"


def _rules(groups: tuple[Group, ...]) -> Iterator[str]:
    yield "## Alert rules"
    yield ""
    yield RULES
    for group in groups:
        for rule in group.rules:
            yield ""
            yield from _rule(group, rule)


def _rule(group: Group, rule: Rule) -> Iterator[str]:
    yield f"### {rule.name}"
    yield ""
    text = rule.text.replace("{{ .Labels.", "`").replace(" }}", "`")
    yield f"**{rule.title}.** {text}"
    yield ""
    back_s = rule.looks_back_s
    back = f"{back_s // 86_400} days" if back_s >= 172_800 else f"{back_s // 60} minutes"
    yield (
        f"- evaluated every {group.every}, looks back {back}, fires above {rule.above:g}"
        + ("" if rule.below is None else f" and below {rule.below:g}")
        + ("" if rule.lasting == "0s" else f" for {rule.lasting}")
    )
    yield f"- severity `{rule.severity}`; its panel is “{rule.panel().title}” of `{rule.board.uid}`"
    yield f"- no data: `{rule.when_no_data}`. {rule.why_no_data} Error: `{rule.when_error}`."
