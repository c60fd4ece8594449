"""The dashboard Compliance: who kept to the limits, and how many alerts that took."""

from needletrail_dashboards.board import Board, Row
from needletrail_dashboards.colours import (
    ACT,
    GREY,
    ORANGE,
    PURPLE,
    SHOWN,
    SUSPENDED,
    VERDICTS,
    VERMILION,
    WATCH,
    WELL,
)
from needletrail_dashboards.panels import BarChart, Graph, Panel, Series, Shown, Stat, Table
from needletrail_dashboards.queries import compliance as ask

SETTING = "A depth is the ring's setting, not the penetration."
NO_SESSIONS = "No sessions in this period."


def compliance_rate() -> Panel:
    return Panel(
        "Compliance rate",
        "Of all sessions judged in the period, how many were compliant. Read it together with the "
        "alert burden beside it: a rate that is bought with alerts nobody reads is not worth much.",
        (ask.compliance_rate,),
        Stat(steps=((None, ACT), (90, WATCH), (97, WELL)), decimals=1),
        NO_SESSIONS,
    )


def alerts_per_session() -> Panel:
    return Panel(
        "Alerts for each session",
        "The alert burden: alerts raised in the period, divided by sessions. When there are too many, "
        "people stop reading them.",
        (ask.alerts_per_session,),
        Stat(steps=((None, WELL), (0.5, WATCH), (1, ACT)), decimals=2),
        NO_SESSIONS,
    )


def sessions_with_alert() -> Panel:
    return Panel(
        "Sessions with an alert",
        "The share of sessions in which at least one alert was raised.",
        (ask.sessions_with_alert,),
        Stat(steps=((None, WELL), (20, WATCH), (50, ACT)), decimals=1),
        NO_SESSIONS,
    )


def open_alerts_count() -> Panel:
    return Panel(
        "Alerts still open",
        "Alerts of the last twelve months that nobody has acknowledged. They are listed below.",
        (ask.open_alerts_count,),
        Stat(steps=((None, WELL), (1, WATCH), (20, ACT))),
        "No alerts in twelve months.",
    )


def sessions_by_verdict() -> Panel:
    return Panel(
        "Sessions by verdict",
        "How many sessions were compliant, need a person to look (review), or broke a hard rule "
        "(violation). A verdict that was amended counts as it is now.",
        (ask.sessions_by_verdict,),
        Graph(
            style="bars",
            stacked=True,
            series=tuple(Series(name, state.text, state.colour) for name, state in VERDICTS.items()),
        ),
        NO_SESSIONS,
    )


def rate_and_burden() -> Panel:
    return Panel(
        "Compliance rate and alert burden",
        "The compliance rate and the share of sessions with an alert (left, in percent), and alerts "
        "for each session (right, dashed).",
        (ask.rate_over_time, ask.burden_over_time),
        Graph(
            dots=True,
            series=(
                Series("compliance", "● compliant", WELL),
                Series("with_alert", "▲ with an alert", ORANGE),
                Series(
                    "alerts_per_session",
                    "alerts for each session",
                    PURPLE,
                    right_axis=True,
                    dashed=True,
                ),
            ),
        ),
        NO_SESSIONS,
    )


def reasons() -> Panel:
    return Panel(
        "Reasons",
        "Why sessions were not compliant: how often each reason counts in a verdict, and how often a "
        "person has overridden it. The codes are explained in docs/reference/verdicts.md.",
        (ask.reasons,),
        BarChart(
            "code",
            (
                Series("counted", "■ counts", VERMILION),
                Series("overridden", "▲ overridden", ORANGE),
            ),
        ),
        "No verdict of this period has a reason: all sessions were compliant, or there were none.",
    )


def breaches_by_practitioner() -> Panel:
    return Panel(
        "Breaches by practitioner and tier",
        "A breach is work (motor on, skin contact) beyond the limit and its tolerance for at least "
        "200 ms. How many there were, for how long in all, and the longest one. " + SETTING,
        (ask.breaches_by_practitioner,),
        Table(
            (
                Shown("practitioner", "Practitioner"),
                Shown("tier", "Tier"),
                Shown("breaches", "Breaches"),
                Shown("total_ms", "In all"),
                Shown("longest_ms", "Longest"),
            ),
            sort=("Breaches", True),
        ),
        "No breach in this period.",
    )


