"""On which line everything of a TOML text stands, against what tomllib makes of the same text."""

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needletrail_gateway.shell.documents import packs_folder
from needletrail_gateway.shell.toml_places import Path, find_places, line_of

TEXT = '''\
# [comment]
a = 1 # b = 2
"quoted # key" = "x = [1]"
'literal.key' = 'C:\\path'
dotted . inner."deep est" = 2026-01-01
many = [ # first
  1, "two # ]",
  [3, 4.5],
  { x = 1, y.z = ["}"] }, # last
]
text = """
[not.a.table]
b = "1" \\""" still
"""
other = \'\'\'
[[nor.this]]
''\'\'\'

[table]
b = true

[[list]]
b = 1
[list.inside]
c = 2
[[list.below]]
d = 3
[[list.below]]
d = 4

[[list]]
e.f = -inf
[[list.below]]
d = 5
[table.later]
g = 12:30:00
'''


def paths_of(value: Any, path: Path = ()) -> set[Path]:
    """Every path of a document, without the document itself."""
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, one in value.items():
            found |= paths_of(one, (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            found |= paths_of(one, (*path, index))
    return found


@pytest.mark.parametrize(
    ("path", "start"),
    [
        (("a",), "a = 1"),
        (("quoted # key",), '"quoted'),
        (("literal.key",), "'literal"),
        (("dotted", "inner", "deep est"), "dotted"),
        (("many",), "many"),
        (("many", 1), "  1,"),
        (("many", 2, 1), "  [3"),
        (("many", 3, "y", "z", 0), "  { x"),
        (("other",), "other"),
        (("table",), "[table]"),
        (("table", "b"), "b = true"),
        (("list", 0, "b"), "b = 1"),
        (("list", 0, "inside", "c"), "c = 2"),
        (("list", 0, "below", 1, "d"), "d = 4"),
        (("list", 1, "e", "f"), "e.f"),
        (("list", 1, "below", 0, "d"), "d = 5"),
        (("table", "later", "g"), "g = 12"),
    ],
)
def test_each_value_has_its_line(path: Path, start: str) -> None:
    line = find_places(TEXT)[path]
    assert TEXT.splitlines()[line - 1].startswith(start)


def test_nothing_is_left_out_and_nothing_made_up() -> None:
    assert set(find_places(TEXT)) == paths_of(tomllib.loads(TEXT))
    assert find_places("") == {}
    assert find_places("# only this") == {}


@pytest.mark.parametrize("path", sorted(packs_folder().glob("*.toml")), ids=lambda path: path.stem)
def test_every_place_of_a_shipped_pack_is_found(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(find_places(text)) == paths_of(tomllib.loads(text))


def test_what_is_missing_is_on_the_line_of_its_table() -> None:
    places = find_places("a = 1\n[b]\nc = 2\n[[d]]\n[[d]]\n")
    assert line_of(places, ("b", "missing")) == 2
    assert line_of(places, ("d", 1, "e", 3)) == 5
    assert line_of(places, ("d", 7)) == 4
    assert line_of(places, ("missing", "below")) == 1
    assert line_of(places, ()) == 1


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
LEAVES = st.integers(-9, 9) | st.booleans() | st.text("ab\"'\\#[]{}=,.\n\té", max_size=8)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def quoted(text: str) -> str:
    # DEL needs an escape in TOML and none in JSON.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[\n# ]\n" + "".join(f"  {inline(one)} , # ,\n" for one in value) + "]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(KEYS, VALUES, max_size=3))
def test_all_places_of_any_document_are_found(top: dict[str, Any], table: dict[str, Any]) -> None:
    name = "no such key"  # longer than any of KEYS
    text = "".join(f"{quoted(key)}={inline(value)}\n" for key, value in top.items())
    first = text.count("\n") + 1
    text += f"[[{quoted(name)}]] # [\n"
    text += "".join(f"{quoted(key)}={inline(value)}\n" for key, value in table.items())
    document = tomllib.loads(text)
    assert document == {**top, name: [table]}
    places = find_places(text)
    assert set(places) == paths_of(document)
    assert places[(name, 0)] == first
    for key in top:
        assert text.split("\n")[places[(key,)] - 1].startswith(quoted(key))
