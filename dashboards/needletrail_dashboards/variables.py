"""What can be chosen at the top of a dashboard, and what InfluxDB is asked for the choices.

Every dashboard has the same five choices, so that a link to another one keeps them. Those that its
queries do not use are hidden there. Nothing is written into a dashboard: all values come from InfluxDB.
"""

from grafana_foundation_sdk.models import dashboard

from needletrail_dashboards.influx_query import CHOSEN_DATASOURCE, DATASOURCE_UID, PLUGIN
from needletrail_dashboards.influxql import chosen, identifier
from needletrail_dashboards.queries import session
from needletrail_gateway.core.series.schema import CLINIC, PEN, PRACTITIONER, TIER, Tag

ALL = "$__all"
ANYTHING = ".*"  # not the list of all values: that would be long, and leave out what is new
SESSION_CHOICES = session.choices.text()
PERIODS = (("a day", "1d"), ("a week", "7d"), ("four weeks", "28d"))
ZONES = (
    *("UTC", "Europe/London", "Europe/Berlin", "America/New_York", "America/Chicago"),
    *("America/Denver", "America/Phoenix", "America/Los_Angeles"),
)

_LABELS = {
    CLINIC.name: ("Clinic", "One, several or all clinics."),
    PRACTITIONER.name: ("Practitioner", "Practitioners of the chosen clinics, by their ids."),
    PEN.name: ("Pen", "Pens of the chosen clinics."),
    TIER.name: ("Tier", "The tier under which a session was judged."),
}


def tag_values(tag: Tag) -> str:
    """What InfluxDB is asked for a tag's values. It answers from its index, whatever is stored."""
    text = f"SHOW TAG VALUES WITH KEY = {identifier(tag.name)}"
    return text if tag == CLINIC else f"{text} WHERE {chosen(CLINIC).text}"


def _hide(is_used: bool) -> dashboard.VariableHide:
    return dashboard.VariableHide.DONT_HIDE if is_used else dashboard.VariableHide.HIDE_VARIABLE


def _query(name: str, text: str) -> dict[str, object]:
    return {"query": text, "refId": f"variable-{name}"}


def datasource() -> dashboard.VariableModel:
    """Which InfluxDB."""
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.DATASOURCE,
        name="datasource",
        label="InfluxDB",
        query=PLUGIN,
        current=dashboard.VariableOption(text="Needletrail", value=DATASOURCE_UID, selected=True),
        refresh=dashboard.VariableRefresh.ON_DASHBOARD_LOAD,
    )


def of_tag(tag: Tag, is_used: bool) -> dashboard.VariableModel:
    """Several values of a tag, or all."""
    label, description = _LABELS[tag.name]
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.QUERY,
        name=tag.name,
        label=label,
        description=description,
        hide=_hide(is_used),
        query=_query(tag.name, tag_values(tag)),
        datasource=CHOSEN_DATASOURCE,
        multi=True,
        include_all=True,
        all_value=ANYTHING,
        current=dashboard.VariableOption(text=["All"], value=[ALL], selected=True),
        refresh=dashboard.VariableRefresh.ON_DASHBOARD_LOAD,
        sort=dashboard.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC,
    )


def _custom(
    name: str, label: str, text: str, choices: tuple[tuple[str, str], ...], is_used: bool
) -> dashboard.VariableModel:
    options = [
        dashboard.VariableOption(text=shown, value=value, selected=number == 0)
        for number, (shown, value) in enumerate(choices)
    ]
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.CUSTOM,
        name=name,
        label=label,
        description=text,
        hide=_hide(is_used),
        query=", ".join(shown if shown == value else f"{shown} : {value}" for shown, value in choices),
        options=options,
        current=options[0],
    )


def period(is_used: bool) -> dashboard.VariableModel:
    """How long a bar is."""
    text = "How much time one bar or dot stands for. Weeks begin on Monday."
    return _custom("period", "One bar is", text, PERIODS, is_used)


def zone(is_used: bool) -> dashboard.VariableModel:
    """Whose midnight."""
    text = "Where a day begins at midnight. Type another name of the tz database if yours is missing."
    return _custom("zone", "Days of", text, tuple((name, name) for name in ZONES), is_used)


def one_session() -> dashboard.VariableModel:
    """One session, the newest first."""
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.QUERY,
        name="session",
        label="Session",
        description="Sessions of the three months before the period's end, the newest first. If pens "
        "of two clinics have one name, choose the clinic first.",
        query=_query("session", SESSION_CHOICES),
        datasource=CHOSEN_DATASOURCE,
        # Not when the period changes: zooming in must not choose another session.
        refresh=dashboard.VariableRefresh.ON_DASHBOARD_LOAD,
        sort=dashboard.VariableSort.DISABLED,
    )


def for_queries(texts: list[str], with_session: bool) -> list[dashboard.VariableModel]:
    """A dashboard's variables; those are shown that its queries use."""

    def is_used(name: str) -> bool:
        return any(f"${{{name}:" in text for text in texts)

    found = [datasource()]
    found += [of_tag(tag, is_used(tag.name)) for tag in (CLINIC, PRACTITIONER, PEN, TIER)]
    found += [period(is_used("period")), zone(is_used("zone"))]
    if with_session:
        found.append(one_session())
    return found
