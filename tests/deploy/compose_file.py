"""compose.yaml as Docker would have it: the file, read, with the values of env.sample in it."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
_VARIABLE = re.compile(r"\$\{(\w+):\?[^}]*\}")


def env() -> dict[str, str]:
    """{name: value} of env.sample."""
    lines = (DEPLOY / "env.sample").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@cache
def compose() -> dict[str, Any]:
    """The whole file; KeyError if it asks for a variable that the sample does not have."""
    text = _VARIABLE.sub(lambda found: env()[found[1]], FILE.read_text())
    read: dict[str, Any] = yaml.safe_load(text)
    return read