def time_over_limit() -> Panel:
    return Panel(
        "Time beyond the limit",
        "Time of work beyond the limit, tolerance included: in breaches, and in all (with what was too "
        "short for a breach). " + SETTING,
        (ask.time_over_limit,),
        Graph(
            style="bars",
            series=(
                Series("breach_ms", "■ in breaches", VERMILION),
                Series("over_limit_ms", "▲ in all", ORANGE),
            ),
        ),
        NO_SESSIONS,
    )


def sessions_to_look_at() -> Panel:
    return Panel(
        "Sessions to look at",
        "Sessions that were not compliant, the newest first, 200 at most. Click a session to see its "
        "depth trace. " + SETTING,
        (ask.sessions_to_look_at,),
        Table(
            (
                Shown("Time", "Began", width=160),
                Shown("session", "Session", opens_session=True),
                Shown("verdict", "Verdict", states=VERDICTS, width=120),
                Shown("reasons", "Reasons"),
                Shown("clinic", "Clinic"),
                Shown("practitioner", "Practitioner"),
                Shown("pen", "Pen"),
                Shown("tier", "Tier"),
                Shown("peak_mm", "Deepest setting", decimals=2),
                Shown("scope_mm", "Limit", decimals=2),
                Shown("breach_ms", "In breach"),
                Shown("alerts", "Alerts"),
            ),
        ),
        "Nothing to look at: every session of this period was compliant, or there was none.",
    )


def open_alerts() -> Panel:
    return Panel(
        "Open alerts",
        "Alerts of the last twelve months that nobody has acknowledged, the newest first. Acknowledge "
        "with `needletrail alert acknowledge`. " + SETTING,
        (ask.open_alerts,),
        Table(
            (
                Shown("Time", "Raised", width=160),
                Shown("code", "What"),
                Shown("session", "Session", opens_session=True),
                Shown("clinic", "Clinic"),
                Shown("practitioner", "Practitioner"),
                Shown("pen", "Pen"),
                Shown("depth_mm", "Setting", decimals=2),
                Shown("limit_mm", "Limit", decimals=2),
                Shown("shown", "On the pen", states=SHOWN),
            ),
        ),
        "No alert is open.",
    )


def overrides() -> Panel:
    return Panel(
        "Overrides, with their reasons",
        "A person's word that a soft rule does not hold in one session. Clients are never named here.",
        (ask.overrides,),
        Table(
            (
                Shown("Time", "Entered", width=160),
                Shown("code", "Rule"),
                Shown("who", "By"),
                Shown("why", "Why"),
                Shown("session", "Session", opens_session=True),
                Shown("clinic", "Clinic"),
            ),
        ),
        "Nobody has overridden a rule in this period.",
    )


def licences_lapsing() -> Panel:
    return Panel(
        "Licences about to lapse",
        "Licences with 60 days or less to go at the end of the period, and those that have lapsed "
        "(below 0).",
        (ask.licences_lapsing,),
        Table(
            (
                Shown("practitioner", "Practitioner"),
                Shown("clinic", "Clinic"),
                Shown("credential", "Credential"),
                Shown(
                    "days_left",
                    "Days left",
                    steps=((None, ACT), (0, WATCH), (31, GREY)),
                ),
                Shown("suspended", "Suspended", states=SUSPENDED),
            ),
            sort=("Days left", False),
        ),
        "No licence lapses within 60 days.",
    )


BOARD = Board(
    __name__,
    "Needletrail: compliance",
    "Verdicts, their reasons and their alert burden. " + SETTING,
    (
        Row(
            "At a glance",
            4,
            (
                (compliance_rate, 6),
                (alerts_per_session, 6),
                (sessions_with_alert, 6),
                (open_alerts_count, 6),
            ),
        ),
        Row(None, 9, ((sessions_by_verdict, 12), (rate_and_burden, 12))),
        Row("What went wrong", 10, ((reasons, 12), (breaches_by_practitioner, 12))),
        Row(None, 10, ((sessions_to_look_at, 24),)),
        Row(None, 8, ((time_over_limit, 24),)),
        Row("What is to be done", 9, ((open_alerts, 24),)),
        Row(None, 9, ((overrides, 14), (licences_lapsing, 10))),
    ),
    since="now-30d",
    refresh="1m",
)
