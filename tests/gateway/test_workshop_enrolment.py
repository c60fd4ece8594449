"""`needletrail pen enroll` and `retire`: what is written, what is kept, what is refused.

The registry stays its keeper's, secrets stay secret, and a real Mosquitto takes the account as it is
written.
"""

import getpass
import json
import os
import shutil
import stat
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from paho.mqtt.enums import CallbackAPIVersion
from workshop_desk import Answer, Needletrail, keyboard

from needletrail_gateway.bench.broker import Broker
from needletrail_gateway.record.ledger import Group, Ledger, NewEntry
from needletrail_gateway.shell.documents import keys_of, read_registry
from needletrail_gateway.workshop import broker_access, pen_file
from needletrail_gateway.workshop.broker_access import Account
from needletrail_protocol import topics

CLINIC = Path(__file__).resolve().parents[2] / "tapes" / "clinic" / "registry.toml"
VIRTUAL = ("--board", "virtual", "--broker-host", "gateway.lan")
NEW = ("pen", "enroll", "pen-04", "--registry", "clinic.toml", "--out", "pens/pen-04")
GATEWAY = Account("gateway", "a password that a person chose")
LIKE = ("--like", "pen-01")


@pytest.fixture
def needletrail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Needletrail:
    """Type a command, in an empty folder."""
    return keyboard(monkeypatch, capsys, tmp_path)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """An authority's own certificate, with words around it as clinics keep them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench authority")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "authority.pem"
    path.write_bytes(b"the clinic's authority\n" + signed.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def registry(needletrail: Needletrail) -> Path:
    """A copy of the sample clinic's registry, in the folder in which commands are typed."""
    path = Path("clinic.toml")
    shutil.copyfile(CLINIC, path)
    return path


def enrolled(needletrail: Needletrail, *more: object) -> dict[str, Any]:
    """pen-04 as pen.json tells of it."""
    answer = needletrail(*NEW, *VIRTUAL, *LIKE, *more)
    assert answer.code == 0, answer.err
    return pen_json()


def pen_json() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("pens/pen-04/pen.json").read_text())
    return found


def keys(registry: Path, pen: str = "pen-04") -> dict[int, str]:
    found = keys_of(read_registry(registry))[pen]
    assert not isinstance(found, bytes)
    return {epoch: key.hex() for epoch, key in found.items()}


def refused(answer: Answer, *said: str) -> None:
    assert (answer.code, answer.out) == (2, "")
    for one in said:
        assert one in answer.err


# ---- a new pen ----


def test_a_new_pen_is_in_the_registry_and_knows_all_that_it_must(
    needletrail: Needletrail, registry: Path
) -> None:
    pen = enrolled(needletrail)
    assert keys(registry) == {1: pen["key"]}
    assert len(bytes.fromhex(pen["key"])) == 32
    entry = read_registry(registry).find_pen("pen-04")
    pattern = read_registry(CLINIC).find_pen("pen-01")
    assert entry is not None
    assert pattern is not None
    assert entry.model_dump(exclude={"id"}) == pattern.model_dump(exclude={"id"})
    assert (pen["clinic"], pen["pen"], pen["epoch"], pen["previous"]) == ("harbor", "pen-04", 1, [])
    assert pen["broker"]["host"] == "gateway.lan"
    assert (pen["broker"]["port"], "ca" in pen["broker"]) == (1883, False)
    assert pen["calibration"][1] == [1010, 500]
    assert pen["calibrated_utc"] is None
    assert (pen["reading_tolerance_um"], pen["without_grant"]) == (30, "warn")
    assert pen["motor_interlock"] is False


def test_the_firmware_takes_the_pen_json(needletrail: Needletrail, registry: Path) -> None:
    from needletrail_device import config

    enrolled(needletrail)
    needletrail(*NEW, "--rotate")
    path = "pens/pen-04/pen.json"
    taken = config.load(path, Path(path).read_text())
    assert taken.epoch == 2
    assert [epoch for epoch, _ in taken.previous] == [1]
    assert taken.calibration.depth_um(1010) == 500


