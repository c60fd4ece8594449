"""Stock: nothing gets lost between received, used and thrown away; the forecast follows from use."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.stock import (
    WINDOW_DAYS,
    Item,
    Movement,
    Opened,
    Product,
    discrepancy,
    expiring,
    products,
)

GTIN = "09506000134352"
TODAY = date(2026, 11, 23)
LOT, LATER = Item(GTIN, "A"), Item(GTIN, "B")
CREAM = Item("numbing-cream")


def clinic(**changes: Any) -> Registry:
    lots = [
        {"gtin": GTIN, "lot": "A", "received": 10, "expires": "2026-12-20"},
        {"gtin": GTIN, "lot": "B", "received": 20, "expires": "2027-06-30"},
    ]
    for name, value in changes.items():
        lots[0][name] = value
    return Registry.model_validate(
        {
            "clinic": {"id": "harbor", "name": "A", "policy": "default"},
            "cartridge_product": [
                {
                    "gtin": GTIN,
                    "name": "12 needles",
                    "needle_max_mm": 2.5,
                    "sterile_single_use": True,
                    "reorder_at": 5,
                }
            ],
            "cartridge_lot": lots,
            "consumable": [
                {
                    "id": "numbing-cream",
                    "name": "Cream",
                    "kind": "numbing_cream",
                    "unit": "tube",
                    "received": 4,
                    "reorder_at": 4,
                }
            ],
        }
    )


def opened(number: int, lot: str | None = "A", days_ago: int = 0, is_treated: bool = True) -> Opened:
    return Opened(GTIN, lot, f"S{number}", TODAY - timedelta(days=days_ago), is_treated)


def stand(*moves: Movement, seen: tuple[Opened, ...] = (), registry: Registry | None = None) -> Any:
    found = products(registry or clinic(), moves, seen, TODAY)
    return {product.name: product for product in found}


def lefts(product: Product) -> list[int]:
    return [level.left for level in product.levels]


def test_stock_is_received_less_used_less_discarded() -> None:
    found = stand(
        Movement(LOT, TODAY, 5, "received"),
        Movement(LATER, TODAY, -3, "discarded"),
        Movement(LATER, TODAY, -1, "counted"),
        Movement(CREAM, TODAY, -2, "used"),
        seen=(opened(1), opened(2), opened(3, "B")),
    )
    assert lefts(found[GTIN]) == [10 + 5 - 2, 20 - 1 - 3 - 1]
    assert found[GTIN].left == 28
    assert found["numbing-cream"].left == 2


def test_a_count_that_finds_more_brings_them_back() -> None:
    assert lefts(stand(Movement(LOT, TODAY, 2, "counted"))[GTIN]) == [12, 20]


def test_what_is_yet_to_come_does_not_count() -> None:
    tomorrow = TODAY + timedelta(days=1)
    found = stand(
        Movement(LOT, tomorrow, 5, "received"), seen=(Opened(GTIN, "A", "S1", tomorrow, True),)
    )
    assert lefts(found[GTIN]) == [10, 20]


def test_more_used_than_received_shows() -> None:
    found = stand(seen=tuple(opened(number) for number in range(12)))
    assert lefts(found[GTIN]) == [-2, 20]


@pytest.mark.parametrize(
    ("change", "usable"),
    [
        ({}, 30),
        ({"expires": TODAY.isoformat()}, 30),
        ({"expires": "2026-11-22"}, 20),
        ({"recalled": TODAY.isoformat()}, 20),
        ({"recalled": "2026-11-24"}, 30),
    ],
)
def test_what_is_expired_or_recalled_is_of_no_use(change: dict[str, str], usable: int) -> None:
    assert stand(registry=clinic(**change))[GTIN].usable == usable


def test_days_left_follow_from_the_last_four_weeks() -> None:
    inside = tuple(opened(number, "B", days_ago=number) for number in range(14))
    found = stand(seen=(*inside, opened(99, "B", days_ago=WINDOW_DAYS)))[GTIN]
    assert found.used_in_window == 14
    assert found.per_day == 0.5
    assert found.days_left == (10 + 20 - 15) * 2
    assert stand()[GTIN].days_left is None
    none_left = stand(seen=tuple(opened(number, "B") for number in range(31)))[GTIN]
    assert none_left.days_left == 0


def test_it_is_time_to_order_at_the_level_not_only_below() -> None:
    for used, is_low in ((24, False), (25, True), (26, True)):
        seen = tuple(opened(number, "B") for number in range(used))
        assert stand(seen=seen)[GTIN].is_low is is_low
    assert stand()["numbing-cream"].is_low


def test_lots_that_expire_soon_come_first_and_empty_ones_not_at_all() -> None:
    found = list(stand().values())
    assert [level.item.lot for level in expiring(found, TODAY, 27)] == ["A"]
    assert expiring(found, TODAY, 26) == []
    assert [level.item.lot for level in expiring(found, TODAY, 365)] == ["A", "B"]
    seen = tuple(opened(number) for number in range(10))
    assert expiring(list(stand(seen=seen).values()), TODAY, 27) == []


def test_opened_against_treated() -> None:
    seen = (
        opened(1),
        opened(2, is_treated=False),
        opened(3, "X"),
        opened(4, None, is_treated=False),
        opened(5, days_ago=9),
    )
    found = discrepancy(clinic(), seen, TODAY - timedelta(days=8), TODAY)
    assert (found.opened, found.treated, found.opened_for_nothing) == (4, 2, 2)
    assert sorted(found.unknown_lots, key=str) == [(GTIN, "X", 1), (GTIN, None, 1)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([LOT, LATER, CREAM]),
            st.integers(-5, 5),
            st.sampled_from(["received", "used", "discarded", "counted"]),
        )
    ),
    st.integers(0, 20),
)
def test_every_movement_counts_once(moves: list[tuple[Item, int, Any]], seen: int) -> None:
    found = stand(
        *(Movement(item, TODAY, change, cause) for item, change, cause in moves),
        seen=tuple(opened(number) for number in range(seen)),
    )
    total = sum(product.left for product in found.values())
    assert total == 10 + 20 + 4 + sum(change for _, change, _ in moves) - seen
