"""Writes series.md from the schema; what was counted in InfluxDB stays as the page has it."""

import re
from pathlib import Path

from needletrail_gateway.core.series.page import Counted, page

PAGE = Path(__file__).parent / "series.md"
_COUNTED = re.compile(
    r"InfluxDB (\S+) has ([\d,]+) series.*?series of\s+([\d,]+) such clinics", re.DOTALL
)


def counted_in(text: str) -> Counted | None:
    """What a page says was counted; None if it says nothing."""
    found = _COUNTED.search(text)
    if found is None:
        return None
    version, series, clinics = found.groups()
    return Counted(version, int(clinics.replace(",", "")), int(series.replace(",", "")))


if __name__ == "__main__":
    known = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    PAGE.write_text(page(counted_in(known)), encoding="utf-8")
