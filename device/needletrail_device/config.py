"""pen.json: what the gateway's tools tell a pen about itself, checked before anything else happens.

Whatever is missing or impossible is an InputError, which names the file, the line if there is one,
and the cause. Nothing that identifies a pen has a default. Main forgets this module afterwards, so
what it returns is a plain object with no tie to it. Unknown names are ignored.

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
    ("drain_timeout_s", "", "drain_timeout_s", _NUMBER, 0, None, DRAIN_TIMEOUT_S),
    ("board", "", "board", str, None, None, _NEEDED),
)
_VIRTUAL_FIELDS = (
    ("tape", "virtual", "tape", str, None, None, _NEEDED),
    ("speed", "virtual", "speed", _NUMBER, 0, None, 0),
    ("wait_ready_s", "virtual", "wait_ready_s", _NUMBER, 0, None, WAIT_READY_S),
)


def load(path: str, text: str) -> "Any":
    """pen.json as attributes: those of _FIELDS, and for the virtual board of _VIRTUAL_FIELDS."""
    data = None
    line = 0
    try:
        data = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 0)  # MicroPython does not say
    if not isinstance(data, dict):
        raise InputError(path, line, "not a JSON object")
    settings = Settings()
    cause = ""
    try:
        _take_all(settings, data, _FIELDS)
        if settings.board == "virtual":
            _take_all(settings, data, _VIRTUAL_FIELDS)
        for name in (settings.clinic, settings.pen):
            if not is_identifier(name):
                raise ValueError("clinic and pen are 1 to 32 of a-z, 0-9 and -")
        settings.key = _key(settings.key)
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
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError("%s is of another type" % where)
        if (least is not None and value < least) or (most is not None and value > most):
            raise ValueError("%s is out of range" % where)
        setattr(settings, attribute, value)


def _key(text: str) -> bytes:
    try:
        key = unhexlify(text)
    except ValueError:
        key = b""
    if len(key) != KEY_LENGTH:
        raise ValueError("key is not %d hexadecimal bytes" % KEY_LENGTH)
    return key


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
