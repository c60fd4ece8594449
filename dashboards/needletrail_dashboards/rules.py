"""Alert rules, whom they tell, and how often, in the words of Grafana's alert provisioning.

A rule asks one question (queries/rules.py), takes the newest number of each series, and compares it.

No data and errors are settled on purpose. No breach, reuse or recall is written down as nothing at all,
so no data means that all is well. If InfluxDB can not be asked, a rule keeps the state it had: it
neither fires nor forgets. One rule speaks for that case, and only one: `outbox-stuck`.

Texts use `{{ .Labels.clinic }}` and not `$labels`: a dollar sign would be taken for an environment
variable when Grafana reads the file. They name clinics, pens, practitioners and items; never a client.
"""

from dataclasses import dataclass, field
from typing import Literal

from grafana_foundation_sdk.models import alerting, dashboard, expr

from needletrail_dashboards.board import Board, PanelFunction, panel_id
from needletrail_dashboards.boards import compliance, consumables, fleet
from needletrail_dashboards.influx_query import DATASOURCE_UID, FIXED_DATASOURCE, InfluxQuery
from needletrail_dashboards.influxql import Select
from needletrail_dashboards.queries import rules as ask

FOLDER = "Needletrail"
RECEIVER = "needletrail"
RECEIVER_OF_EVENTS = "needletrail, what has happened"
EXPRESSION = "__expr__"
DOCS = "${NEEDLETRAIL_DOCS_URL}/reference/dashboards.md"
EMAIL = "${NEEDLETRAIL_ALERT_EMAIL}"
WEBHOOK = "${NEEDLETRAIL_ALERT_WEBHOOK}"

NoData = Literal["OK", "Alerting", "NoData", "KeepLast"]
Error = Literal["OK", "Alerting", "Error", "KeepLast"]
Severity = Literal["urgent", "soon", "watch"]

MINUTE_S = 60
DAY_S = 86_400


