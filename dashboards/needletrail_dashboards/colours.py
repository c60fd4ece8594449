"""Colours that people with any colour vision tell apart: Okabe and Ito's set.

No meaning rests on a colour alone. A state also has a word and a sign (● ▲ ■), a line has a name or a
dash. Red and green are never a pair: blue is well, orange is to be watched, vermilion is to be acted
on. Where there may be any number of lines (pens, clinics, products), they are shades of one colour.
"""

from dataclasses import dataclass

from grafana_foundation_sdk.models import dashboard

ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#8C8C8C"

WELL = BLUE
WATCH = ORANGE
ACT = VERMILION
NEUTRAL = SKY


@dataclass(frozen=True)
class State:
    """A value as a person reads it."""

    text: str
    colour: str


VERDICTS = {
    "compliant": State("● compliant", WELL),
    "review": State("▲ review", WATCH),
    "violation": State("■ violation", ACT),
}
ONLINE = {"1": State("● online", WELL), "0": State("▲ offline", WATCH)}
IN_SESSION = {"1": State("● in session", NEUTRAL), "0": State("○ idle", GREY)}
LOW = {"1": State("▲ order now", WATCH), "0": State("● enough", WELL)}
OPEN = {"1": State("▲ open", WATCH), "0": State("● acknowledged", WELL)}
SHOWN = {"1": State("● shown on the pen", WELL), "0": State("▲ not shown", WATCH)}
SUSPENDED = {"1": State("■ suspended", ACT), "0": State("○ no", GREY)}
RECALLED = {"1": State("■ recalled", ACT), "0": State("○ no", GREY)}
REUSED = {"1": State("■ reused", ACT), "0": State("○ no", GREY)}
EXPIRED = {"1": State("■ expired", ACT), "0": State("○ no", GREY)}


def mapping(states: dict[str, State]) -> dashboard.ValueMap:
    """Words in place of values."""
    return dashboard.ValueMap(
        {
            value: dashboard.ValueMappingResult(text=state.text, color=state.colour, index=index)
            for index, (value, state) in enumerate(states.items())
        }
    )


Steps = tuple[tuple[float | None, str], ...]


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Colours from a value on; the first has none."""
    return dashboard.ThresholdsConfig(
        mode=dashboard.ThresholdsMode.ABSOLUTE,
        steps=[dashboard.Threshold(value=value, color=colour) for value, colour in steps],
    )


def one_colour(colour: str) -> dashboard.FieldColor:
    """Always this one."""
    return dashboard.FieldColor(mode=dashboard.FieldColorModeId.FIXED, fixed_color=colour)


def shades(colour: str) -> dashboard.FieldColor:
    """Lighter and darker ones of it."""
    return dashboard.FieldColor(mode=dashboard.FieldColorModeId.SHADES, fixed_color=colour)


def by_threshold() -> dashboard.FieldColor:
    """As the thresholds say."""
    return dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS)
