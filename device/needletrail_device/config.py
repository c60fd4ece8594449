"""pen.json: what the gateway's tools tell a pen about itself, checked before anything else happens.

Whatever is missing or impossible is an InputError, which names the file, the line if there is one,
and the cause. Nothing that identifies a pen has a default. Main forgets this module afterwards, so
what it returns is a plain object with no tie to it. Unknown names are ignored.

MicroPython's json takes what is cut short for whole, and forgives commas and colons. A file that lost
its end would lose settings unnoticed. So the text's brackets and separators are counted beside json,
and must be what the values that json found need; a name given twice does not add up either.

Nowhere in the firmware an exception is raised `from` another: MicroPython prints a warning then.
"""

import json
from binascii import unhexlify

from needletrail_device.inputs import InputError, Settings
from needletrail_protocol.authentication import EPOCH_MAX, KEY_LENGTH
from needletrail_protocol.measure import Calibration
from needletrail_protocol.topics import is_identifier

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

FILE = "pen.json"
DRAIN_TIMEOUT_S = 120
WAIT_READY_S = 30
DAY_S = 86_400
SPEED_MAX = 1_000_000
SSID_MAX_BYTES = 32  # IEEE 802.11, 9.4.2.2
PASSWORD_BYTES = (8, 63)  # of WPA2 in ASCII (IEEE 802.11, J.4.1); an open network has none
_NUMBER = (int, float)
_TEXT_OR_NULL = (str, type(None))
_NEEDED = ()  # a default that no value can be

# (attribute, object within the file or "", name, type, least, most, default)
_FIELDS = (
    ("clinic", "", "clinic", str, None, None, _NEEDED),
    ("pen", "", "pen", str, None, None, _NEEDED),
    ("epoch", "", "epoch", int, 1, EPOCH_MAX, _NEEDED),
    ("key", "", "key", str, None, None, _NEEDED),
    ("broker_host", "broker", "host", str, None, None, _NEEDED),
    ("broker_port", "broker", "port", int, 1, 65535, _NEEDED),
    ("broker_username", "broker", "username", _TEXT_OR_NULL, None, None, None),
    ("broker_password", "broker", "password", _TEXT_OR_NULL, None, None, None),
    ("calibration", "", "calibration", list, None, None, _NEEDED),
    ("reading_tolerance_um", "", "reading_tolerance_um", int, 0, 20_000, _NEEDED),
    ("broker_ca", "broker", "ca", _TEXT_OR_NULL, None, None, None),
    ("drain_timeout_s", "", "drain_timeout_s", _NUMBER, 0, DAY_S, DRAIN_TIMEOUT_S),
    ("board", "", "board", str, None, None, _NEEDED),
    ("without_grant", "", "without_grant", str, None, None, "warn"),
    ("motor_interlock", "", "motor_interlock", bool, None, None, False),
    ("previous", "", "previous", list, None, None, []),
)
_WIFI_FIELDS = (
    ("wifi_ssid", "wifi", "ssid", str, None, None, _NEEDED),
    ("wifi_password", "wifi", "password", str, None, None, ""),
    ("wifi_time_server", "wifi", "time_server", str, None, None, ""),
)
_VIRTUAL_FIELDS = (
    ("tape", "virtual", "tape", str, None, None, _NEEDED),
    ("speed", "virtual", "speed", _NUMBER, 0, SPEED_MAX, 0),
    ("wait_ready_s", "virtual", "wait_ready_s", _NUMBER, 0, DAY_S, WAIT_READY_S),
    ("timer", "virtual", "timer", int, 0, 1, 0),
    ("slow_write_ms", "virtual", "slow_write_ms", int, 0, 10_000, 0),
)


def load(path: str, text: str) -> "Any":
    """pen.json as attributes: those of _FIELDS and, by its board, _VIRTUAL_FIELDS or _WIFI_FIELDS.

    `key` becomes bytes, `calibration` a Calibration, `previous` a list of (epoch, key bytes), oldest
    first. `broker_ca` None: no TLS. `wifi_password` "": an open network.
    """
    data = None
    line = 0
    try:
        data = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 0)  # MicroPython does not say
    if not isinstance(data, dict):
        raise InputError(path, line, "not a JSON object")
    if _separators(text) != _needed(data):
        raise InputError(path, 0, "cut short, a name twice, or a comma or bracket out of place")
    settings = Settings()
    cause = ""
    try:
        _take_all(settings, data, _FIELDS)
        if settings.board == "virtual":
            _take_all(settings, data, _VIRTUAL_FIELDS)
        else:
            _take_all(settings, data, _WIFI_FIELDS)
            _check_wifi(settings)
        for name in (settings.clinic, settings.pen):
            if not is_identifier(name):
                raise ValueError("clinic and pen are 1 to 32 of a-z, 0-9 and -")
        if settings.without_grant not in ("warn", "refuse"):
            raise ValueError("without_grant is neither warn nor refuse")
        ca = settings.broker_ca
        if ca is not None and (not ca or "/" in ca):
            raise ValueError("broker.ca is not the name of a file beside pen.json")
        settings.key = _key(settings.key, "key")
        settings.previous = _previous(settings.previous, settings.epoch)
        settings.calibration = _calibration(settings.calibration)
    except ValueError as error:
        cause = str(error)
    if cause:
        raise InputError(path, 0, cause)
    return settings


