"""The rendered files: as the sources say, as the SDK's models have it, and by Grafana's own rules."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as sdk
from needletrail_dashboards import colours
from needletrail_dashboards.influx_query import InfluxQuery, register
from needletrail_dashboards.panels import UNITS
from needletrail_dashboards.render import BOARDS, OUT, REFERENCE, rendered, strangers

from needletrail_gateway.core.series.schema import MEASUREMENTS

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / OUT / "dashboards").glob("*.json"))
ALERTING = ROOT / OUT / "provisioning" / "alerting"
# What Grafana knows (grafana-data, valueFormats) of what we use.
GRAFANA_UNITS = {"none", "lengthmm", "ms", "s", "percent", "string"}
OKABE_ITO = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
CLINIC_WORDS = ("harbor", "clinic-0")  # of tapes and tests


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


DASHBOARDS = {path.stem: document(path) for path in FILES}
each = pytest.mark.parametrize("name", DASHBOARDS)


def panels(name: str) -> list[dict[str, Any]]:
    """Its panels, without the headings."""
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def strings(value: object) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def targets(name: str) -> Iterator[dict[str, Any]]:
    """Every query of a dashboard: of panels, marks and variables."""
    for panel in panels(name):
        yield from panel["targets"]
    for annotation in DASHBOARDS[name]["annotations"]["list"]:
        yield annotation["target"]
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]


def test_the_files_are_what_the_sources_say() -> None:
    files = rendered()
    for path, text in files.items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"{path}: run `make dashboards`"
    assert strangers(ROOT, files) == []
    assert rendered() == files


def test_there_is_a_dashboard_for_each_module() -> None:
    folder = ROOT / "dashboards" / "needletrail_dashboards" / "boards"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == set(DASHBOARDS) == {board.name for board in BOARDS}
    assert {found["uid"] for found in DASHBOARDS.values()} == {
        f"needletrail-{name}" for name in modules
    }


@each
def test_the_sdk_reads_it_back_as_it_is(name: str) -> None:
    register_default_plugins()
    register()
    found = DASHBOARDS[name]
    # The SDK's model of a mark has no query; ours is read by itself.
    marks = [one["target"] for one in found["annotations"]["list"]]
    again = json.loads(json.dumps(sdk.Dashboard.from_json(found), cls=JSONEncoder))
    for mark, one in zip(marks, again["annotations"]["list"], strict=True):
        one["target"] = json.loads(json.dumps(InfluxQuery.from_json(mark), cls=JSONEncoder))
    assert again == found


@each
def test_ids_are_unique_and_uids_short_enough(name: str) -> None:
    found = DASHBOARDS[name]
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids) and all(number > 0 for number in ids)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{8,40}", found["uid"])
    titles = [panel["title"] for panel in panels(name)]
    assert len(set(titles)) == len(titles)
    for panel in panels(name):
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) and refs


@each
def test_no_panel_covers_another_and_all_are_in_the_grid(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["h"] >= 1
        cells = itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
        for cell in cells:
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]
    bottom = max(y for _, y in taken)
    assert {y for _, y in taken} == set(range(bottom + 1)), "there is a gap"


@each
def test_the_datasource_is_always_the_one_chosen(name: str) -> None:
    chosen = {"type": "influxdb", "uid": "${datasource}"}
    for panel in panels(name):
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])
    for annotation in DASHBOARDS[name]["annotations"]["list"]:
        assert annotation["datasource"] == annotation["target"]["datasource"] == chosen
    variables = DASHBOARDS[name]["templating"]["list"]
    assert (variables[0]["name"], variables[0]["type"]) == ("datasource", "datasource")
    for variable in variables[1:]:
        assert variable.get("datasource", chosen) == chosen


@each
def test_each_panel_says_what_it_means_and_what_nothing_means(name: str) -> None:
    for panel in panels(name):
        text = panel["description"]
        assert len(text.split()) >= 4 and text.rstrip().endswith("."), panel["title"]
        assert panel["title"] and panel["fieldConfig"]["defaults"]["noValue"].strip()


@pytest.mark.parametrize(
    ("name", "title"),
    [
        (name, panel["title"])
        for name in DASHBOARDS
        for panel in panels(name)
        if any(re.search(r"(peak|depth|highest|scope|limit)_mm", t["query"]) for t in panel["targets"])
    ],
)
def test_a_depth_is_called_a_setting(name: str, title: str) -> None:
    for panel in panels(name):
        if panel["title"] == title:
            words = panel["description"] + str(panel["fieldConfig"])
            assert "setting" in words.lower(), title


def units(panel: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """A unit for everything that a panel shows."""
    defaults, overrides = panel["fieldConfig"]["defaults"], panel["fieldConfig"]["overrides"]
    if panel["type"] != "table":
        yield "default", defaults.get("unit")
    for override in overrides:
        found = {one["id"]: one.get("value") for one in override["properties"]}
        header = override["matcher"]["options"]
        organize = [t for t in panel.get("transformations", []) if t["id"] == "organize"]
        renamed = organize[0]["options"]["renameByName"] if organize else {}
        if renamed.get("Time") != header:
            yield header, found.get("unit")


@each
def test_no_unit_is_missing(name: str) -> None:
    for panel in panels(name):
        for what, unit in units(panel):
            assert unit in GRAFANA_UNITS or str(unit).startswith("suffix:"), (panel["title"], what)
    assert {one.unit for measurement in MEASUREMENTS for one in measurement.fields} <= set(UNITS)


@each
def test_a_table_shows_what_it_asks_for(name: str) -> None:
    for panel in panels(name):
        if panel["type"] != "table":
            continue
        (organize,) = [t["options"] for t in panel["transformations"] if t["id"] == "organize"]
        shown = set(organize["renameByName"])
        assert shown == set(organize["indexByName"]) and not shown & set(organize["excludeByName"])
        headers = set(organize["renameByName"].values())
        assert len(headers) == len(shown)
        assert headers == {one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]}


@each
def test_what_is_asked_is_in_the_schema(name: str) -> None:
    """Every quoted name of every query is one of the schema, or an alias of the query itself."""
    known = {one.name for one in MEASUREMENTS} | {"raw"}
    known |= {thing.name for one in MEASUREMENTS for thing in (*one.fields, *one.tags)}
    for target in targets(name):
        query = target["query"]
        aliases = set(re.findall(r'AS "(\w+)"', query))
        assert set(re.findall(r'"(\w+)"', query)) <= known | aliases, query
        (source,) = set(re.findall(r'FROM (?:\(.*?FROM )*(?:"raw"\.)?"(\w+)"', query)) or {"session"}
        measurement = next(one for one in MEASUREMENTS if one.name == source)
        has = {thing.name for thing in (*measurement.fields, *measurement.tags)} | aliases
        if query.startswith("SELECT"):
            assert set(re.findall(r'"(\w+)"', query)) <= has | {source, "raw"}, query


@each
def test_every_query_says_of_what_time_it_is(name: str) -> None:
    """The outermost part must: InfluxDB looks through all years otherwise."""
    for target in targets(name):
        query = target["query"]
        if query.startswith("SELECT"):
            outermost = re.sub(r"FROM \(.*\)", "", query) if "FROM (" in query else query
            assert "$timeFilter" in outermost or "time > ${__to}ms" in outermost, query


@each
def test_no_clinic_is_written_in(name: str) -> None:
    for text in strings(DASHBOARDS[name]):
        assert not any(word in text.lower() for word in CLINIC_WORDS), text
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] == "query" and variable["name"] != "session":
            assert variable["current"]["value"] == ["$__all"] and not variable.get("options")
            assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (
                True,
                True,
                ".*",
            )


@each
def test_choices_are_shown_where_they_are_used_and_kept_everywhere(name: str) -> None:
    variables = {one["name"]: one for one in DASHBOARDS[name]["templating"]["list"]}
    wanted = {"datasource", "clinic", "practitioner", "pen", "tier", "period", "zone"}
    assert set(variables) - {"session"} == wanted
    asked = [target["query"] for target in targets(name)]
    used = {found for text in asked for found in re.findall(r"\$\{(\w+):", text)}
    assert used <= set(variables), "a query asks for a choice that is not there"
    for choice in wanted - {"datasource"}:
        texts = [text for text in asked if not text.startswith("SHOW")]
        is_used = any(f"${{{choice}:" in text for text in asked if choice == "clinic") or any(
            f"${{{choice}:" in text for text in texts
        )
        assert (variables[choice].get("hide", 0) == 0) == is_used, choice


def urls(value: object) -> Iterator[str]:
    """Every address that one can click."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name == "url" and isinstance(one, str):
                yield one
            yield from urls(one)
    elif isinstance(value, list):
        for one in value:
            yield from urls(one)


