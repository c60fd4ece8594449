"""Cut the power twice: at a step of a stage, and again at a step of what the pen does after that."""

from collections.abc import Callable

import pytest
from pen_life import STAGES, Life, assert_at_rest, assert_can_be_updated

FIRST_STRIDE = 5
SECOND_STRIDE = 7


@pytest.mark.parametrize("survives", ["old", "half", "all"])
@pytest.mark.parametrize("stage", STAGES, ids=[stage[0].replace(" ", "-") for stage in STAGES])
def test_two_cuts(stage: tuple[str, Callable[[], Life], int], survives: str) -> None:
    _, begin, version = stage
    whole = begin()
    pairs = 0
    first = 0
    while True:
        once = Life(whole.flash.copy(survives), whole.proved)
        if not once.cut_after(first):
            break
        second = first % SECOND_STRIDE
        while True:
            twice = Life(once.flash.copy(survives), once.proved)
            if not twice.cut_after(second):
                break
            twice.settle()
            assert_at_rest(twice, version)
            pairs += 1
            second += SECOND_STRIDE
        assert_can_be_updated(twice)
        first += FIRST_STRIDE
    assert pairs > 20


def test_five_cuts_on_end_in_every_boot() -> None:
    """The power stays only as long as `steps`, five times; then it comes back for good."""
    _, begin, version = STAGES[1]
    for steps in range(200):
        whole = begin()
        life = Life(whole.flash.copy("half"), whole.proved)
        cuts = sum(life.cut_after(steps) for _ in range(5))
        life.settle()
        assert_at_rest(life, version)
        assert cuts == 5 or steps > 20
