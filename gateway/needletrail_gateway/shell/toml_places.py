"""On which line everything of a TOML text stands.

Parsers give values and forget where they stood. This one gives the places and no values: it runs over a
text that tomllib has accepted, so it need not recognise mistakes, only strings, brackets and keys.
"""

import re
import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_STRING = re.compile(
    r"\"\"\"(?:[^\\]|\\.)*?\"\"\"\"{0,2}|'''.*?''''{0,2}|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'", re.DOTALL
)


def find_places(text: str) -> dict[Path, int]:
    """The line, from 1, of each table, key and array element, by its path of keys and indices."""
    return _Reader(text).run()


def line_of(places: Mapping[Path, int], path: Path) -> int:
    """The line of what stands at a path, or else of the innermost table that would hold it; else 1."""
    for length in range(len(path), 0, -1):
        if path[:length] in places:
            return places[path[:length]]
    return 1


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._seen_to = 0
        self._line = 1
        self._places: dict[Path, int] = {}
        self._entries: dict[Path, int] = {}  # how many [[tables]] of a path there are so far

    def run(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip_blank() < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._places

    def _header(self) -> Path:
        line = self._line_here()
        is_entry = self._text.startswith("[[", self._at)
        self._at += 2 if is_entry else 1
        path: Path = ()
        keys = self._key()
        self._at += 2 if is_entry else 1
        for key in keys[:-1]:
            path = self._newest((*path, key))
            self._places.setdefault(path, line)
        path = (*path, keys[-1])
        if is_entry:
            self._places.setdefault(path, line)
            number = self._entries.get(path, 0)
            self._entries[path] = number + 1
            path = (*path, number)
        self._places[path] = line
        return path

    def _newest(self, path: Path) -> Path:
        """The path; where it is a list of tables, its newest entry."""
        return (*path, self._entries[path] - 1) if path in self._entries else path

    def _pair(self, table: Path) -> None:
        line = self._line_here()
        path = table
        for key in self._key():
            path = (*path, key)
            self._places.setdefault(path, line)
        self._at += 1  # =
        self._skip_blank()
        self._value(path)

    def _key(self) -> list[str]:
        keys = []
        while True:
            self._skip_blank()
            found = _BARE.match(self._text, self._at)
            if found:
                keys.append(found[0])
            else:
                found = _STRING.match(self._text, self._at)
                assert found is not None
                keys.append(next(iter(tomllib.loads(f"{found[0]} = 0"))))
            self._at = found.end()
            self._skip_blank()
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        opening = self._text[self._at]
        if opening in "[{":
            self._at += 1
            number = 0
            while self._text[self._skip_blank()] not in "]}":
                if opening == "{":
                    self._pair(path)
                else:
                    self._places[(*path, number)] = self._line_here()
                    self._value((*path, number))
                    number += 1
                if self._text[self._skip_blank()] == ",":
                    self._at += 1
            self._at += 1
            return
        found = (_STRING if opening in "\"'" else _SCALAR).match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _skip_blank(self) -> int:
        found = _BLANK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._at

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._seen_to, self._at)
        self._seen_to = self._at
        return self._line