def _take_all(settings: "Any", data: "Any", fields: "Any") -> None:
    for attribute, place, name, wanted, least, most, default in fields:
        values = data.get(place) if place else data
        if not isinstance(values, dict):
            raise ValueError("%s is missing or no object" % place)
        value = values.get(name, default)
        where = place + "." + name if place else name
        if value is _NEEDED:
            raise ValueError("%s is missing" % where)
        if not isinstance(value, wanted) or (wanted is not bool and isinstance(value, bool)):
            raise ValueError("%s is of another type" % where)
        if least is not None and not least <= value <= most:  # NaN is not within either
            raise ValueError("%s is out of range" % where)
        setattr(settings, attribute, value)


def _separators(text: str) -> "tuple[int, int, int] | None":
    """How many brackets, commas and colons stand outside strings; None if brackets do not match.

    Bytes, because MicroPython keeps a text of one character for ever.
    """
    brackets = commas = colons = 0
    is_string = is_escaped = False
    ends = b""  # what must close what is open
    for byte in text.encode():
        if is_string:
            is_string = is_escaped or byte != 0x22
            is_escaped = byte == 0x5C and not is_escaped
        elif byte == 0x22:
            is_string = True
        elif byte in b"{[":
            brackets += 1
            ends += b"}" if byte == 0x7B else b"]"
        elif byte in b"}]":
            if not ends or ends[-1] != byte:
                return None
            ends = ends[:-1]
        elif byte == 0x2C:
            commas += 1
        elif byte == 0x3A:
            colons += 1
    return None if ends else (brackets, commas, colons)


def _needed(value: "Any") -> "tuple[int, int, int]":
    """How many brackets, commas and colons a value needs."""
    if not isinstance(value, (dict, list)):
        return 0, 0, 0
    brackets, commas, colons = 1, max(len(value) - 1, 0), 0
    if isinstance(value, dict):
        colons = len(value)
    for part in value.values() if isinstance(value, dict) else value:
        more = _needed(part)
        brackets += more[0]
        commas += more[1]
        colons += more[2]
    return brackets, commas, colons


def _key(text: str, name: str) -> bytes:
    try:
        key = unhexlify(text)
    except ValueError:
        key = b""
    if len(key) != KEY_LENGTH:
        raise ValueError("%s is not %d hexadecimal bytes" % (name, KEY_LENGTH))
    return key


def _previous(value: "Any", epoch: int) -> "list[tuple[int, bytes]]":
    keys: "list[tuple[int, bytes]]" = []
    for one in value:
        if not isinstance(one, dict) or type(one.get("epoch")) is not int:
            raise ValueError("previous is not objects with epoch and key")
        if not isinstance(one.get("key"), str):
            raise ValueError("previous is not objects with epoch and key")
        if not (keys[-1][0] if keys else 0) < one["epoch"] < epoch:
            raise ValueError("the epochs of previous do not rise up to epoch")
        keys.append((one["epoch"], _key(one["key"], "a key of previous")))
    return keys


def _check_wifi(settings: "Any") -> None:
    if not 1 <= len(settings.wifi_ssid.encode()) <= SSID_MAX_BYTES:
        raise ValueError("wifi.ssid is not 1 to %d bytes" % SSID_MAX_BYTES)
    least, most = PASSWORD_BYTES
    if settings.wifi_password and not least <= len(settings.wifi_password.encode()) <= most:
        raise ValueError("wifi.password is not %d to %d characters" % PASSWORD_BYTES)


def _calibration(value: "Any") -> Calibration:
    points = []
    for point in value:
        if (
            not isinstance(point, list)
            or len(point) != 2
            or type(point[0]) is not int
            or type(point[1]) is not int
        ):
            raise ValueError("calibration is not pairs of [counts, micrometres]")
        points.append((point[0], point[1]))
    return Calibration(points)
