"""Cut the power at every step of an update, of a trial and of a roll-back: the pen always boots."""

from pen_life import (
    BUNDLES,
    FOREIGN,
    NAME,
    STAGES,
    TAMPERED,
    assert_at_rest,
    assert_can_be_updated,
    cut_everywhere,
    pen_with,
)

from needletrail_device import update


def test_every_stage_ends_as_it_should():
    for _, begin, version in STAGES:
        life = begin()
        life.settle()
        assert_at_rest(life, version)
        assert_can_be_updated(life)


def test_the_reasons_in_a_life():
    for data, reasons in (
        (TAMPERED, ["file_damaged"]),
        (FOREIGN, ["signature_invalid"]),
        (BUNDLES[1], ["downgrade"]),
        (BUNDLES[2], ["installed"]),
        (BUNDLES[6], [None]),
    ):
        life = pen_with(data, 2)
        life.settle()
        assert life.reasons == reasons


def test_a_trial_gets_all_its_boots():
    life = pen_with(BUNDLES[3], 2)
    life.boot()
    for _ in range(update.TRIAL_BOOTS):
        life.boot()
        assert life.running == 3
    life.boot()
    assert life.running == 2


def test_a_whole_life():
    life = pen_with(BUNDLES[1])
    for version, running in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 2), (6, 6), (2, 6), (7, 7)):
        life.flash.put(NAME, BUNDLES[version])
        life.settle()
        assert_at_rest(life, running)


def test_cut_with_the_old_contents_left():
    for stage in STAGES:
        assert cut_everywhere(stage, "old") > 20


def test_cut_with_half_of_the_new_contents_left():
    for stage in STAGES:
        assert cut_everywhere(stage, "half") > 20


def test_cut_with_all_of_the_new_contents_left():
    for stage in STAGES:
        assert cut_everywhere(stage, "all") > 20
