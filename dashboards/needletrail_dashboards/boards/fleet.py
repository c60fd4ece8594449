"""The dashboard Fleet: the pens and the gateways themselves."""

from needletrail_dashboards.board import Board, Row
from needletrail_dashboards.colours import (
    ACT,
    GREY,
    IN_SESSION,
    ONLINE,
    WATCH,
    WELL,
)
from needletrail_dashboards.panels import Graph, Panel, Shown, Stat, Table, Timeline
from needletrail_dashboards.queries import fleet as ask

SILENT = "Neither pens nor gateway were heard of in the five minutes before the end of this period."
NOT_HEARD = "not heard for 5 minutes"
TOO_LONG = "Nothing to draw. This is kept in fine grain: choose a period of up to three weeks."


def pens_online() -> Panel:
    return Panel(
        "Pens online",
        "Pens that were connected at the end of the period.",
        (ask.pens_online,),
        Stat(),
        NOT_HEARD,
    )


def pens_in_session() -> Panel:
    return Panel(
        "Pens in a session",
        "Pens with an open session at the end of the period.",
        (ask.pens_in_session,),
        Stat(),
        NOT_HEARD,
    )


def records_held() -> Panel:
    return Panel(
        "Backlog of all pens",
        "Records that pens hold and the gateway has not, as the pens last said. Nothing is lost: a pen "
        "keeps every record until the gateway has committed it.",
        (ask.records_held,),
        Stat(steps=((None, WELL), (1_000, WATCH), (20_000, ACT))),
        NOT_HEARD,
    )


def outbox_now() -> Panel:
    return Panel(
        "Outbox now",
        "Entries of the ledger that the time series has not yet. The ledger is the record; this is "
        "what the dashboards do not show yet.",
        (ask.outbox_now,),
        Stat(steps=((None, WELL), (5_000, WATCH), (100_000, ACT))),
        NOT_HEARD,
    )


def quarantine_now() -> Panel:
    return Panel(
        "Quarantine now",
        "Messages and points that were refused and set aside. Somebody should look at them.",
        (ask.quarantine_now,),
        Stat(steps=((None, WELL), (1, WATCH))),
        NOT_HEARD,
    )


def pens() -> Panel:
    return Panel(
        "Pens",
        "Every pen as the gateway saw it at the end of the period. Calibration of the depth ring is "
        "due after 365 days.",
        (ask.pens,),
        Table(
            (
                Shown("pen", "Pen"),
                Shown("clinic", "Clinic"),
                Shown("online", "State", states=ONLINE, width=110),
                Shown("in_session", "Session", states=IN_SESSION, width=110),
                Shown("silent_s", "Last heard"),
                Shown("backlog", "Backlog", steps=((None, GREY), (1_000, WATCH), (20_000, ACT))),
                Shown("battery_percent", "Battery", steps=((None, ACT), (15, WATCH), (30, GREY))),
                Shown("clock_offset_ms", "Clock ahead"),
                Shown("firmware", "Firmware"),
                Shown(
                    "calibrated_days",
                    "Calibrated",
                    steps=((None, GREY), (335, WATCH), (ask.CALIBRATION_DUE_D, ACT)),
                ),
                Shown("faults", "Failed parts"),
            ),
            sort=("Pen", False),
        ),
        SILENT,
    )


def calibration_due() -> Panel:
    return Panel(
        "Calibration due",
        "Days since a pen's depth ring was calibrated, the longest first. It is due after 365 days.",
        (ask.calibration_due,),
        Table(
            (
                Shown("pen", "Pen"),
                Shown("clinic", "Clinic"),
                Shown(
                    "calibrated_days",
                    "Calibrated",
                    steps=((None, GREY), (335, WATCH), (ask.CALIBRATION_DUE_D, ACT)),
                ),
            ),
            sort=("Calibrated", True),
        ),
        "The registry has no date of calibration for these pens.",
    )


def online_over_time() -> Panel:
    return Panel(
        "Who was online",
        "A band for each pen. A gap: the gateway itself said nothing.",
        (ask.online_over_time,),
        Timeline(ONLINE),
        TOO_LONG,
    )


def backlog_over_time() -> Panel:
    return Panel(
        "Backlog",
        "Records that each pen holds and the gateway has not, as it last said.",
        (ask.backlog_over_time,),
        Graph(stepped=True),
        TOO_LONG,
    )


def battery_over_time() -> Panel:
    return Panel(
        "Battery",
        "What each pen's battery held when it last said hello.",
        (ask.battery_over_time,),
        Graph(stepped=True, highest=100),
        "No pen has told of its battery, or the period is longer than three weeks.",
    )


def clock_over_time() -> Panel:
    return Panel(
        "Clocks",
        "By how much each pen's clock is ahead of the gateway's. The gateway corrects for it: a "
        "verdict has the time that it was.",
        (ask.clock_over_time,),
        Graph(stepped=True, lowest=None),
        TOO_LONG,
    )


def records_rate() -> Panel:
    return Panel(
        "Records taken in",
        "Records that each gateway takes in for a second.",
        (ask.records_rate,),
        Graph(decimals=1),
        TOO_LONG,
    )


def commit_time() -> Panel:
    return Panel(
        "Longest commit",
        "How long the slowest commit to the ledger took. Pens wait for it before they free anything.",
        (ask.commit_time,),
        Graph(),
        TOO_LONG,
    )


def outbox_over_time() -> Panel:
    return Panel(
        "Outbox",
        "Entries of the ledger that the time series has not yet, by gateway.",
        (ask.outbox_over_time,),
        Graph(),
        TOO_LONG,
    )


def outbox_wait() -> Panel:
    return Panel(
        "How long the outbox waits",
        "For how long the oldest entry has waited to be written to the time series, by gateway.",
        (ask.outbox_wait,),
        Graph(),
        TOO_LONG,
    )


def quarantine_over_time() -> Panel:
    return Panel(
        "Quarantine",
        "Messages and points that were refused and set aside, by gateway.",
        (ask.quarantine_over_time,),
        Graph(stepped=True),
        TOO_LONG,
    )


def refused_over_time() -> Panel:
    return Panel(
        "Refused messages",
        "Messages refused since the gateway started. The log names the reason of each.",
        (ask.refused_over_time,),
        Graph(stepped=True),
        TOO_LONG,
    )


BOARD = Board(
    __name__,
    "Needletrail: fleet",
    "Pens and gateways: who is online, what waits, what has to be seen to.",
    (
        Row(
            "Now",
            4,
            (
                (pens_online, 5),
                (pens_in_session, 5),
                (records_held, 5),
                (outbox_now, 5),
                (quarantine_now, 4),
            ),
        ),
        Row("Pens", 9, ((pens, 24),)),
        Row(None, 8, ((online_over_time, 16), (calibration_due, 8))),
        Row(None, 8, ((backlog_over_time, 8), (battery_over_time, 8), (clock_over_time, 8))),
        Row("Gateway", 8, ((records_rate, 8), (commit_time, 8), (outbox_over_time, 8))),
        Row(None, 7, ((outbox_wait, 8), (quarantine_over_time, 8), (refused_over_time, 8))),
    ),
    since="now-24h",
    refresh="30s",
)
