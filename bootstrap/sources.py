"""Finds the mirror of the distribution's own archive in the machine's apt sources.

Both formats are read: one-line `.list` and deb822 `.sources`. Many third parties use the
distribution's suite names, and even `main`, so an entry counts only if its key is the
distribution's own keyring, or if it names no key and its address has the distribution's name in
its path. Whatever is chosen is looked at again after download: apt checks the signature and
`unpack` checks the origin.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

STABLE_NAMES = frozenset({"stable", "oldstable", "testing", "unstable", "sid"})
ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)$"
)


@dataclass(frozen=True)
class Source:
    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""


def read(folder: Path) -> list[Source]:
    """Every enabled binary entry below apt's configuration folder, in apt's order."""
    parts = folder / "sources.list.d"
    files = [folder / "sources.list", *sorted(parts.glob("*"))]
    found: list[Source] = []
    for file in files:
        if file.suffix in {".list", ".sources"} and file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            found += parse_deb822(text) if file.suffix == ".sources" else parse_one_line(text)
    return found


def parse_one_line(text: str) -> list[Source]:
    found: list[Source] = []
    for line in text.splitlines():
        match = ONE_LINE.match(line.partition("#")[0].strip())
        if match:
            options = dict(
                option.partition("=")[::2]
                for option in (match["options"] or "").split()
                if "=" in option
            )
            components = tuple(match["components"].split())
            found.append(Source(match["uri"], match["suite"], components, options.get("signed-by", "")))
    return found


def parse_deb822(text: str) -> list[Source]:
    found: list[Source] = []
    for fields in _stanzas(text):
        enabled = fields.get("enabled", "yes").strip().lower() not in {"no", "false", "0", "off"}
        if not enabled or "deb" not in fields.get("types", "").split():
            continue
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                found.append(Source(uri, suite, components, fields.get("signed-by", "")))
    return found


def own_archive(sources: list[Source], family: str, codename: str) -> Source | None:
    """The entry of the distribution's main archive, the best known first."""
    suites = STABLE_NAMES | {codename}
    ranked = [
        (rank, source)
        for source in sources
        if source.suite in suites
        and "main" in source.components
        and (rank := _rank(source, family)) > 0
    ]
    return max(ranked, key=lambda item: item[0])[1] if ranked else None


def for_suite(source: Source, suite: str, components: tuple[str, ...], architecture: str) -> str:
    """A deb822 stanza for the same mirror and key, but another suite."""
    lines = [
        "Types: deb",
        f"URIs: {source.uri}",
        f"Suites: {suite}",
        f"Components: {' '.join(components)}",
        f"Architectures: {architecture}",
        "Targets: Packages",
    ]
    if source.signed_by:
        lines.append(f"Signed-By: {source.signed_by}")
    return "\n".join(lines) + "\n"


def _rank(source: Source, family: str) -> int:
    address = urlsplit(source.uri)
    if address.scheme == "cdrom":
        return 0
    names = {family, f"{family}-ports", f"{family}.list"}
    named = bool(names & set(address.path.split("/")))
    if f"{family}-archive-keyring" in source.signed_by:
        return 3 if named else 2
    a_key_of_its_own = source.signed_by.startswith("/")
    return 1 if named and not a_key_of_its_own else 0


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line
        elif ":" in line:
            key, _, value = line.partition(":")
            name = key.strip().lower()
            fields[name] = value.strip()
