"""The folder in flash: the eight things that the firmware does with files, and nothing else.

Passed to the journal and the grant, so that a test can pass one that fails. A write is on the
medium when `write`, or `sync` of an opened file, returns: MicroPython's flush is fsync or littlefs'
sync; CPython needs both calls. `rename` replaces; it is atomic on littlefs and POSIX.
"""

import os

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any


class Folder:
    """Files of one folder, which is made if it is not there."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            os.stat(path)
        except OSError:
            os.mkdir(path)

    def names(self) -> "list[str]":
        """Names of the files, in no order."""
        return os.listdir(self._path)

    def read(self, name: str) -> "bytes | None":
        """All of a small file, or None if there is none."""
        try:
            with open(self._path + "/" + name, "rb") as file:
                return file.read()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """A small file's new content, on the medium when this returns."""
        with open(self._path + "/" + name, "wb") as file:
            file.write(data)
            self.sync(file)

    def open(self, name: str, mode: str) -> "Any":
        """A file opened to read ("rb") or to append ("ab")."""
        return open(self._path + "/" + name, mode)  # noqa: SIM115

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, over one that has it already."""
        os.rename(self._path + "/" + old, self._path + "/" + new)

    def remove(self, name: str) -> None:
        """Delete a file."""
        os.remove(self._path + "/" + name)

    def free_bytes(self) -> int:
        """What the file system has left. littlefs counts all of its blocks for this."""
        figures = os.statvfs(self._path)
        return figures[1] * figures[4]

    def sync(self, file: "Any") -> None:
        """What was written to an opened file is on the medium when this returns."""
        file.flush()
        if hasattr(os, "fsync"):
            os.fsync(file.fileno())
