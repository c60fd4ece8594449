"""The registry as it stood at any moment, from the changes that were recorded.

Strategy: a version is what one entry of the ledger made of the registry before it. Versions are kept
as changes; a whole registry is made from them when it is asked for, and the last few are kept, since
those who ask mostly ask for the same. Times are those at which a change was recorded, never when
somebody says that it was true: what was not known at a session could not be minded there. What would
follow from knowing better is for a replay to say.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from needletrail_gateway.core.registry.changes import Change, State, lay_over, registry_of, state_of
from needletrail_gateway.core.registry.model import Registry

_KEPT = 32
_STRIDE = 64  # versions between two states that are kept, so that no registry takes long to make


@dataclass(frozen=True)
class Version:
    """Which entry recorded it, when, by whom and why."""

    entry: int
    utc_ms: int
    who: str
    why: str
    changes: tuple[Change, ...]


class History:
    """All versions, oldest first."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self._entries: list[int] = []
        self._times: list[int] = []
        self._state = state_of(None)
        self._strides: list[State] = [self._state]  # before versions 0, _STRIDE, 2 * _STRIDE …
        self._made: OrderedDict[int, Registry] = OrderedDict()  # by entry

    def add(self, version: Version) -> None:
        """The next version. ChangeError if its changes do not fit the one before."""
        if self._entries and version.entry <= self._entries[-1]:
            raise ValueError(f"version of entry {version.entry} is not the next one")
        self._state = lay_over(self._state, version.changes)
        self.versions.append(version)
        self._entries.append(version.entry)
        # A clock that was set back hides no version: none is older than the one before.
        self._times.append(max(version.utc_ms, self._times[-1] if self._times else 0))
        if len(self.versions) % _STRIDE == 0:
            self._strides.append(self._state)

    def newest(self) -> int | None:
        """The entry of the newest version, or None if there is none."""
        return self._entries[-1] if self._entries else None

    def entry_at(self, utc_ms: int) -> int | None:
        """The entry of the version that was in force then; before the first one, the first."""
        if not self._entries:
            return None
        return self._entries[max(bisect_right(self._times, utc_ms) - 1, 0)]

    def registry(self, entry: int) -> Registry:
        """The registry that this entry, or the last version before it, made; KeyError if none did."""
        index = bisect_right(self._entries, entry) - 1
        if index < 0:
            raise KeyError(entry)
        entry = self._entries[index]
        found = self._made.get(entry)
        if found is None:
            found = registry_of(self._state_after(index))
            self._made[entry] = found
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        else:
            self._made.move_to_end(entry)
        return found

    def changes_of(self, key: str) -> Sequence[tuple[Version, Change]]:
        """What was recorded about one row, oldest first."""
        return [
            (version, change)
            for version in self.versions
            for change in version.changes
            if change.key == key
        ]

    def _state_after(self, index: int) -> State:
        if index == len(self.versions) - 1:
            return self._state
        stride = (index + 1) // _STRIDE
        state = self._strides[stride]
        for version in self.versions[stride * _STRIDE : index + 1]:
            state = lay_over(state, version.changes)
        return state
