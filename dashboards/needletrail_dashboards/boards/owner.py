"""The dashboard Owner's view: several clinics side by side."""

from needletrail_dashboards.board import Board, Row
from needletrail_dashboards.colours import ACT, GREY, ORANGE, WATCH, WELL
from needletrail_dashboards.panels import BarChart, Graph, Panel, Series, Shown, Stat, Table
from needletrail_dashboards.queries import owner as ask

NO_SESSIONS = "No sessions in this period."


def clinics_count() -> Panel:
    return Panel(
        "Clinics",
        "Clinics with at least one session in the period.",
        (ask.clinics_count,),
        Stat(),
        NO_SESSIONS,
    )


def sessions_count() -> Panel:
    return Panel(
        "Sessions",
        "Sessions judged in the period, in all clinics chosen.",
        (ask.sessions_count,),
        Stat(),
        NO_SESSIONS,
    )


def side_by_side() -> Panel:
    return Panel(
        "Clinics side by side",
        "What happened in the period, and how things stood at its end: the compliance rate with its "
        "alert burden, breaches, alerts of twelve months that are open, cartridges, items to order, "
        "licences with 60 days or less to go, and pens online.",
        (
            ask.sessions,
            ask.open_alerts,
            ask.cartridges,
            ask.to_order,
            ask.lapsing,
            ask.pens_online,
        ),
        Table(
            (
                Shown("clinic", "Clinic"),
                Shown("sessions", "Sessions"),
                Shown(
                    "compliance",
                    "Compliant",
                    steps=((None, ACT), (90, WATCH), (97, WELL)),
                    decimals=1,
                ),
                Shown("alerts_per_session", "Alerts for each session", decimals=2),
                Shown("open_alerts", "Open alerts", steps=((None, GREY), (1, WATCH), (20, ACT))),
                Shown("breaches", "Breaches"),
                Shown("cartridges", "Cartridges"),
                Shown("reused", "Reused", steps=((None, GREY), (1, ACT))),
                Shown("recalled", "Recalled used", steps=((None, GREY), (1, ACT))),
                Shown("to_order", "To order", steps=((None, GREY), (1, WATCH))),
                Shown("lapsing", "Licences lapsing", steps=((None, GREY), (1, WATCH))),
                Shown("pens_online", "Pens online"),
            ),
            sort=("Compliant", False),
            join="clinic",
        ),
        "Nothing is told of any clinic in this period.",
    )


def rate_by_clinic() -> Panel:
    return Panel(
        "Compliance rate",
        "Of all sessions judged in the period, how many were compliant.",
        (ask.rate_by_clinic,),
        BarChart("clinic", (Series("compliance", "● compliant", WELL, decimals=1),)),
        NO_SESSIONS,
    )


def burden_by_clinic() -> Panel:
    return Panel(
        "Alerts for each session",
        "The alert burden that goes with the compliance rate beside it.",
        (ask.burden_by_clinic,),
        BarChart(
            "clinic", (Series("alerts_per_session", "alerts for each session", ORANGE, decimals=2),)
        ),
        NO_SESSIONS,
    )


def sessions_over_time() -> Panel:
    return Panel(
        "Sessions over time",
        "Sessions judged, by clinic.",
        (ask.sessions_over_time,),
        Graph(style="bars", stacked=True),
        NO_SESSIONS,
    )


def compliance_over_time() -> Panel:
    return Panel(
        "Compliance rate over time",
        "Of the sessions of each day, week or four weeks, how many were compliant, by clinic. Choose a "
        "few clinics to tell the lines apart.",
        (ask.compliance_over_time,),
        Graph(dots=True, highest=100, lowest=None),
        NO_SESSIONS,
    )


BOARD = Board(
    __name__,
    "Needletrail: owner's view",
    "Several clinics side by side.",
    (
        Row("At a glance", 4, ((clinics_count, 12), (sessions_count, 12))),
        Row(None, 12, ((side_by_side, 24),)),
        Row("Beside each other", 12, ((rate_by_clinic, 12), (burden_by_clinic, 12))),
        Row("Over time", 9, ((sessions_over_time, 12), (compliance_over_time, 12))),
    ),
    since="now-90d",
    refresh="5m",
)