def test_nothing_else_in_the_registry_changes(needletrail: Needletrail, registry: Path) -> None:
    before = registry.read_text().splitlines()
    enrolled(needletrail)
    after = registry.read_text().splitlines()
    at = next(number for number, line in enumerate(after) if "pen-04" in line) - 1
    added = len(after) - len(before)
    assert after[:at] + after[at + added :] == before
    assert after[at] == "[[pen]]"
    assert "of pen-01 until this pen is calibrated" in "\n".join(after[at : at + added])


def test_no_secret_is_shown_and_only_the_owner_can_read_them(
    needletrail: Needletrail, registry: Path
) -> None:
    registry.chmod(0o640)
    said = needletrail(*NEW, *VIRTUAL, *LIKE)
    said_json = needletrail(*NEW, "--rotate", "--json")
    pen = pen_json()
    secrets = [pen["key"], pen["previous"][0]["key"], pen["broker"]["password"]]
    for one in secrets:
        assert one not in said.out + said.err + said_json.out + said_json.err
    for name in ("pen.json", "mosquitto.password", "mosquitto.acl"):
        assert stat.S_IMODE(Path("pens/pen-04", name).stat().st_mode) == 0o600
    assert secrets[2] not in Path("pens/pen-04/mosquitto.password").read_text()
    assert stat.S_IMODE(registry.stat().st_mode) == 0o640
    assert json.loads(said_json.out)["epoch"] == 2


def test_the_registry_stays_its_keepers(needletrail: Needletrail, registry: Path) -> None:
    if os.geteuid() == 0:  # as on a gateway's machine, where root enrolls
        os.chown(registry, 12345, 12346)
    before = registry.stat()
    needletrail(*NEW, *VIRTUAL, *LIKE)
    after = registry.stat()
    assert after.st_ino != before.st_ino
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


def test_a_pen_written_by_hand_without_a_key_gets_one(needletrail: Needletrail, registry: Path) -> None:
    text = registry.read_text()
    key_line = next(line for line in text.splitlines() if line.startswith('key = "d70435'))
    registry.write_text(text.replace(key_line + "\n", ""))
    answer = needletrail(
        "pen", "enroll", "pen-02", "--registry", registry, "--out", "pens/pen-04", *VIRTUAL
    )
    assert answer.code == 0, answer.err
    assert keys(registry, "pen-02") == {1: pen_json()["key"]}
    assert pen_json()["calibration"][0] == [396, 0]
    assert "The table is that of" not in answer.out


def test_two_enrolments_share_no_secret(needletrail: Needletrail, registry: Path) -> None:
    one = enrolled(needletrail)
    needletrail(
        "pen", "enroll", "pen-05", "--registry", registry, "--out", "pens/pen-04", "--force",
        *VIRTUAL, *LIKE,
    )  # fmt: skip
    other = pen_json()
    assert one["key"] != other["key"]
    assert one["broker"]["password"] != other["broker"]["password"]


def test_a_dry_run_writes_nothing(needletrail: Needletrail, registry: Path) -> None:
    answer = needletrail(*NEW, *VIRTUAL, *LIKE, "--dry-run", "--json")
    assert json.loads(answer.out)["dry_run"] is True
    assert registry.read_bytes() == CLINIC.read_bytes()
    assert not Path("pens").exists()


def test_a_board_on_wi_fi_gets_its_network(
    needletrail: Needletrail, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "needletrail_gateway.workshop.build.boards", lambda _device: ["esp32_s3", "virtual"]
    )
    real = ("--broker-host", "gateway.lan", *LIKE)
    refused(needletrail(*NEW, *real), "--wifi-ssid is needed")
    refused(needletrail(*NEW, *real, "--wifi-ssid", "clinic"), "NEEDLETRAIL_WIFI_PASSWORD")
    monkeypatch.setenv("NEEDLETRAIL_WIFI_PASSWORD", "short")
    refused(needletrail(*NEW, *real, "--wifi-ssid", "clinic"), "8 to 63 characters")
    monkeypatch.setenv("NEEDLETRAIL_WIFI_PASSWORD", "long enough")
    assert needletrail(*NEW, *real, "--wifi-ssid", "clinic").code == 0
    assert pen_json()["wifi"] == {"ssid": "clinic", "password": "long enough"}
    time = ("--time-server", "gateway.lan", "--force")
    assert needletrail(*NEW, *real, "--wifi-ssid", "clinic", *time).code == 0
    assert pen_json()["wifi"]["time_server"] == "gateway.lan"
    assert "virtual" not in pen_json()


