"""Version numbers, as packages write them and as programs print them."""

import pytest

from bootstrap import versions


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("2.0.11-1.2+deb12u2", (2, 0, 11)),
        ("1:2.0.11-1.2+deb12u2", (2, 0, 11)),
        ("1.6.7~rc0-1+b13", (1, 6, 7)),
        ("1.25.0+ds-1", (1, 25, 0)),
        ("1.22.1+ds-1ubuntu1", (1, 22, 1)),
        ("7-1", (7,)),
        ("", ()),
    ],
)
def test_a_package_version_is_read_as_upstream_numbers(package: str, version: tuple[int, ...]) -> None:
    assert versions.from_package(package) == version


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("mosquitto version 2.0.11\n\nmosquitto is an MQTT v5.0/v3.1.1/v3.1 broker.", (2, 0, 11)),
        ("InfluxDB v1.6.7~rc0 (git: unknown unknown)", (1, 6, 7)),
        ("nginx version: nginx/1.22.1", (1, 22, 1)),
        ("no number here", ()),
    ],
)
def test_a_program_says_its_version_first(output: str, version: tuple[int, ...]) -> None:
    assert versions.from_output(output) == version


@pytest.mark.parametrize(
    ("version", "minimum", "enough"),
    [
        ((1, 25, 0), (1, 25), True),
        ((1, 25), (1, 25, 0), True),
        ((1, 24, 9), (1, 25), False),
        ((1, 9), (1, 25), False),
        ((2,), (1, 25), True),
        ((), (1, 25), False),
    ],
)
def test_versions_compare_number_by_number(
    version: tuple[int, ...], minimum: tuple[int, ...], enough: bool
) -> None:
    assert versions.is_enough(version, minimum) is enough
