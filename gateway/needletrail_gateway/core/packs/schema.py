"""The JSON Schema of a pack, for editors: made from the model, so that it can not say anything else.

A pack that extends another leaves things out. So a key is required only where it names its table, or
in a pack that stands alone; what is then still missing, `needletrail policy check` tells.
"""

from typing import Any

from needletrail_gateway.core.packs.extend import LISTS
from needletrail_gateway.core.packs.model import Policy

FILE = "pack.schema.json"

_NAMED_BY = {"TierRule": LISTS["tier"]}
_ALWAYS = ["name", "version", "effective", "describes"]


def pack_schema() -> dict[str, Any]:
    """The schema, as a JSON document."""
    schema = _bare(Policy.model_json_schema())
    for name, table in schema["$defs"].items():
        if name in _NAMED_BY:  # its other keys may come from the pack below
            table["required"] = [_NAMED_BY[name]]
    alone = [key for key in schema["required"] if key not in _ALWAYS]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Made by `needletrail policy schema`. Do not edit.",
        **schema,
        "description": "A policy pack of Needletrail.",
        "required": _ALWAYS,
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": alone},
    }


def _bare(schema: Any) -> Any:
    """Without what only repeats a key's name, and without “or null”, which TOML can not say."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            found[key] = {name: _bare(one) for name, one in value.items()}
        elif key == "anyOf" and {"type": "null"} in value and len(value) == 2:
            found |= _bare(next(one for one in value if one != {"type": "null"}))
        elif key != "title" and (key, value) != ("default", None):
            found[key] = _bare(value)
    return found
