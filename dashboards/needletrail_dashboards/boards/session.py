"""The dashboard Session: one treatment, from the whole down to the single reading."""

from needletrail_dashboards.board import Board, Mark, Row
from needletrail_dashboards.colours import (
    ACT,
    BLUE,
    EXPIRED,
    GREEN,
    GREY,
    NEUTRAL,
    OPEN,
    ORANGE,
    RECALLED,
    REUSED,
    SKY,
    VERDICTS,
    VERMILION,
    WELL,
)
from needletrail_dashboards.panels import Graph, Panel, Series, Shown, Stat, Table
from needletrail_dashboards.queries import session as ask

SETTING = "The depth is the ring's setting, not the penetration."
ESTIMATE = "A pass is an estimate: one continuous contact with the motor on."
NO_SESSION = "No verdict. Choose a session of the three months before the end of this period."
NO_VERDICT = "no verdict"
NO_READINGS = (
    "No readings of this session in this period, or it is longer than some days. "
    "Click the session's beginning above to go there."
)


def verdict() -> Panel:
    return Panel(
        "Verdict",
        "The session's newest verdict.",
        (ask.verdict,),
        Stat(states=VERDICTS),
        NO_VERDICT,
    )


def peak() -> Panel:
    return Panel(
        "Deepest setting",
        "The deepest setting of the ring while working (motor on, skin contact). " + SETTING,
        (ask.peak,),
        Stat(decimals=2),
        NO_VERDICT,
    )


def scope() -> Panel:
    return Panel(
        "Limit",
        "The limit that bound: the lowest of permit, tier, the pen's label and the cartridge. "
        + SETTING,
        (ask.scope,),
        Stat(decimals=2),
        NO_VERDICT,
    )


def breach_time() -> Panel:
    return Panel(
        "Time in breach",
        "Work beyond the limit and its tolerance, each time for at least 200 ms.",
        (ask.breach_time,),
        Stat(steps=((None, WELL), (1, ACT))),
        NO_VERDICT,
    )


def passes_count() -> Panel:
    return Panel("Passes", ESTIMATE, (ask.passes_count,), Stat(), NO_VERDICT)


def strokes_count() -> Panel:
    return Panel(
        "Strokes",
        "Strokes of the needles in this session, by the motor's tachometer.",
        (ask.strokes_count,),
        Stat(),
        NO_VERDICT,
    )


def depth_trace() -> Panel:
    return Panel(
        "Depth",
        SETTING
        + " The band is what lies between the lowest and the highest setting of each moment, the "
        "line in it the mean, and the area under the dashed line what the limit permits (tolerance not "
        "included). Drag over a part to zoom in: from about two minutes down, every single reading is "
        "drawn. A single odd reading is drawn as it is; the judge takes the median of five. "
        "Marks are breaches.",
        (ask.depth, ask.readings),
        Graph(
            decimals=2,
            series=(
                Series("highest_mm", "highest", SKY, fill_below_to="lowest", fill=35, width=1),
                Series("lowest_mm", "lowest", SKY, width=1),
                Series("mean_mm", "mean", BLUE, width=2),
                Series("limit_mm", "limit", VERMILION, dashed=True, fill=6, width=2),
                Series("depth_mm", "single readings", GREY, width=1),
            ),
        ),
        NO_READINGS,
        finest="10ms",
    )


def strokes_rate() -> Panel:
    return Panel(
        "Strokes in a second",
        "How often the needles went down in each second, by the motor's tachometer.",
        (ask.strokes,),
        Graph(series=(Series("strokes", "strokes in a second", GREEN, fill=15),)),
        NO_READINGS,
    )


def contact() -> Panel:
    return Panel(
        "Skin contact",
        "The share of each moment's readings with skin contact. Passes show as blocks. " + ESTIMATE,
        (ask.contact,),
        Graph(series=(Series("contact", "with contact", NEUTRAL, fill=30),), highest=100, stepped=True),
        NO_READINGS,
    )


def summary() -> Panel:
    return Panel(
        "This session",
        "The session's newest verdict in words. Click the beginning to see the hour around it.",
        (ask.summary,),
        Table(
            (
                Shown("Time", "Began", width=160, goes_there=True),
                Shown("verdict", "Verdict", states=VERDICTS),
                Shown("reasons", "Reasons"),
                Shown("clinic", "Clinic"),
                Shown("practitioner", "Practitioner"),
                Shown("pen", "Pen"),
                Shown("tier", "Tier"),
                Shown("limited_by", "Limited by"),
                Shown("policy", "Policy"),
                Shown("session_ms", "Length"),
                Shown("work_ms", "Work"),
                Shown("over_limit_ms", "Beyond the limit"),
                Shown("amended", "Amended"),
            ),
        ),
        NO_SESSION,
    )


def passes() -> Panel:
    return Panel(
        "Passes, one by one",
        ESTIMATE,
        (ask.passes,),
        Table(
            (
                Shown("number", "Pass"),
                Shown("Time", "Began", width=160, goes_there=True),
                Shown("duration_ms", "Lasted"),
            ),
            sort=("Pass", False),
        ),
        "This session has no pass.",
    )


def breaches() -> Panel:
    return Panel(
        "Breaches, one by one",
        "When work went beyond the limit and its tolerance for at least 200 ms. " + SETTING,
        (ask.breaches,),
        Table(
            (
                Shown("Time", "Began", width=160, goes_there=True),
                Shown("duration_ms", "Lasted"),
                Shown("limit_mm", "Limit", decimals=2),
            ),
        ),
        "This session has no breach.",
    )


def alerts() -> Panel:
    return Panel(
        "Alerts",
        "The alerts of this session, and who has acknowledged them. " + SETTING,
        (ask.alerts,),
        Table(
            (
                Shown("Time", "Raised", width=160, goes_there=True),
                Shown("code", "What"),
                Shown("depth_mm", "Setting", decimals=2),
                Shown("limit_mm", "Limit", decimals=2),
                Shown("open", "State", states=OPEN),
                Shown("acknowledged_by", "Acknowledged by"),
                Shown("told_by", "Told by"),
            ),
        ),
        "This session raised no alert.",
    )


def cartridge() -> Panel:
    return Panel(
        "Cartridge",
        "The cartridge that worked in this session.",
        (ask.cartridge,),
        Table(
            (
                Shown("gtin", "Product"),
                Shown("lot", "Lot"),
                Shown("serial", "Serial number"),
                Shown("strokes", "Strokes"),
                Shown("reused", "Reused", states=REUSED),
                Shown("recalled", "Recalled", states=RECALLED),
                Shown("expired", "Expired", states=EXPIRED),
            ),
        ),
        "No cartridge worked in this session, or none was read.",
    )


BOARD = Board(
    __name__,
    "Needletrail: session",
    "One treatment: its depth trace, passes, strokes, breaches and alerts. " + SETTING,
    (
        Row(
            "The session",
            4,
            (
                (verdict, 4),
                (peak, 4),
                (scope, 4),
                (breach_time, 4),
                (passes_count, 4),
                (strokes_count, 4),
            ),
        ),
        Row(None, 4, ((summary, 24),)),
        Row("Trace", 13, ((depth_trace, 24),)),
        Row(None, 7, ((strokes_rate, 12), (contact, 12))),
        Row("One by one", 8, ((breaches, 8), (alerts, 16))),
        Row(None, 8, ((passes, 8), (cartridge, 16))),
    ),
    since="now-24h",
    refresh="1m",
    marks=(Mark("Breaches", ask.breach_marks, ORANGE),),
    with_session=True,
)
