"""How many series 100 clinics have after a year: computed, and counted by a real InfluxDB.

One point of every series that clinics of that size can have is written to InfluxDB 1.6.7, and InfluxDB
is asked how many series there are. The two numbers must be the same. With --page the number goes into
docs/reference/series.md, which is made anew.
"""

import argparse
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from parts import report

from needletrail_gateway.core.series.cardinality import Size, bound, combinations
from needletrail_gateway.core.series.page import CLINICS, Counted, page
from needletrail_gateway.core.series.point import Point, line
from needletrail_gateway.core.series.schema import MEASUREMENTS

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from end_to_end.influx_bench import BUCKET, InfluxBench  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "series.md"
BATCH = 10_000
SMALL = Size(2, 2, 2, 3, 1, 40, 30, 10, 10, 5)


def lines(size: Size, clinics: int) -> Iterator[str]:
    """A point of each series of so many clinics."""
    for number in range(clinics):
        for measurement in MEASUREMENTS:
            field = measurement.fields[0]
            value = {"float": 1.5, "integer": 1, "boolean": True, "text": "a"}[field.kind]
            for tags in combinations(measurement, size, f"clinic-{number:03}"):
                yield line(Point(measurement.name, tags, ((field.name, value),), 10**18))


def count(bench: InfluxBench, size: Size, clinics: int) -> Counted:
    """Write them, and ask InfluxDB."""
    batch: list[str] = []
    with InfluxDBClient(url=bench.url, token="none", org="bench", enable_gzip=True) as client:
        write_api = client.write_api(write_options=SYNCHRONOUS)
        for text in lines(size, clinics):
            batch.append(text)
            if len(batch) == BATCH:
                write_api.write(BUCKET, "bench", batch)
                batch = []
        write_api.write(BUCKET, "bench", batch)
    series = bench.query("SHOW SERIES EXACT CARDINALITY")
    with urllib.request.urlopen(f"{bench.url}/ping", timeout=10) as answer:
        version = answer.headers["X-Influxdb-Version"]
    return Counted(version, clinics, sum(row["count"] for row in series))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two small clinics")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--page", action="store_true", help="write it into docs/reference/series.md")
    arguments = parser.parse_args()
    size, clinics = (SMALL, 2) if arguments.quick else (Size(), CLINICS)
    of_clinic = bound(size)
    with tempfile.TemporaryDirectory() as folder:
        bench = InfluxBench(Path(folder) / "influx")
        bench.start()
        try:
            counted = count(bench, size, clinics)
        finally:
            bench.stop()
    found: dict[str, Any] = {
        "clinics": clinics,
        "of_a_clinic": of_clinic,
        "computed": clinics * sum(of_clinic.values()),
        "counted": counted.series,
        "influxdb": counted.version,
    }
    if arguments.page and not arguments.quick:
        PAGE.write_text(page(counted), encoding="utf-8")
    if arguments.json:
        print(report.as_json(found))
        return
    rows = [(name, series, series * clinics) for name, series in of_clinic.items()]
    rows.append(("all", sum(of_clinic.values()), found["computed"]))
    print(report.table(("measurement", "one clinic", f"{clinics} clinics"), rows))
    print(f"InfluxDB {counted.version} counts {counted.series}.")


if __name__ == "__main__":
    main()
