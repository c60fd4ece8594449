"""What a cartridge's tag says: GS1 Digital Links in, garbage to None, never an error."""

from datetime import date

import pytest
from gateway_clinic import GTIN, cartridge_tag, uri_tag
from hypothesis import example, given
from hypothesis import strategies as st

from needletrail_gateway.core.judging import cartridge
from needletrail_gateway.core.judging.cartridge import Cartridge, read_tag

PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60)


def test_a_tag_names_product_lot_serial_and_last_day() -> None:
    assert read_tag(cartridge_tag()) == Cartridge(GTIN, "LOT24A", "000001", date(2027, 12, 31))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (f"https://id.gs1.org/01/{GTIN}", Cartridge(GTIN, None, None, None)),
        (f"https://maker.example/x/01/{GTIN}/21/7", Cartridge(GTIN, None, "7", None)),
        (f"http://id.gs1.org/01/{GTIN}/10/A?17=270228", Cartridge(GTIN, "A", None, date(2027, 2, 28))),
        (f"https://id.gs1.org/01/{GTIN}?17=270200", Cartridge(GTIN, None, None, date(2027, 2, 28))),
        ("https://id.gs1.org/01/12345670", Cartridge("00000012345670", None, None, None)),
    ],
)
def test_whatever_elements_are_there_are_read(uri: str, expected: Cartridge) -> None:
    assert read_tag(uri_tag(uri)) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "https://id.gs1.org/",
        "https://clinic.example/badge/est-01",
        f"https://id.gs1.org/01/{GTIN[:-1]}3",
        f"https://id.gs1.org/01/{GTIN}/10/{'L' * 21}",
        f"https://id.gs1.org/01/{GTIN}/21/{'S' * 21}",
        f"https://id.gs1.org/01/{GTIN}?17=271332",
        f"https://id.gs1.org/01/{GTIN}?17=2712311",
        f"https://id.gs1.org/01/{GTIN}/10/L%C3%A4",
        f"https://[id.gs1.org/01/{GTIN}",
        f"ftp://id.gs1.org/01/{GTIN}",
        "https://id.gs1.org/00/106141412345678908",
    ],
)
def test_what_is_no_cartridge_is_none(uri: str) -> None:
    assert read_tag(uri_tag(uri)) is None


def gtin_of(digits: str) -> str:
    """Thirteen digits and their check digit."""
    weighed = sum(int(one) * (1 if index % 2 else 3) for index, one in enumerate(digits))
    return f"{digits}{-weighed % 10}"


MOSTLY_PLAIN = st.text("ABCabc012-", min_size=1, max_size=20) | st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=22
)


@given(
    st.text("0123456789", min_size=13, max_size=13).map(gtin_of) | st.text("0123456789", max_size=15),
    MOSTLY_PLAIN,
    MOSTLY_PLAIN,
    st.dates(date(2000, 1, 1), date(2099, 12, 31)).map(lambda day: f"{day:%y%m%d}")
    | st.text("0123456789", min_size=5, max_size=7),
)
@example(GTIN, "LOT24A", "000001", "280229")
@example(GTIN, "LOT24A", "000001", "270229")
@example(GTIN, "LOT24A", "000001", "270200")
@example(GTIN, "LOT24A", "000001", "991231")
@example("0" * 14, "0", "0", "200101")
def test_a_plain_link_is_read_as_biip_reads_it(gtin: str, lot: str, serial: str, day: str) -> None:
    link = f"https://id.gs1.org/01/{gtin}/10/{lot}/21/{serial}?17={day}"
    plain = cartridge._read_plain(link)
    assert plain is None or plain == cartridge._read_any(link)


def test_what_pens_mostly_meet_is_a_plain_link() -> None:
    link = f"https://id.gs1.org/01/{GTIN}/10/LOT24A/21/000001?17=271231"
    assert cartridge._read_plain(link) == read_tag(cartridge_tag())
    assert cartridge._read_plain(link.replace("1231", "1232")) is None
    assert cartridge._read_plain(link.replace(GTIN, GTIN[:-1] + "3")) is None


@given(st.binary(max_size=120))
@example(b"")
@example(cartridge_tag()[:-1])
@example(cartridge_tag() + b"\x00")
def test_garbage_is_none(message: bytes) -> None:
    found = read_tag(message)
    assert found is None or isinstance(found, Cartridge)


@given(PRINTABLE, PRINTABLE)
def test_any_link_is_a_cartridge_or_none(path: str, query: str) -> None:
    for uri in (
        f"https://{path}?{query}",
        f"https://id.gs1.org/01/{GTIN}/{path}",
        f"https://id.gs1.org/01/{GTIN}/10/{path}?17={query}",
    ):
        found = read_tag(uri_tag(uri))
        assert found is None or len(found.gtin) == 14


@given(st.data())
def test_a_tag_with_one_byte_altered_is_no_error(data: st.DataObject) -> None:
    message = bytearray(cartridge_tag())
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    found = read_tag(bytes(message))
    assert found is None or isinstance(found, Cartridge)
