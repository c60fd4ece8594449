"""The rulebook: which pack and which registry hold now, and which held at any time before.

Registry versions are entries of the ledger already. So are packs, from here on: when a pack that is in
force differs from what the ledger last had of it, it is entered, whole and with what it takes from
the pack that it extends. So a verdict can be explained and repeated when the pack's file has long
been edited.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.treatment import Rules
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Ledger

POLICY = "policy"  # an entry: a whole pack
_KEPT = 32


@dataclass(frozen=True)
class _Pack:
    entry: int
    utc_ms: int
    policy: Policy
    said: dict[str, Any]


def pack_in_force(ledger: Ledger, find_policy: Callable[[str], Policy]) -> Policy:
    """The pack of the registry in force, as the ledger last had it; one it never had, as its file is.

    LedgerError if the ledger holds no registry; whatever find_policy raises.
    """
    found = ledger.registry()
    if found is None:
        raise LedgerError("the ledger holds no registry yet. Import one first.")
    name = found[1].clinic.policy
    for entry in reversed(ledger.all_entries(POLICY)):
        said = entry.json()
        if said["name"] == name:
            return Policy.model_validate(said)
    return find_policy(name)


class Rulebook:
    """The rules of one ledger. find_policy: gives a pack by its name, as its file has it now."""

    def __init__(
        self, ledger: Ledger, find_policy: Callable[[str], Policy], clock_utc_ms: Callable[[], int]
    ) -> None:
        """LedgerError if the ledger holds no registry; whatever find_policy raises."""
        self._ledger = ledger
        self._find_policy = find_policy
        self._clock_utc_ms = clock_utc_ms
        self._packs = [
            _Pack(entry.id, entry.committed_utc_ms, Policy.model_validate(said := entry.json()), said)
            for entry in ledger.all_entries(POLICY)
        ]
        self._made: OrderedDict[tuple[int, int], Rules] = OrderedDict()
        self._current = self._take_up()

    def take_up(self) -> None:
        """Take up the newest registry and its pack. If that raises, the rules stay as they were."""
        self._current = self._take_up()

    def _take_up(self) -> Rules:
        found = self._ledger.registry()
        if found is None:
            raise LedgerError(
                "the ledger holds no registry, so no pen is known. "
                "Import one: needletrail registry import FILE"
            )
        registry_entry, registry = found
        policy = self._find_policy(registry.clinic.policy)
        known = [pack for pack in self._packs if pack.policy.name == policy.name]
        said = policy.model_dump(mode="json")
        if not known or known[-1].said != said:
            now_utc_ms = self._clock_utc_ms()
            entry = self._ledger.enter(POLICY, said, now_utc_ms)
            known = [_Pack(entry, now_utc_ms, policy, said)]
            self._packs += known
        return Rules(known[-1].policy, registry, known[-1].entry, registry_entry)

    def at(self, utc_ms: int | None = None) -> Rules:
        """The rules in force then; None: now."""
        if utc_ms is None:
            return self._current
        registry_entry = self._ledger.version_at(utc_ms)
        if registry_entry is None:
            return self._current
        name = self._ledger.registry_at(registry_entry).clinic.policy
        packs = [pack for pack in self._packs if pack.policy.name == name]
        if not packs:
            return self._current
        then = [pack for pack in packs if pack.utc_ms <= utc_ms]
        return self.of(registry_entry, (then[-1] if then else packs[0]).entry)

    def of(self, registry_entry: int, policy_entry: int | None) -> Rules:
        """The rules that these entries hold; sessions of older ledgers name no pack: today's."""
        pack = next((one for one in self._packs if one.entry == policy_entry), None)
        policy = self._current.policy if pack is None else pack.policy
        key = (registry_entry, 0 if pack is None else pack.entry)
        found = self._made.get(key)
        if found is None or found.policy is not policy:
            registry = self._ledger.registry_at(registry_entry)
            found = self._made[key] = Rules(policy, registry, key[1], registry_entry)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return found
