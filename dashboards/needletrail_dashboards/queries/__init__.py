"""What the dashboards and rules ask InfluxDB, apart from how it is shown. One module a dashboard."""

from needletrail_dashboards.influxql import IN_PERIOD, Condition, at_end_of_period, chosen
from needletrail_gateway.core.series.schema import CLINIC, PEN, PRACTITIONER, TIER, Measurement

CHOICES = (CLINIC, PEN, PRACTITIONER, TIER)

# A day's state is told at its beginning. Two days back, there is one even if today's is still to come.
STATE_BACK = "2d"
# Pens and gateway say every half minute or oftener how they are. Whoever is silent for so long is away.
HEALTH_BACK = "5m"


def as_chosen(measurement: Measurement) -> tuple[Condition, ...]:
    """The choices made at the top, as far as the measurement has them as tags."""
    return tuple(chosen(tag) for tag in CHOICES if tag in measurement.tags)


def in_period(measurement: Measurement, *more: Condition) -> tuple[Condition, ...]:
    """What was chosen, in the period shown."""
    return (*as_chosen(measurement), *more, IN_PERIOD)


def standing(measurement: Measurement, *more: Condition) -> tuple[Condition, ...]:
    """What was chosen, as it stood at the end of the period shown."""
    back = HEALTH_BACK if measurement.source == "live" else STATE_BACK
    return (*as_chosen(measurement), *more, at_end_of_period(back))
