"""What dashboards cost InfluxDB as the years go by.

Every query of every panel, filled in as Grafana does it on a screen 1280 pixels wide (a panel is as
wide as its place in the grid), asked of a real InfluxDB 1.6.7 that holds 1, 12 and 36 months of
several clinics (parts/series_years.py): from the question to the decoded answer, the median of some
rounds. A panel's cost is that of its queries one after another. Shown are three weeks (the longest
for which how pens were is drawn), one month and twelve. There is no peer to hold beside it: what
matters is growth. `stored`: the cost of the same month shown, with 36 months stored beside 1.
`shown`: the cost of twelve months shown beside one. Goals: no panel above 1 s with twelve months
shown; the cost follows what is shown and not what is stored.
"""

import argparse
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from parts import fleet, report
from parts.series_years import DAY_MS, MONTH_DAYS, Size, Years

sys.path.append(str(fleet.ROOT / "tests"))
sys.path.append(str(fleet.ROOT / "tests" / "dashboards"))

from end_to_end.influx_bench import BUCKET, InfluxBench
from grafana_macros import ALL, Influx, View, expanded, interval_ms
from needletrail_dashboards.board import COLUMNS
from needletrail_dashboards.panels import Panel
from needletrail_dashboards.render import BOARDS

GOAL_S = 1.0
MONTHS = (1, 12, 36)
SHOWN_DAYS = (21, 30, 360)
BATCH = 50_000
END_MS = 1_790_812_800_000  # 2026-10-01
WIDTH = 1280


def write(url: str, years: Years, months: range) -> int:
    """Fill these months in. How many points."""
    batches: dict[str, list[str]] = {"": [], "raw": []}
    points = 0
    for back in months:
        for policy, line in years.month(back):
            batch = batches[policy]
            batch.append(line)
            points += 1
            if len(batch) >= BATCH:
                _send(url, policy, batch)
                batch.clear()
    for policy, batch in batches.items():
        _send(url, policy, batch)
    return points


def _send(url: str, policy: str, lines: list[str]) -> None:
    if not lines:
        return
    bucket = urllib.parse.quote(f"{BUCKET}/{policy}" if policy else BUCKET, safe="")
    body = "\n".join(lines).encode()
    request = urllib.request.Request(f"{url}/api/v2/write?bucket={bucket}&precision=ns", body)
    urllib.request.urlopen(request, timeout=300).close()


def newest_session(influx: Influx) -> str:
    """The session that the session's dashboard shows."""
    (row,) = influx.rows('SELECT "session" FROM "session" ORDER BY time DESC LIMIT 1')
    return str(row["values"][0][1])


def panel_s(influx: Influx, panel: Panel, view: View, pixels: int, rounds: int) -> tuple[float, int]:
    """(the median time of a panel's queries, how many rows they bring)."""
    least_ms = 1_000 if panel.finest is None else int(panel.finest.removesuffix("ms"))
    width_ms = interval_ms(view.from_ms, view.to_ms, pixels, least_ms)
    texts = [expanded(query.query, view, width_ms) for query in panel.queries()]
    times = []
    rows = 0
    for _ in range(rounds):
        began_s = time.perf_counter()
        answers = [influx.rows(text) for text in texts]
        times.append(time.perf_counter() - began_s)
        rows = sum(len(one["values"]) for answer in answers for one in answer)
    return report.median(times), rows


def look(influx: Influx, shown_days: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Every panel with so many days shown: {"dashboard panel": seconds and rows}."""
    choices = dict.fromkeys(("clinic", "pen", "practitioner", "tier"), ALL)
    choices |= {"period": "1d" if shown_days <= 30 else "7d", "zone": "America/Los_Angeles"}
    choices["session"] = newest_session(influx)
    view = View(END_MS - shown_days * DAY_MS, END_MS, dict(choices), WIDTH)
    found = {}
    for board in BOARDS:
        widths = {one.__name__: width for row in board.rows for one, width in row.panels}
        for _, name, panel in board.panels():
            pixels = WIDTH * widths[name] // COLUMNS
            seconds, rows = panel_s(influx, panel, view, pixels, rounds)
            found[f"{board.name} {name}"] = {"s": seconds, "rows": rows}
    return found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    quick = arguments.quick
    size = Size(2, 2, 60, 1, 60, 1) if quick else Size()
    months = (1, 2) if quick else MONTHS
    shown = (30,) if quick else SHOWN_DAYS
    rounds = 1 if quick else arguments.rounds
    years = Years(size, END_MS)
    sizes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = InfluxBench(Path(folder) / "influx")
        try:
            bench.start()
            points = done = 0
            for stored in months:
                points += write(bench.url, years, range(done, stored))
                done = stored
                influx = Influx(bench.url)
                look(influx, shown[0], 1)  # caches are warm in a clinic, too
                panels = {
                    str(one): look(influx, one, rounds) for one in shown if one <= stored * MONTH_DAYS
                }
                sizes.append({"months": stored, "points": points, "panels": panels})
                if not arguments.json:
                    print(f"{stored} months stored, {points:,} points", file=sys.stderr)
        finally:
            bench.stop()
    return {"goal_s": GOAL_S, "sizes": sizes, **conclusions(sizes)}


def conclusions(sizes: list[dict[str, Any]]) -> dict[str, Any]:
    """The slowest panels, and how cost grows with what is stored and with what is shown."""
    least, most = sizes[0], sizes[-1]
    widest = max(most["panels"], key=int)
    slowest = max(most["panels"][widest].items(), key=lambda item: item[1]["s"])

    def whole(size: dict[str, Any], shown: str) -> float:
        return sum(float(one["s"]) for one in size["panels"][shown].values())

    month = str(MONTH_DAYS)

    return {
        "slowest": {"panel": slowest[0], "days_shown": int(widest), "s": slowest[1]["s"]},
        "stored": whole(most, month) / whole(least, month),
        "shown": whole(most, widest) / whole(most, month),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="a little data, to see that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each question (5)")
    arguments = parser.parse_args()
    found = measure(arguments)
    if arguments.json:
        print(report.as_json(found))
        return
    for shown in found["sizes"][-1]["panels"]:
        there = [size for size in found["sizes"] if shown in size["panels"]]
        head = (f"ms, {shown} days shown", *(f"{size['months']} stored" for size in there), "rows")
        names = there[-1]["panels"][shown]
        rows = [
            (
                name,
                *(f"{1000 * size['panels'][shown][name]['s']:,.1f}" for size in there),
                names[name]["rows"],
            )
            for name in names
        ]
        print(report.table(head, rows) + "\n")
    slowest = found["slowest"]
    print(f"slowest: {slowest['panel']}, {slowest['days_shown']} days: {slowest['s']:.3f} s")
    print(f"36 months stored beside 1, the same month shown: {found['stored']:.2f}")
    print(f"12 months shown beside 1: {found['shown']:.2f}")


if __name__ == "__main__":
    main()
