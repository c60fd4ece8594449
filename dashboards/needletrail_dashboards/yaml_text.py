"""YAML as text, written so that two renderings are the same and a change is easy to read.

Mappings and lists go into blocks; every text is in double quotes with JSON's escapes, which YAML has,
too.
"""

import json
from collections.abc import Iterator


def yaml_text(value: object, heading: str) -> str:
    """A document, with a comment at its head."""
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    return comment + "\n".join(_block(value, "")) + "\n"


def _is_block(value: object) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _scalar(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _block(value: object, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if _is_block(one):
                yield f"{indent}{name}:"
                yield from _block(one, indent + "  ")
            else:
                yield f"{indent}{name}: {_scalar(one)}"
    elif isinstance(value, list):
        for one in value:
            if not _is_block(one):
                yield f"{indent}- {_scalar(one)}"
                continue
            lines = list(_block(one, indent + "  "))
            yield f"{indent}- {lines[0][len(indent) + 2 :]}"
            yield from lines[1:]
    else:
        raise TypeError(f"no document: {value!r}")
