"""A sample of `make torture ARGS=--ledger`, and that it can fail."""

import sys

import pytest

from torture import altered_ledger
from torture.altered_ledger import NotFoundError, expect


def test_a_small_campaign_finds_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["torture", "--ledger", "--entries", "60"])
    assert altered_ledger.main() == 0
    said = capsys.readouterr().out
    assert "all found" in said
    for way in altered_ledger.WAYS:
        assert way in said


def test_what_is_not_found_fails() -> None:
    finding = altered_ledger.proof.Finding(5, "x")
    expect(5, "body", finding)
    for wrong in (None, altered_ledger.proof.Finding(6, "x"), altered_ledger.proof.Finding(None, "x")):
        with pytest.raises(NotFoundError, match="entry 5, body"):
            expect(5, "body", wrong)
