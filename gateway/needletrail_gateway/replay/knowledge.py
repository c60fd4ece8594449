"""What a replay knows beside a session's records: its rules, its cartridge elsewhere, its notes.

Strategy: everything is as the ledger has it today, and in the order of treatment. Live, a session whose
records came late could not be known to those judged before; here the cartridge's first use is the one
that was first, whoever told of it when. Packs and registries are those that the session's row names.
Of cartridges only those that worked in several sessions are held, and of clients a line a treatment.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, func, select, tuple_

from needletrail_gateway.core.judging.facts import Visit
from needletrail_gateway.core.packs.model import Policy
from needletrail_gateway.core.registry.model import Registry
from needletrail_gateway.core.treatment import Elsewhere, Rules, Treatment
from needletrail_gateway.record import schema
from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.shell.notebook import Notebook
from needletrail_gateway.shell.rulebook import POLICY

_KEPT = 32  # rules that were made; most ask for the same
_Use = tuple[int, str, str]  # when it began, session, use


class Knowledge:
    """What was written up to the moment in which it was last read on."""

    def __init__(self, ledger: Ledger, *, is_for_all: bool = True) -> None:
        """`is_for_all`: many sessions will be asked for, so what they share is read now, beforehand.

        Else nothing is known until it is read on for the first time.
        """
        self._ledger = ledger
        self._remembering = _Remembering(ledger.engine, is_for_all)
        self._notebook = Notebook(self._remembering)
        self._packs: dict[int, Policy] = {}
        self._made: OrderedDict[tuple[int, int], tuple[Policy, Rules]] = OrderedDict()
        self._is_for_all = is_for_all
        self._uses: Mapping[tuple[str, str], list[_Use]] = {}
        if is_for_all:
            self.read_on()

    def read_on(self) -> None:
        """Take in what was written since. It costs as much as there is of that."""
        self._remembering.forget()
        self._notebook.read_on()
        for entry in self._ledger.all_entries(POLICY, after_id=max(self._packs, default=0)):
            self._packs[entry.id] = Policy.model_validate(entry.json())
        if self._is_for_all:
            self._uses = _shared_cartridges(self._ledger)

    def elsewhere(self, row: Mapping[str, Any]) -> Elsewhere:
        """For the session with that row."""
        used_in = self._used_in(row)
        visits: dict[str | None, Visit | None] = {}  # by practitioner; a late badge brings another one

        def visit(treatment: Treatment) -> Visit | None:
            practitioner = treatment.scope.practitioner
            if practitioner not in visits:
                visits[practitioner] = self._notebook.visit(
                    treatment.session_id, practitioner, treatment.utc_ms(treatment.opened_t_ms)
                )
            return visits[practitioner]

        overrides = self._notebook.overrides(row["session_id"])
        is_tampered = self._notebook.is_tampered(row["session_id"])
        return Elsewhere(
            lambda _treatment: used_in,
            visit,
            lambda _treatment: overrides,
            lambda _treatment: is_tampered,
        )

    def rules_then(self, row: Mapping[str, Any]) -> Rules | None:
        """Pack and registry by which it was judged; None if an old ledger does not have the pack."""
        policy = self._packs.get(row["policy_entry"])
        return None if policy is None else self.rules_by(policy, row)

    def rules_by(self, policy: Policy, row: Mapping[str, Any]) -> Rules:
        """A pack, with the registry as it stood at the session."""
        entry = row["registry_entry"]
        asked, found = self._made.get((id(policy), entry), (None, None))
        if asked is not policy or found is None:
            found = self.rules_of(policy, self._ledger.registry_at(entry), entry)
            self._made[id(policy), entry] = (policy, found)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return found

    def rules_of(self, policy: Policy, registry: Registry, registry_entry: int = 0) -> Rules:
        """A pack and a registry; if the ledger has that very pack, its entry is named."""
        packs = self._packs.items()
        # The very one first: a clinic may have come back to a pack that it had before.
        entry = next((entry for entry, known in packs if known is policy), None)
        if entry is None:
            entry = next((entry for entry, known in packs if known == policy), None)
        if entry is None:
            return Rules(policy, registry, 0, registry_entry)
        return Rules(self._packs[entry], registry, entry, registry_entry)

    def _used_in(self, row: Mapping[str, Any]) -> str | None:
        if row["serial"] is None:
            return None
        cartridge = (row["gtin"], row["serial"])
        if self._is_for_all:
            uses = self._uses.get(cartridge, [])
        else:
            uses = _uses(self._ledger, _is_cartridge(*cartridge)).get(cartridge, [])
        ours = (row["started_utc_ms"] or 0, row["session_id"])
        return next(
            (
                session_id
                for started_utc_ms, session_id, use_id in uses
                if use_id != row["use_id"] and (started_utc_ms, session_id) < ours
            ),
            None,
        )


class _Remembering(Ledger):
    """A ledger that reads what clients had once: all of it, or one client's when that is asked for."""

    def __init__(self, engine: Engine, is_for_all: bool) -> None:
        super().__init__(engine)
        self._is_for_all = is_for_all
        self._clients: dict[str, list[dict[str, Any]]] | None = None

    def forget(self) -> None:
        """Read anew what is asked for from now on."""
        self._clients = None

    def visits(self, client: str, before_utc_ms: int) -> list[dict[str, Any]]:
        """What a client had before a time, as rows, oldest first."""
        if not self._is_for_all:
            return super().visits(client, before_utc_ms)
        if self._clients is None:
            self._clients = {}
            for row in self._rows(select(schema.visit).order_by(schema.visit.c.started_utc_ms)):
                self._clients.setdefault(row["client"], []).append(row)
        return [row for row in self._clients.get(client, ()) if row["started_utc_ms"] < before_utc_ms]


def _shared_cartridges(ledger: Ledger) -> dict[tuple[str, str], list[_Use]]:
    """The sessions of cartridges that worked in more than one, in the order of treatment."""
    column = schema.session.c
    cartridge = (column.gtin, column.serial)
    shared = (
        select(*cartridge)
        .where(column.worked.is_(True), column.serial.is_not(None))
        .group_by(*cartridge)
        .having(func.count() > 1)
    )
    return _uses(ledger, tuple_(*cartridge).in_(shared))


def _is_cartridge(gtin: str, serial: str) -> ColumnElement[bool]:
    return and_(schema.session.c.gtin == gtin, schema.session.c.serial == serial)


def _uses(ledger: Ledger, which: ColumnElement[bool]) -> dict[tuple[str, str], list[_Use]]:
    column = schema.session.c
    query = select(
        column.gtin, column.serial, column.started_utc_ms, column.session_id, column.use_id
    ).where(column.worked.is_(True), which)
    found: defaultdict[tuple[str, str], list[_Use]] = defaultdict(list)
    with ledger.reading() as connection:
        for row in connection.execute(query):
            found[row.gtin, row.serial].append((row.started_utc_ms or 0, row.session_id, row.use_id))
    for uses in found.values():
        uses.sort()
    return dict(found)
