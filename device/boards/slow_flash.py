"""A flash that takes its time, for measuring what that does to sampling.

Every write that must be on the medium holds up whoever asked for it, as erasing a sector does. `nap_s`
blocks; it is passed in.
"""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any, Callable


class SlowFolder:
    """A folder.Folder around another one."""

    def __init__(self, folder: "Any", delay_s: float, nap_s: "Callable[[float], None]") -> None:
        self._folder = folder
        self._delay_s = delay_s
        self._nap_s = nap_s
        self.names = folder.names
        self.read = folder.read
        self.open = folder.open
        self.rename = folder.rename
        self.remove = folder.remove
        self.free_bytes = folder.free_bytes

    def write(self, name: str, data: bytes) -> None:
        """As Folder.write, later."""
        self._nap_s(self._delay_s)
        self._folder.write(name, data)

    def sync(self, file: "Any") -> None:
        """As Folder.sync, later."""
        self._nap_s(self._delay_s)
        self._folder.sync(file)