def test_a_certificate_is_kept_as_der_and_turns_tls_on(
    needletrail: Needletrail, registry: Path, certificate: Path
) -> None:
    pen = enrolled(needletrail, "--ca", certificate)
    assert (pen["broker"]["port"], pen["broker"]["ca"]) == (8883, "ca.der")
    der = Path("pens/pen-04/ca.der").read_bytes()
    assert "bench authority" in x509.load_der_x509_certificate(der).subject.rfc4514_string()
    again = needletrail(
        *NEW[:2], "pen-05", "--registry", registry, "--out", "pens/pen-05", *VIRTUAL, *LIKE,
        "--ca", "pens/pen-04/ca.der",
    )  # fmt: skip
    assert again.code == 0
    assert Path("pens/pen-05/ca.der").read_bytes() == der


# ---- what is refused ----


def test_what_is_there_is_not_replaced(needletrail: Needletrail, registry: Path) -> None:
    enrolled(needletrail)
    before = (registry.read_bytes(), Path("pens/pen-04/pen.json").read_bytes())
    refused(needletrail(*NEW, *VIRTUAL, *LIKE), "is there already", "--force")
    Path("pens/pen-04").rename("pens/elsewhere")
    refused(needletrail(*NEW, *VIRTUAL, *LIKE), "enrolled already", "--rotate", "--force")
    after = (registry.read_bytes(), Path("pens/elsewhere/pen.json").read_bytes())
    assert after == before


def test_a_lost_pen_json_is_made_anew_with_the_keys_that_the_registry_has(
    needletrail: Needletrail, registry: Path
) -> None:
    lost = enrolled(needletrail)
    shutil.rmtree("pens")
    pen = enrolled(needletrail, "--force")
    assert pen["epoch"] == 2
    assert pen["previous"] == [{"epoch": 1, "key": lost["key"]}]
    assert keys(registry) == {1: lost["key"], 2: pen["key"]}
    assert pen["broker"]["password"] != lost["broker"]["password"]
    import_registry(registry).close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*NEW, *VIRTUAL), "pen-04 is new here"),
        ((*NEW, *VIRTUAL, "--like", "pen-99"), "there is no pen pen-99"),
        ((*NEW, "--board", "virtual", *LIKE), "--broker-host is needed"),
        ((*NEW, *VIRTUAL[2:], "--board", "toaster", *LIKE), "Known boards: "),
        ((*NEW[:2], "Pen 4", *NEW[3:], *VIRTUAL, *LIKE), "is no pen's id"),
        ((*NEW, *VIRTUAL, *LIKE, "--ca", "clinic.toml"), "is no certificate"),
        ((*NEW, *VIRTUAL, *LIKE, "--ca", "nowhere.pem"), "nowhere.pem"),
        ((*NEW, "--rotate"), "pens/pen-04/pen.json: can not be read"),
    ],
)
def test_what_can_not_be_enrolled_is_told_and_nothing_is_written(
    arguments: tuple[object, ...], said: str, needletrail: Needletrail, registry: Path
) -> None:
    refused(needletrail(*arguments), said)
    assert registry.read_bytes() == CLINIC.read_bytes()
    assert not Path("pens").exists()


def test_a_registry_with_an_error_is_told_with_its_line(
    needletrail: Needletrail, registry: Path
) -> None:
    registry.write_text(registry.read_text().replace("reading_tolerance_mm", "tolerance", 1))
    refused(needletrail(*NEW, *VIRTUAL, *LIKE), "clinic.toml:", "pen.0.tolerance")


# ---- new keys ----


