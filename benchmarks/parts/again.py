"""Judging a whole ledger again, as `needletrail rejudge` does it."""

import time
from collections.abc import Callable
from typing import Any

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.replay.knowledge import Knowledge
from needletrail_gateway.replay.rejudge import Summary, rejudge

OTHER_PACK = "us-ca"


def cpu_s(what: Callable[[], Any]) -> float:
    """CPU time of this process while it does that."""
    began_s = time.process_time()
    what()
    return time.process_time() - began_s


def judge_again(ledger: Ledger, policy: Policy) -> Summary:
    """All its sessions under a pack."""
    knowledge = Knowledge(ledger)
    summary = Summary()
    for one in rejudge(ledger, lambda row: knowledge.rules_by(policy, row), knowledge):
        summary.add(one)
    return summary