@each
def test_links_lead_somewhere_and_keep_the_choices(name: str) -> None:
    (link,) = DASHBOARDS[name]["links"]
    assert link["type"] == "dashboards" and link["includeVars"] and link["keepTime"]
    tagged = [one for one in DASHBOARDS.values() if set(link["tags"]) <= set(one["tags"])]
    assert len(tagged) == len(DASHBOARDS) > 1
    uids = {one["uid"]: one for one in DASHBOARDS.values()}
    for url in urls(DASHBOARDS[name]):
        found = re.match(r"/d/([\w-]+)\?", url)
        assert found is not None and found[1] in uids, url
        there = {one["name"] for one in uids[found[1]]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=|\$\{(\w+):queryparam\}", url)) and all(
            (one or other) in there
            for one, other in re.findall(r"var-(\w+)=|\$\{(\w+):queryparam\}", url)
        )


def contrast(one: str, other: str) -> float:
    """WCAG 2.1: of two colours."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@each
def test_colours_are_those_that_everybody_can_tell_apart(name: str) -> None:
    used = set(re.findall(r"#[0-9A-Fa-f]{6}", json.dumps(DASHBOARDS[name])))
    assert used <= OKABE_ITO | {colours.GREY}
    named = {"red", "green", "yellow", "orange", "blue", "purple"}
    for panel in panels(name):
        for text in strings(panel["fieldConfig"]):
            assert text not in named and "palette" not in text and "RdYlGr" not in text


def test_states_have_words_and_signs_not_colours_alone() -> None:
    for name, states in vars(colours).items():
        if name.isupper() and isinstance(states, dict):
            signs = [state.text.split()[0] for state in states.values()]
            assert len(set(signs)) == len(signs), name
            assert all(len(state.text.split()) > 1 for state in states.values())
    assert contrast(colours.WELL, colours.ACT) > 1.2 and contrast(colours.WATCH, colours.ACT) > 1.2


@each
def test_it_can_be_read_on_a_phone(name: str) -> None:
    """There, panels stand one below the other: none may be too low, and the first ones say the most."""
    found = panels(name)
    assert found[0]["type"] == "stat"
    for panel in found:
        assert 4 <= panel["gridPos"]["h"] <= 13
    for panel in found:
        if panel["type"] == "stat" and len(panel["targets"]) == 1:
            assert len(panel["fieldConfig"]["defaults"]["noValue"]) <= 60
    assert len(found) <= 20


# ---- alert rules ----


def provisioned(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ALERTING / name).read_text(encoding="utf-8"))
    return found


RULES = [(group, rule) for group in provisioned("rules.yaml")["groups"] for rule in group["rules"]]
each_rule = pytest.mark.parametrize(
    ("group", "rule"), [pytest.param(*one, id=one[1]["uid"]) for one in RULES]
)
WANTED = {
    *("out-of-scope", "repeated-breaches", "cartridge-reused", "recalled-lot"),
    *("stock-low", "pen-silent", "backlog-growing", "outbox-stuck"),
}


def test_every_rule_is_there_once() -> None:
    uids = [rule["uid"] for _, rule in RULES]
    assert sorted(uids) == sorted(f"needletrail-{name}" for name in WANTED)
    titles = [rule["title"] for _, rule in RULES]
    assert len(set(titles)) == len(titles)


@each_rule
def test_a_rule_is_evaluated_often_enough_and_looks_back_further(
    group: dict[str, Any], rule: dict[str, Any]
) -> None:
    every = int(group["interval"][:-1]) * {"s": 1, "m": 60}[group["interval"][-1]]
    assert every % 10 == 0, "Grafana's scheduler wakes every ten seconds"
    assert rule["data"][0]["relativeTimeRange"]["from"] >= 5 * every
    if rule["labels"]["severity"] == "urgent":
        assert every <= 30 and rule["for"] == "0s"


@each_rule
def test_a_rule_leads_to_its_panel_and_to_the_docs(group: dict[str, Any], rule: dict[str, Any]) -> None:
    found = next(one for one in DASHBOARDS.values() if one["uid"] == rule["dashboardUid"])
    assert rule["panelId"] in [panel["id"] for panel in found["panels"] if panel["type"] != "row"]
    notes = rule["annotations"]
    assert notes["__dashboardUid__"] == rule["dashboardUid"]
    assert notes["__panelId__"] == str(rule["panelId"])
    docs, anchor = notes["runbook_url"].removeprefix("${NEEDLETRAIL_DOCS_URL}/").split("#")
    page = (ROOT / "docs" / docs).read_text(encoding="utf-8")
    assert f"\n### {anchor}\n" in page


@each_rule
def test_a_rule_speaks_plainly_and_of_no_client(group: dict[str, Any], rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    for name in ("summary", "description", "no_data"):
        text = notes[name]
        assert text[-1] in ".?" and "client" not in text and "$" not in text
    _, _, groups = rule["data"][0]["model"]["query"].partition("GROUP BY")
    named = re.findall(r"\{\{ \.Labels\.(\w+) \}\}", notes["summary"] + notes["description"])
    assert named and all(f'"{one}"' in groups for one in named)


@each_rule
def test_what_no_data_and_errors_mean_is_said(group: dict[str, Any], rule: dict[str, Any]) -> None:
    assert rule["noDataState"] == "OK"
    is_watchman = rule["uid"] == "needletrail-outbox-stuck"
    assert rule["execErrState"] == ("Error" if is_watchman else "KeepLast")


def test_messages_go_to_contact_points_that_are_there() -> None:
    points = provisioned("contact-points.yaml")["contactPoints"]
    (tree,) = provisioned("policies.yaml")["policies"]
    names = {point["name"] for point in points}
    assert {tree["receiver"], *(route["receiver"] for route in tree["routes"])} == names
    severities = {rule["labels"]["severity"] for _, rule in RULES}
    assert {route["object_matchers"][0][2] for route in tree["routes"]} == severities
    for point in points:
        assert {one["type"] for one in point["receivers"]} == {"email", "webhook"}
        assert not any("@" in text for one in point["receivers"] for text in strings(one["settings"]))
        values = [value for one in point["receivers"] for value in one["settings"].values()]
        assert "${NEEDLETRAIL_ALERT_EMAIL}" in values and "${NEEDLETRAIL_ALERT_WEBHOOK}" in values
    uids = [one["uid"] for point in points for one in point["receivers"]]
    assert len(set(uids)) == len(uids)


def test_dashboards_are_provided_where_compose_puts_them() -> None:
    found = yaml.safe_load(
        (ROOT / OUT / "provisioning/dashboards/needletrail.yaml").read_text(encoding="utf-8")
    )
    (provider,) = found["providers"]
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    mounts = {one["source"]: one["target"] for one in compose["services"]["grafana"]["volumes"]}
    assert mounts["../dashboards/out/dashboards"] == provider["options"]["path"]
    assert mounts["../dashboards/out/provisioning/alerting"].endswith("/provisioning/alerting")


def test_the_reference_names_every_panel() -> None:
    page = (ROOT / REFERENCE).read_text(encoding="utf-8")
    for name in DASHBOARDS:
        for panel in panels(name):
            assert f"| {panel['title']} |" in page