def test_a_new_key_keeps_the_old_ones(needletrail: Needletrail, registry: Path) -> None:
    first = enrolled(needletrail)
    for epoch in (2, 3):
        answer = needletrail(*NEW, "--rotate")
        assert answer.code == 0, answer.err
        assert f"key epoch {epoch}" in answer.out
        assert "needletrail pen retire pen-04" in answer.out
    pen = pen_json()
    assert pen["epoch"] == 3
    assert [one["epoch"] for one in pen["previous"]] == [1, 2]
    assert pen["previous"][0]["key"] == first["key"]
    assert keys(registry) == {1: first["key"], 2: pen["previous"][1]["key"], 3: pen["key"]}
    assert len(set(keys(registry).values())) == 3
    assert pen["broker"] == first["broker"]


def test_a_key_that_stood_alone_gets_the_epoch_that_the_pen_knows(
    needletrail: Needletrail, registry: Path
) -> None:
    enrolled(needletrail)
    entry = tomllib.loads(registry.read_text())["pen"][0]
    folder = Path("pens/pen-01")
    folder.mkdir()
    pen_file.write_pen(
        folder / "pen.json", pen_json() | {"pen": "pen-01", "epoch": 4, "key": entry["key"]}
    )
    answer = needletrail("pen", "enroll", "pen-01", "--registry", registry, "--out", folder, "--rotate")
    assert answer.code == 0, answer.err
    assert keys(registry, "pen-01")[4] == entry["key"]
    assert sorted(keys(registry, "pen-01")) == [4, 5]
    assert "# bench only" in registry.read_text()


def test_an_old_pen_json_can_not_be_rotated(needletrail: Needletrail, registry: Path) -> None:
    pen = enrolled(needletrail)
    pen_file.write_pen(Path("pens/pen-04/pen.json"), pen | {"key": "00" * 32})
    refused(needletrail(*NEW, "--rotate"), "not of one time")
    pen_file.write_pen(Path("pens/pen-04/pen.json"), pen | {"pen": "pen-01"})
    refused(needletrail(*NEW, "--rotate"), "is of pen-01 in harbor")
    assert keys(registry) == {1: pen["key"]}


def import_registry(registry: Path) -> Ledger:
    ledger = Ledger.open("ledger.sqlite")
    document = read_registry(registry)
    ledger.import_registry(document, keys_of(document), 1)
    return ledger


def record(ledger: Ledger, epoch: int) -> None:
    """A record of pen-04 in the ledger, as intake leaves it."""
    lane = {name: None for name in ledger_lane_columns()}
    lane |= {"pen": "pen-04", "epoch": epoch, "next_seq": 2}
    ledger.commit(
        Group(
            entries=[NewEntry("record", b"", "pen-04", epoch, 1)],
            lanes={("pen-04", epoch): lane},
        ),
        1,
    )


def ledger_lane_columns() -> list[str]:
    from needletrail_gateway.record import schema

    return [column.name for column in schema.lane.columns]


