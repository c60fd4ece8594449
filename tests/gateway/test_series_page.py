"""docs/reference/series.md is of the present schema, and its number of series is what was counted."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from needletrail_gateway.core.series.cardinality import Size, bound
from needletrail_gateway.core.series.page import Counted, page
from needletrail_gateway.core.series.schema import MEASUREMENTS

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGE = REFERENCE / "series.md"


def maker() -> ModuleType:
    """The program that writes the page."""
    spec = importlib.util.spec_from_file_location("make_series_page", REFERENCE / "make_series_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_of_the_present_schema() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(maker().counted_in(text)), "run docs/reference/make_series_page.py"


def test_every_measurement_tag_field_and_unit_is_there() -> None:
    """Read from the page's tables, not from what made them."""
    text = PAGE.read_text(encoding="utf-8")
    for one in MEASUREMENTS:
        section = re.split(r"^## ", text.split(f"\n## {one.name}\n", 1)[1], maxsplit=1, flags=re.M)[0]
        assert one.text in section
        rows = re.findall(r"^\| `(\S+)` \| (\w+) \| (\S*) ?\| (.+) \|$", section, flags=re.M)
        assert rows == [(tag.name, "tag", "", tag.text) for tag in one.tags] + [
            (field.name, field.kind, field.unit, field.text) for field in one.fields
        ]
        assert f"Time: {one.time}. Source: {one.source}. Bucket: {one.retention}" in section


def test_what_was_counted_is_what_is_computed() -> None:
    counted = maker().counted_in(PAGE.read_text(encoding="utf-8"))
    assert counted is not None
    assert counted.clinics == 100
    assert counted.series == 100 * sum(bound(Size()).values())
    assert maker().counted_in(page(None)) is None
    assert maker().counted_in(page(Counted("1.2", 3, 4_567))) == Counted("1.2", 3, 4_567)


def test_the_bound_of_a_small_clinic_by_hand() -> None:
    """Two pens, one practitioner (and unregistered, and none), six tiers with none, thirty codes."""
    size = Size(
        pens=2,
        practitioners=1,
        products=2,
        lots=3,
        consumables=1,
        sessions=1_000_000,
        reasons=1_000,
        alerts=100,
        breaches=25,
        overrides=7,
        epochs=2,
    )
    turns = 51  # 500,000 sessions a pen: 0 to 50 times 10,000
    for_ever = {
        "depth": 2 * turns,
        "depth_1s": 2 * turns,
        "session": 2 * 3 * 6 * turns,
        "reason": 2 * 3 * 6 * 30 * turns,
        "pass": 2 * 3 * turns,
        "breach": 2 * 3 * 6 * turns,
        "alert": 2 * 3 * 30 * turns,
        "notice": 2 * 3 * 30,
        "override": 30,
        "cartridge_use": 2 * (3 + 2 + 1) * turns,
        "stock": 3,
        "lot": 3,
        "opened": 1,
        "licence": 1,
        "pen_health": 2,
        "gateway_health": 1,
    }
    assert bound(size, is_for_ever=True) == for_ever
    in_a_year = {"reason": 1_000, "breach": 25, "alert": 100, "notice": 100, "override": 7}
    assert bound(size) == for_ever | in_a_year


def test_no_tag_is_of_one_session_one_cartridge_or_one_client() -> None:
    names = {tag.name for one in MEASUREMENTS for tag in one.tags}
    assert names == {
        *("clinic", "pen", "practitioner", "tier", "code", "gtin", "lot", "item", "turn"),
    }