@dataclass(frozen=True)
class Rule:
    """One alert rule. It fires when `ask` brings a number above `above` (and below `below`) for
    `lasting`. A series is a thing that can be in trouble: a pen, a practitioner, an item."""

    name: str
    title: str
    ask: Select
    above: float
    looks_back_s: int
    lasting: str
    severity: Severity
    board: Board
    panel: PanelFunction
    summary: str
    text: str
    when_no_data: NoData
    why_no_data: str
    when_error: Error = "KeepLast"
    below: float | None = None
    point_ms: int = 1_000

    @property
    def uid(self) -> str:
        """What Grafana knows it by."""
        return f"needletrail-{self.name}"

    def queries(self) -> list[alerting.Query]:
        """The question, its newest number, the comparison."""
        back = alerting.RelativeTimeRange(from_val=self.looks_back_s, to=0)
        question = InfluxQuery(
            self.ask.text(),
            "time_series",
            "A",
            datasource=FIXED_DATASOURCE,
            interval_ms=self.point_ms,
            max_data_points=43_200,
        )
        source = dashboard.DataSourceRef(type_val=EXPRESSION, uid=EXPRESSION)
        newest = expr.TypeReduce(datasource=source, expression="A", reducer="last", ref_id="B")
        compared = expr.TypeThreshold(
            datasource=source,
            expression="B",
            ref_id="C",
            conditions=[
                expr.ExprTypeThresholdConditions(
                    evaluator=expr.ExprTypeThresholdConditionsEvaluator(
                        params=[self.above] if self.below is None else [self.above, self.below],
                        type_val="gt" if self.below is None else "within_range",
                    )
                )
            ],
        )
        return [
            alerting.Query(
                datasource_uid=DATASOURCE_UID, model=question, ref_id="A", relative_time_range=back
            ),
            alerting.Query(
                datasource_uid=EXPRESSION, model=newest, ref_id="B", relative_time_range=back
            ),
            alerting.Query(
                datasource_uid=EXPRESSION, model=compared, ref_id="C", relative_time_range=back
            ),
        ]

    def provisioned(self) -> dict[str, object]:
        """As it stands in a provisioning file."""
        return {
            "uid": self.uid,
            "title": self.title,
            "condition": "C",
            "data": self.queries(),
            "dashboardUid": self.board.uid,
            "panelId": panel_id(self.panel),
            "noDataState": self.when_no_data,
            "execErrState": self.when_error,
            "for": self.lasting,
            "annotations": {
                "summary": self.summary,
                "description": self.text,
                "no_data": self.why_no_data,
                "runbook_url": f"{DOCS}#{self.name}",
                "__dashboardUid__": self.board.uid,
                "__panelId__": str(panel_id(self.panel)),
            },
            "labels": {"severity": self.severity, "product": "needletrail"},
            "isPaused": False,
        }


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together, so often."""

    name: str
    every: str
    rules: tuple[Rule, ...] = field(default_factory=tuple)

    def provisioned(self) -> dict[str, object]:
        """As it stands in a provisioning file."""
        return {
            "orgId": 1,
            "name": self.name,
            "folder": FOLDER,
            "interval": self.every,
            "rules": [rule.provisioned() for rule in self.rules],
        }


NOTHING_IS_WELL = "No such alert was raised: nothing is written, and all is well."

OUT_OF_SCOPE = Rule(
    name="out-of-scope",
    title="Deeper than permitted",
    ask=ask.out_of_scope,
    above=0,
    looks_back_s=15 * MINUTE_S,
    lasting="0s",
    severity="urgent",
    board=compliance.BOARD,
    panel=compliance.open_alerts,
    summary="A pen at clinic {{ .Labels.clinic }} went deeper than permitted.",
    text="Pen {{ .Labels.pen }}, practitioner {{ .Labels.practitioner }}: work beyond the limit for at "
    "least 200 ms. The depth is the ring's setting, not the penetration. Look at the session, then "
    "acknowledge the alert.",
    when_no_data="OK",
    why_no_data=NOTHING_IS_WELL,
)

CARTRIDGE_REUSED = Rule(
    name="cartridge-reused",
    title="Cartridge used twice",
    ask=ask.cartridge_reused,
    above=0,
    looks_back_s=15 * MINUTE_S,
    lasting="0s",
    severity="urgent",
    board=consumables.BOARD,
    panel=consumables.reuse_attempts,
    summary="A cartridge was used a second time at clinic {{ .Labels.clinic }}.",
    text="Pen {{ .Labels.pen }}, practitioner {{ .Labels.practitioner }}: the cartridge had worked in "
    "another session. A cartridge is for one use. Stop, and take a new one.",
    when_no_data="OK",
    why_no_data=NOTHING_IS_WELL,
)

RECALLED_LOT = Rule(
    name="recalled-lot",
    title="Recalled lot used",
    ask=ask.recalled_lot_used,
    above=0,
    looks_back_s=15 * MINUTE_S,
    lasting="0s",
    severity="urgent",
    board=consumables.BOARD,
    panel=consumables.recalled_uses,
    summary="A cartridge of a recalled lot was used at clinic {{ .Labels.clinic }}.",
    text="Pen {{ .Labels.pen }}, practitioner {{ .Labels.practitioner }}. Take the lot out of stock; "
    "`needletrail stock recall` lists every session that it touched.",
    when_no_data="OK",
    why_no_data=NOTHING_IS_WELL,
)

REPEATED_BREACHES = Rule(
    name="repeated-breaches",
    title="Breaches again and again",
    ask=ask.repeated_breaches,
    above=2,
    looks_back_s=7 * DAY_S,
    lasting="0s",
    severity="soon",
    board=compliance.BOARD,
    panel=compliance.breaches_by_practitioner,
    summary="Three or more sessions of one practitioner went deeper than permitted within a week.",
    text="Practitioner {{ .Labels.practitioner }} at clinic {{ .Labels.clinic }}. Talk to them: is the "
    "ring hard to read, the limit not known, or the permit not the right one?",
    when_no_data="OK",
    why_no_data=NOTHING_IS_WELL,
    point_ms=60_000,
)

STOCK_LOW = Rule(
    name="stock-low",
    title="Stock at the reorder level",
    ask=ask.stock_low,
    above=0,
    looks_back_s=2 * DAY_S,
    lasting="0s",
    severity="watch",
    board=consumables.BOARD,
    panel=consumables.to_order_count,
    summary="Time to order item {{ .Labels.item }} for clinic {{ .Labels.clinic }}.",
    text="Its stock is at the reorder level or below it. The dashboard says how long it will last.",
    when_no_data="OK",
    why_no_data="A clinic that keeps no stock has nothing to order.",
    point_ms=60_000,
)

PEN_SILENT = Rule(
    name="pen-silent",
    title="Pen silent during a session",
    ask=ask.pen_silent,
    above=120,
    below=7_200,
    looks_back_s=5 * MINUTE_S,
    lasting="1m",
    severity="soon",
    board=fleet.BOARD,
    panel=fleet.pens,
    summary="A pen at clinic {{ .Labels.clinic }} fell silent in the middle of a session.",
    text="Pen {{ .Labels.pen }} has an open session and has not been heard for more than two minutes. "
    "It goes on recording by itself; check its battery and the clinic's network. After two hours "
    "nothing more is said of it here.",
    when_no_data="OK",
    why_no_data="No gateway says how its pens are. That is for the rule `outbox-stuck` to tell, once.",
)

BACKLOG_GROWING = Rule(
    name="backlog-growing",
    title="Backlog of a pen grows",
    ask=ask.backlog_growing,
    above=300,
    looks_back_s=30 * MINUTE_S,
    lasting="10m",
    severity="soon",
    board=fleet.BOARD,
    panel=fleet.backlog_over_time,
    summary="A pen at clinic {{ .Labels.clinic }} makes records faster than it can hand them over.",
    text="Pen {{ .Labels.pen }} is connected, and holds 300 records more than half an hour ago. "
    "Nothing is lost yet. Look at the network, and at the gateway's commit time.",
    when_no_data="OK",
    why_no_data="No pen is connected: a backlog grows then, and that is as it should be.",
)

OUTBOX_STUCK = Rule(
    name="outbox-stuck",
    title="Dashboards fall behind",
    ask=ask.outbox_stuck,
    above=300,
    looks_back_s=DAY_S,
    lasting="10m",
    severity="soon",
    board=fleet.BOARD,
    panel=fleet.outbox_wait,
    summary="The time series falls behind the ledger, or a gateway is silent.",
    text="Clinic {{ .Labels.clinic }}: the oldest entry has waited for a quarter of an hour, or "
    "nothing was heard of the gateway for ten minutes, or InfluxDB can not be asked. The record itself "
    "is safe in the ledger; do not trust dashboards and the other rules until this is over.",
    when_no_data="OK",
    why_no_data="Silence is counted as waiting by the query itself. No gateway at all in a day: there "
    "is none yet, or it was given up.",
    when_error="Error",
    point_ms=60_000,
)

GROUPS = (
    Group("Patients and limits", "20s", (OUT_OF_SCOPE, CARTRIDGE_REUSED, RECALLED_LOT)),
    Group("Pens and gateway", "30s", (PEN_SILENT, BACKLOG_GROWING, OUTBOX_STUCK)),
    Group("Habits and stock", "5m", (REPEATED_BREACHES, STOCK_LOW)),
)


def all_rules() -> list[Rule]:
    """Every rule."""
    return [rule for group in GROUPS for rule in group.rules]


def contact_points() -> list[dict[str, object]]:
    """Mail and webhook. Their addresses come from Grafana's environment, which must have both.

    What has happened (a breach, a reuse) can not unhappen: there is no all-clear for it.
    """
    return [_contact_point(RECEIVER, "", True), _contact_point(RECEIVER_OF_EVENTS, "-events", False)]


def _contact_point(name: str, suffix: str, says_all_clear: bool) -> dict[str, object]:
    return {
        "orgId": 1,
        "name": name,
        "receivers": [
            {
                "uid": f"needletrail-email{suffix}",
                "type": "email",
                "settings": {"addresses": EMAIL, "singleEmail": True},
                "disableResolveMessage": not says_all_clear,
            },
            {
                "uid": f"needletrail-webhook{suffix}",
                "type": "webhook",
                "settings": {"url": WEBHOOK, "httpMethod": "POST"},
                "disableResolveMessage": not says_all_clear,
            },
        ],
    }


def _route(severity: Severity, to: str, wait: str, gathered: str, again: str) -> dict[str, object]:
    return {
        "receiver": to,
        "object_matchers": [["severity", "=", severity], ["product", "=", "needletrail"]],
        "group_by": ["alertname", "clinic"],
        "group_wait": wait,
        "group_interval": gathered,
        "repeat_interval": again,
    }


def policy() -> dict[str, object]:
    """What is urgent goes out at once; the rest is gathered, and nothing is said again too soon."""
    return {
        "orgId": 1,
        "receiver": RECEIVER,
        "group_by": ["alertname", "clinic"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "12h",
        "routes": [
            _route("urgent", RECEIVER_OF_EVENTS, "0s", "30s", "4h"),
            _route("soon", RECEIVER, "30s", "5m", "12h"),
            _route("watch", RECEIVER, "5m", "1h", "3d"),
        ],
    }
