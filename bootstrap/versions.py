"""Reads version numbers out of packages and out of what programs print.

Only upstream's leading numbers count here: a Debian epoch, revision or `~rc0` never decides
whether something is new enough for this project.
"""

import re

from bootstrap.needs import Version


def from_package(version: str) -> Version:
    """`1:2.0.11-1.2+deb12u2` is (2, 0, 11)."""
    upstream = version.strip().partition(":")[2] or version.strip()
    return _numbers(re.match(r"\d+(?:\.\d+)*", upstream))


def from_output(text: str) -> Version:
    """The first dotted number in what a program prints about itself."""
    return _numbers(re.search(r"\d+(?:\.\d+)+", text))


def is_enough(version: Version, minimum: Version) -> bool:
    width = max(len(version), len(minimum))
    return _padded(version, width) >= _padded(minimum, width)


def dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)


def _numbers(match: re.Match[str] | None) -> Version:
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _padded(version: Version, width: int) -> Version:
    return version + (0,) * (width - len(version))
