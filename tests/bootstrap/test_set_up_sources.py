"""Which mirror the set-up takes from the machine's own apt sources."""

from pathlib import Path

import pytest

from bootstrap.sources import Source, for_suite, own_archive, parse_deb822, parse_one_line, read

DEBIAN_DEB822 = """\
# The archive.
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""

UBUNTU_DEB822 = """\
Types: deb
URIs: http://mirror.example/ubuntu/
Suites: noble noble-updates noble-backports
Components: main universe restricted multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""

THIRD_PARTY_LIST = """\
deb [arch=amd64 signed-by=/etc/apt/keyrings/box.gpg] https://box.example/linux/debian bookworm main
deb https://db.example/apt bookworm-pgdg main
deb https://chat.example/linux/debian bookworm stable
"""


def test_one_line_entries_are_read_with_their_options() -> None:
    text = """\
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib # why
deb-src http://mirror.example/debian bookworm main
deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/k.gpg ] https://other.example/x stable main
"""
    assert parse_one_line(text) == [
        Source("http://mirror.example/debian", "bookworm", ("main", "contrib")),
        Source("https://other.example/x", "stable", ("main",), "/usr/share/keyrings/k.gpg"),
    ]


def test_each_suite_of_a_deb822_stanza_is_an_entry() -> None:
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert parse_deb822(DEBIAN_DEB822) == [
        Source("http://mirror.example/debian", "bookworm", ("main",), key),
        Source("http://mirror.example/debian", "bookworm-updates", ("main",), key),
        Source("http://mirror.example/debian-security", "bookworm-security", ("main",), key),
    ]


@pytest.mark.parametrize("line", ["Enabled: no", "enabled: false", "Types: deb-src"])
def test_a_stanza_that_is_off_or_holds_no_packages_is_skipped(line: str) -> None:
    text = f"Types: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\n{line}\n"
    assert parse_deb822(text) == []


def test_a_key_written_into_the_stanza_is_kept_whole() -> None:
    text = (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEabc\n"
        " -----END PGP PUBLIC KEY BLOCK-----\n"
    )
    (source,) = parse_deb822(text)
    assert parse_deb822(for_suite(source, "trixie", ("main",), "amd64")) == [source]


@pytest.mark.parametrize(
    ("text", "family", "codename", "uri"),
    [
        (DEBIAN_DEB822, "debian", "bookworm", "http://mirror.example/debian"),
        (UBUNTU_DEB822, "ubuntu", "noble", "http://mirror.example/ubuntu/"),
    ],
)
def test_the_main_archive_is_chosen(text: str, family: str, codename: str, uri: str) -> None:
    source = own_archive(parse_deb822(text), family, codename)
    assert source is not None
    assert (source.uri, source.suite) == (uri, codename)


@pytest.mark.parametrize("first", [True, False])
def test_third_parties_are_passed_over_wherever_they_stand(first: bool) -> None:
    own, others = parse_deb822(DEBIAN_DEB822), parse_one_line(THIRD_PARTY_LIST)
    source = own_archive(others + own if first else own + others, "debian", "bookworm")
    assert source is not None
    assert source.uri == "http://mirror.example/debian"


def test_third_parties_alone_are_no_archive() -> None:
    assert own_archive(parse_one_line(THIRD_PARTY_LIST), "debian", "bookworm") is None


@pytest.mark.parametrize(
    "line",
    [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian/ stable main contrib",
        "deb mirror+file:///etc/apt/mirrors/debian.list bookworm main",
    ],
)
def test_an_entry_without_a_key_counts_by_its_address(line: str) -> None:
    assert own_archive(parse_one_line(line), "debian", "bookworm") is not None


@pytest.mark.parametrize(
    "line",
    [
        "deb cdrom:[Debian]/debian bookworm main",
        "deb http://mirror.example/debian bookworm contrib",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/ubuntu bookworm main",
    ],
)
def test_what_is_not_the_main_archive_does_not_count(line: str) -> None:
    assert own_archive(parse_one_line(line), "debian", "bookworm") is None


def test_a_stanza_for_another_suite_changes_only_the_suite() -> None:
    source = own_archive(parse_deb822(UBUNTU_DEB822), "ubuntu", "noble")
    assert source is not None
    stanza = for_suite(source, "questing", ("main", "universe"), "arm64")
    assert parse_deb822(stanza) == [
        Source(source.uri, "questing", ("main", "universe"), source.signed_by)
    ]
    assert "Architectures: arm64" in stanza


def test_every_sources_file_is_read_and_nothing_else(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.example/debian bookworm main\n")
    (parts / "b.list").write_text("deb http://two.example/debian bookworm main\n")
    (parts / "a.sources").write_text(DEBIAN_DEB822)
    (parts / "c.list.disabled").write_text("deb http://three.example/debian bookworm main\n")
    assert [source.uri for source in read(tmp_path)] == [
        "http://one.example/debian",
        "http://mirror.example/debian",
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
        "http://two.example/debian",
    ]