def test_old_keys_go_when_the_pen_has_changed_over_and_not_before(
    needletrail: Needletrail, registry: Path
) -> None:
    retire = ("pen", "retire", "pen-04", *NEW[3:], "--ledger", "ledger.sqlite")
    refused(needletrail(*retire), "there is no such ledger")
    enrolled(needletrail)
    ledger = import_registry(registry)
    refused(needletrail(*retire), "nothing to retire")
    needletrail(*NEW, "--rotate")
    import_registry(registry).close()
    record(ledger, 1)
    refused(needletrail(*retire), "no record of pen-04 under its key of epoch 2")
    record(ledger, 2)
    assert needletrail(*retire, "--dry-run").code == 0
    assert sorted(keys(registry)) == [1, 2]
    answer = needletrail(*retire, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["old_epochs"] == [1]
    assert (sorted(keys(registry)), pen_json()["previous"]) == ([2], [])
    import_registry(registry).close()
    assert [epoch for pen, epoch in ledger.pen_keys() if pen == "pen-04"] == [2]
    ledger.close()


def test_one_ledger_is_given(needletrail: Needletrail, registry: Path) -> None:
    refused(needletrail("pen", "retire", "pen-04", *NEW[3:]), "either --config FILE or --ledger FILE")


# ---- at the broker ----


@pytest.fixture
def guarded(needletrail: Needletrail, registry: Path, tmp_path: Path) -> Iterator[Broker]:
    """The bench's Mosquitto, but with the accounts and rights that enrolment wrote for two pens."""
    enrolled(needletrail)
    needletrail(*NEW[:2], "pen-05", "--registry", registry, "--out", "pens/pen-05", *VIRTUAL, *LIKE)
    # Started by root, Mosquitto would become somebody who may not look into a test's folder.
    extra = f"allow_anonymous false\nuser {getpass.getuser()}\n"
    for setting, name in (("password_file", "mosquitto.password"), ("acl_file", "mosquitto.acl")):
        together = tmp_path / name
        together.write_text(
            "".join(Path("pens", pen, name).read_text() for pen in ("pen-04", "pen-05"))
        )
        extra += f"{setting} {together}\n"
    with (tmp_path / "mosquitto.password").open("a") as file:
        file.write(broker_access.password_line(GATEWAY))
    with (tmp_path / "mosquitto.acl").open("a") as file:
        file.write(f"user {GATEWAY.username}\ntopic readwrite needletrail/#\n")
    with Broker(tmp_path, extra) as broker:
        yield broker


class Client:
    """A client that may be refused; it waits for each answer."""

    def __init__(self, broker: Broker, username: str | None, password: str | None) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.heard: list[tuple[str, bytes]] = []
        self._answer: list[Any] = []
        if username is not None:
            self._client.username_pw_set(username, password)
        self._client.on_connect = lambda _c, _u, _f, reason, _p: self._answer.append(reason)
        self._client.on_publish = lambda _c, _u, _m, reason, _p: self._answer.append(reason)
        self._client.on_subscribe = lambda _c, _u, _m, reasons, _p: self._answer.append(reasons[0])
        self._client.on_message = lambda _c, _u, message: self.heard.append(
            (message.topic, message.payload)
        )
        self._client.connect(broker.host, broker.port)
        self.is_connected = not self._wait().is_failure

    def _wait(self) -> Any:
        while not self._answer:
            assert self._client.loop(5) == 0 or self._answer
        return self._answer.pop()

    def may_write(self, topic: str, payload: bytes = b"x") -> bool:
        self._client.publish(topic, payload, qos=1)
        return not self._wait().is_failure

    def subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, 1)
        assert not self._wait().is_failure

    def listen(self, until: bytes) -> list[str]:
        """Topics of what comes before that payload."""
        while not any(payload == until for _, payload in self.heard):
            assert self._client.loop(5) == 0
        return [topic for topic, payload in self.heard if payload != until]

    def close(self) -> None:
        self._client.disconnect()


def test_mosquitto_takes_the_account_and_keeps_each_pen_to_its_own(guarded: Broker) -> None:
    account = pen_json()["broker"]
    pen = Client(guarded, account["username"], account["password"])
    assert pen.is_connected
    gateway = Client(guarded, GATEWAY.username, GATEWAY.password)
    gateway.subscribe("needletrail/#")
    pen.subscribe("#")  # Mosquitto lets one ask for anything, and gives what one may read
    everything = [
        topics.build("harbor", one, channel)
        for one in ("pen-04", "pen-05")
        for channel in topics.CHANNELS
    ]
    own = [topics.build("harbor", "pen-04", channel) for channel in topics.UPWARD]
    for topic in everything:
        assert pen.may_write(topic, b"from the pen") == (topic in own), topic
    for topic in everything:
        assert gateway.may_write(topic, b"from the gateway"), topic
    last = topics.build("harbor", "pen-04", topics.ACK)
    assert gateway.may_write(last, b"the last")
    heard = pen.listen(b"the last")
    assert heard == [topics.build("harbor", "pen-04", channel) for channel in topics.DOWNWARD]
    gateway.close()
    pen.close()


def test_mosquitto_refuses_a_wrong_password_and_a_stranger(guarded: Broker) -> None:
    account = pen_json()["broker"]
    assert not Client(guarded, account["username"], account["password"] + "x").is_connected
    assert not Client(guarded, "harbor.pen-05", account["password"]).is_connected
    assert not Client(guarded, None, None).is_connected
