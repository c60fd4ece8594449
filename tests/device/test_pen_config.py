"""pen.json, as far as it arms the pen and finds its network; and text that is no whole JSON."""

import json

from pen_fakes import raises

from needletrail_device import config
from needletrail_device.inputs import InputError

KEY_1, KEY_2 = "01" * 32, "Ab" * 32
GOOD = {
    "clinic": "harbor",
    "pen": "pen-01",
    "epoch": 3,
    "key": "00" * 32,
    "broker": {"host": "10.0.0.2", "port": 8883, "ca": "ca.der"},
    "calibration": [[410, 0], [1010, 500]],
    "reading_tolerance_um": 30,
    "board": "esp32s3",
    "wifi": {"ssid": 'clinic, {back} "office": \\', "password": "long enough"},
}


def load(**changes):
    fields = json.loads(json.dumps(GOOD))
    fields.update(changes)
    return config.load("/flash/pen.json", json.dumps(fields))


def refusal(text):
    with raises(InputError) as caught:
        config.load("/flash/pen.json", text)
    said = str(caught.error)
    assert said.startswith("/flash/pen.json") and "\n" not in said, said
    return said


def refusal_of(**changes):
    fields = json.loads(json.dumps(GOOD))
    fields.update(changes)
    return refusal(json.dumps(fields))


def test_what_a_pen_says_of_itself_unless_told():
    settings = load()
    assert (settings.without_grant, settings.motor_interlock, settings.previous) == ("warn", False, [])
    assert settings.broker_ca == "ca.der"
    assert settings.wifi_ssid == 'clinic, {back} "office": \\'
    assert settings.wifi_password == "long enough"
    assert settings.wifi_time_server == ""
    assert load(broker={"host": "h", "port": 1}).broker_ca is None


def test_what_the_enrolment_may_say():
    settings = load(
        without_grant="refuse",
        motor_interlock=True,
        previous=[{"epoch": 1, "key": KEY_1}, {"epoch": 2, "key": KEY_2, "later": [1, {}]}],
        wifi={"ssid": "x"},
    )
    assert (settings.without_grant, settings.motor_interlock) == ("refuse", True)
    assert settings.previous == [(1, b"\x01" * 32), (2, b"\xab" * 32)]
    assert (settings.wifi_ssid, settings.wifi_password) == ("x", "")
    settings = load(wifi={"ssid": "x", "time_server": "gateway.lan"})
    assert settings.wifi_time_server == "gateway.lan"


def test_a_virtual_pen_needs_no_network_of_its_own():
    settings = load(board="virtual", virtual={"tape": "t"}, wifi=None)
    assert not hasattr(settings, "wifi_ssid")


def test_what_may_not_be_said_is_refused_by_name():
    broker = {"host": "h", "port": 1}
    old = {"epoch": 1, "key": KEY_1}
    for name, value, said in (
        ("without_grant", "stop", "without_grant"),
        ("without_grant", None, "without_grant"),
        ("without_grant", True, "without_grant"),
        ("motor_interlock", 1, "motor_interlock"),
        ("motor_interlock", "yes", "motor_interlock"),
        ("motor_interlock", None, "motor_interlock"),
        ("broker", {"host": "h", "port": 1, "ca": ""}, "broker.ca"),
        ("broker", {"host": "h", "port": 1, "ca": "../ca.der"}, "broker.ca"),
        ("broker", {"host": "h", "port": 1, "ca": 1}, "broker.ca"),
        ("previous", None, "previous"),
        ("previous", {"1": KEY_1}, "previous"),
        ("previous", [1], "previous"),
        ("previous", [{"key": KEY_1}], "previous"),
        ("previous", [{"epoch": 1}], "previous"),
        ("previous", [{"epoch": "1", "key": KEY_1}], "previous"),
        ("previous", [{"epoch": True, "key": KEY_1}], "previous"),
        ("previous", [{"epoch": 1, "key": "00"}], "a key of previous"),
        ("previous", [{"epoch": 1, "key": 5}], "previous"),
        ("previous", [{"epoch": 0, "key": KEY_1}], "previous"),
        ("previous", [{"epoch": 3, "key": KEY_1}], "previous"),
        ("previous", [old, old], "previous"),
        ("previous", [{"epoch": 2, "key": KEY_2}, old], "previous"),
        ("reading_tolerance_um", 20_001, "reading_tolerance_um"),
        ("calibration", [[1]], "calibration"),
        ("wifi", None, "wifi"),
        ("wifi", {}, "wifi.ssid"),
        ("wifi", {"ssid": ""}, "wifi.ssid"),
        ("wifi", {"ssid": "\u00e9" * 17}, "wifi.ssid"),
        ("wifi", {"ssid": "x", "password": "short"}, "wifi.password"),
        ("wifi", {"ssid": "x", "password": "x" * 64}, "wifi.password"),
        ("wifi", {"ssid": "x", "password": None}, "wifi.password"),
        ("drain_timeout_s", 86_401, "drain_timeout_s"),
    ):
        assert said in refusal_of(**{name: value}), (name, value)
    assert load(broker=broker, previous=[old], wifi={"ssid": "\u00e9" * 16}).previous[0][0] == 1


def test_no_secret_is_in_what_a_refusal_says():
    secret = "5" * 63
    said = refusal_of(key=secret) + refusal_of(previous=[{"epoch": 1, "key": secret}])
    said += refusal_of(wifi={"ssid": "x", "password": secret + "55"})
    assert secret not in said


def test_numbers_that_are_none():
    text = json.dumps(GOOD)
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        refusal(text[:-1] + ', "drain_timeout_s": ' + number + "}")


def test_a_file_cut_anywhere_is_refused():
    for text in (json.dumps(GOOD), json.dumps(GOOD).replace("}, ", "},\n  ")):
        config.load("pen.json", text + "\n")
        for length in range(len(text)):
            refusal(text[:length])


def test_what_json_forgives_is_refused_where_it_changes_the_meaning():
    text = json.dumps(GOOD)
    for changed in (
        text + "x",
        text + "}",
        text + text,
        text[:-1] + "]",
        text[:-1] + ",}",
        text[:-1] + ', "epoch": 4}',
        text.replace('"epoch": 3', '"epoch": 3, "epoch": 3'),
        text.replace('"epoch": ', '"epoch" '),
        text.replace('"epoch": 3, ', '"epoch": 3 '),
        text.replace("[410, 0]", "[410 0]"),
        text.replace("[410, 0]", "[410, 0}"),
        text.replace("[[410, 0], [1010, 500]]", "[[410, 0], [1010, 500]"),
        text.replace('"host": "10.0.0.2"', '"host": "10.0.0.2", "host": "10.0.0.2"'),
        "[" + text + "]",
    ):
        assert changed != text
        refusal(changed)
