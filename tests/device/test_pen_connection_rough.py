"""Every byte of the conversation, and something that goes wrong there: nothing lost, nothing twice.

On CPython every byte has its mishap, on MicroPython every tenth, and then pairs of them; the kind of
mishap goes round. All of them with all kinds: tests/torture/rough_network.py.
"""

import sys

from rough_simulation import KINDS, LIVE_WITHIN_MS, Trial, conversation_length, mishap

EVERY = 1 if sys.implementation.name == "cpython" else 10
LEAST_CUTS = 2000 // EVERY
SLOW_ROUND_TRIP_MS = 10_000


def attempt(mishaps, seed):
    """The trial, after its run. A failure says which one it was."""
    trial = Trial(mishaps, seed % 7 == 0, seed)
    try:
        trial.run()
    except AssertionError as error:
        raise AssertionError("%r, seed %d: %s" % (mishaps, seed, error))
    return trial


def test_something_goes_wrong_at_every_byte():
    cuts = 0
    late_ms = []
    for at in range(1, conversation_length(), EVERY):
        trial = attempt([mishap(at, at // EVERY)], at)
        cuts += 1
        if not trial.is_slow:
            late_ms += trial.late_ms
    assert cuts >= LEAST_CUTS
    assert len(late_ms) > cuts // 2, "the network came back in most of them"
    assert max(late_ms) <= LIVE_WITHIN_MS


def test_and_once_more_while_it_recovers():
    for number in range(240 // EVERY):
        at = 1 + number * 11 * EVERY
        again = at + number * 37 % 900
        attempt([mishap(at, number % 5), mishap(again, number)], number)


def test_every_kind_in_single_bytes():
    for kind in range(KINDS):
        trial = Trial([mishap(700, kind)], True)
        trial.run()


def test_an_undisturbed_conversation_takes_one_connection_and_repeats_nothing():
    for is_fragmented in (False, True):
        trial = Trial([], is_fragmented)
        trial.run()
        assert trial.attempts == 1
        assert trial.gateway.repeats == 0
        assert [event[1] for event in trial.told] == ["connected", "ready"]
        assert trial.gateway.hellos == [(1, 1)]
        assert trial.gateway.wills == []


def test_slow_is_not_dead():
    for at in range(1, conversation_length(), 50 * EVERY):
        trial = Trial([(at, "slow", "refused", 0)])
        trial.run()
        names = [event[1] for event in trial.told]
        assert names.count("ready") == 1, "the conversation was never begun anew"
        assert "disconnected" not in names
        assert trial.gateway.repeats == 0, "only what is suspect is sent again"
        assert trial.now_ms < 4 * SLOW_ROUND_TRIP_MS


def test_the_last_will_tells_of_the_connection_that_is_gone():
    trial = Trial([(2000, "reset", "refused", 2000)])
    trial.run()
    assert trial.gateway.wills == [(1, 1)]
    assert trial.gateway.hellos[0] == (1, 1)
    assert trial.gateway.hellos[-1][1] > 1, "what is there now is another connection"
