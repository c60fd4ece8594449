"""Who may say and hear what at the broker: each identity by topic and wildcard, by what arrives.

The broker runs with deploy/mosquitto/mosquitto.conf and the lists that `make secrets` wrote
(bench_deployment says what is changed for the bench). What is permitted is written down here once more,
by hand and not by the code that makes the lists. An observer that exists only here sees everything that
the broker lets through, and says everything that somebody might hear.
"""

import re
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from needletrail_deploy import authority
from paho.mqtt.client import topic_matches_sub

from deploy.bench_deployment import BARRIER, OBSERVER, Client, Deployment, until

UP = ("hello", "record", "urgent", "will")
DOWN = ("ack", "grant", "alert")
PENS = {
    "harbor.pen-01": "needletrail/1/harbor/pen-01/",
    "harbor.pen-02": "needletrail/1/harbor/pen-02/",
    "other.pen-01": "needletrail/1/other/pen-01/",
}
IDENTITIES = (*PENS, "gateway", "health")

TOPICS = [
    f"{begin}{channel}"
    for begin in (*PENS.values(), "needletrail/1/other/pen-02/")
    for channel in (*UP, *DOWN)
]
TOPICS += [
    "needletrail/2/harbor/pen-01/hello",
    "needletrail/2/harbor/pen-01/grant",
    "needletrail/1/harbor/pen-03/hello",
    "needletrail/1/harbor/pen-03/alert",
    "needletrail/1/harbor/pen-01",
    "needletrail/1/harbor/pen-01/",
    "needletrail/1/harbor/pen-01/hello/more",
    "needletrail/1/harbor/pen-01/other",
    "needletrail/1/harbor//hello",
    "/needletrail/1/harbor/pen-01/hello",
    "needletrail",
    "unrelated/topic",
]
FILTERS = [
    "#",
    "+",
    "+/#",
    "needletrail/#",
    "needletrail/+/+/+/+",
    "needletrail/1/harbor/#",
    "needletrail/1/harbor/+/record",
    "needletrail/1/harbor/+/alert",
    "needletrail/1/harbor/pen-01/#",
    "needletrail/1/harbor/pen-02/+",
    "needletrail/1/other/#",
    "needletrail/+/harbor/pen-01/grant",
    "+/+/+/+/urgent",
    "$share/group/needletrail/#",
    "$share/group/#",
]


def may_write(identity: str, topic: str) -> bool:
    if identity == "gateway":
        return re.fullmatch(r"needletrail/1/harbor/[^/]*/(ack|grant|alert)", topic) is not None
    return identity in PENS and topic in {PENS[identity] + channel for channel in UP}


def may_read(identity: str, topic: str) -> bool:
    if identity == "gateway":
        return (
            re.fullmatch(r"needletrail/[^/]+/harbor/[^/]*/(hello|record|urgent|will)", topic)
            is not None
        )
    if identity == "health":
        return topic == "$SYS/broker/uptime"
    return topic in {PENS[identity] + channel for channel in DOWN}


def covers(pattern: str, topic: str) -> bool:
    return topic_matches_sub(re.sub(r"^\$share/[^/]+/", "", pattern), topic)


# Something that each may hear, to know that nothing else is still coming.
LAST_HEARD = {
    "harbor.pen-01": "needletrail/1/harbor/pen-01/ack",
    "harbor.pen-02": "needletrail/1/harbor/pen-02/ack",
    "other.pen-01": "needletrail/1/other/pen-01/ack",
    "gateway": "needletrail/1/harbor/pen-02/will",
}


@pytest.fixture
def observer(deployment: Deployment) -> Iterator[Client]:
    one = deployment.client(OBSERVER)
    yield one
    one.close()


# ---- topics and wildcards ----


@pytest.mark.parametrize("identity", IDENTITIES)
def test_what_is_written_arrives_only_where_it_may(
    deployment: Deployment, observer: Client, identity: str
) -> None:
    observer.subscribe("#")
    writer = deployment.client(identity)
    for qos in (0, 1):
        for topic in TOPICS:
            writer.publish(topic, identity.encode(), qos)
    writer.subscribe("needletrail/#")  # answered after all of it has been dealt with
    observer.publish("unrelated/topic", BARRIER)
    heard = observer.await_barrier("unrelated/topic")
    writer.close()
    assert heard == {topic for topic in TOPICS if may_write(identity, topic)}


@pytest.mark.parametrize("pattern", [*FILTERS, "each topic by name"])
@pytest.mark.parametrize("identity", LAST_HEARD)
def test_what_is_read_is_only_what_may_be(
    deployment: Deployment, observer: Client, identity: str, pattern: str
) -> None:
    last = LAST_HEARD[identity]
    patterns = TOPICS if pattern == "each topic by name" else [pattern]
    reader = deployment.client(identity)
    reader.subscribe(*patterns)
    for topic in TOPICS:
        observer.publish(topic, b"secret")
    observer.publish(last, BARRIER)
    observer.subscribe("needletrail/none")  # the broker has dealt with all of it
    reader.subscribe(last)
    observer.publish(last, BARRIER)
    heard = reader.await_barrier(last)
    reader.close()
    wanted = {
        topic
        for topic in TOPICS
        if may_read(identity, topic) and any(covers(one, topic) for one in patterns)
    }
    assert heard == wanted


def test_the_brokers_own_numbers_are_for_the_health_check_alone(
    deployment: Deployment, observer: Client
) -> None:
    readers = {identity: deployment.client(identity) for identity in IDENTITIES}
    for reader in readers.values():
        reader.subscribe("#", "$SYS/#", "$SYS/broker/+", "$SYS/broker/uptime")
    observer.subscribe("$SYS/#")
    for _round in range(2):
        observer.heard.clear()
        observer.wait(
            lambda: (
                {"$SYS/broker/uptime", "$SYS/broker/bytes/sent"}
                <= {topic for topic, _ in observer.heard}
            ),
            "the broker does not tell how it is",
        )
    for identity, last in LAST_HEARD.items():
        observer.publish(last, BARRIER)
        assert readers[identity].await_barrier(last) == set()
    health = readers.pop("health")
    health.wait(lambda: bool(health.heard), "the health check hears nothing")
    assert {topic for topic, _ in health.heard} == {"$SYS/broker/uptime"}
    for reader in (health, *readers.values()):
        reader.close()


@pytest.mark.parametrize("identity", IDENTITIES)
def test_nothing_stays_behind_for_later(
    deployment: Deployment, observer: Client, identity: str
) -> None:
    """A retained message would outlive whoever left it; the broker ends a connection that tries."""
    for writer in (deployment.client(identity), deployment.client(OBSERVER)):
        for topic in TOPICS:
            writer.publish_retained(topic, b"left behind")
        assert writer.is_gone.wait(20)
        writer.close()
    late = deployment.client(OBSERVER)  # takes the observer's place, and may hear everything
    late.subscribe("#")
    late.publish("unrelated/topic", BARRIER)
    heard = late.await_barrier("unrelated/topic")
    late.close()
    assert heard == set()


# ---- wills ----


@pytest.mark.parametrize(
    ("topic", "arrives"),
    [
        ("needletrail/1/harbor/pen-01/will", True),
        ("needletrail/1/harbor/pen-02/will", False),
        ("needletrail/1/other/pen-01/will", False),
        ("needletrail/1/harbor/pen-01/alert", False),
        ("needletrail/1/harbor/pen-02/alert", False),
        ("unrelated/topic", False),
    ],
)
def test_a_will_is_bound_by_the_same_rights(
    deployment: Deployment, observer: Client, topic: str, arrives: bool
) -> None:
    observer.subscribe("#")
    username = "harbor.pen-01"
    dying = Client(deployment, username, deployment.password(username), will=(topic, b"gone"))
    if dying.try_to_connect() == 0:
        dying.cut()
        assert dying.is_gone.wait(20)
        # The same account again: the broker answers when it has done with the connection before.
        deployment.client(username).close()
    if arrives:
        observer.wait(lambda: (topic, b"gone") in observer.heard, "the will did not come")
    observer.publish("unrelated/topic", BARRIER)
    assert observer.await_barrier("unrelated/topic") == ({topic} if arrives else set())
    dying.close()


def test_nobody_takes_the_gateways_place_by_its_client_id(deployment: Deployment) -> None:
    mine = "needletrail-gateway-harbor"
    gateway = deployment.client("gateway", client_id=mine)
    gateway.subscribe("needletrail/+/harbor/+/record")
    thief = deployment.client("harbor.pen-02", client_id=mine)
    thief.publish("needletrail/1/harbor/pen-02/record", b"still heard")
    gateway.wait(lambda: bool(gateway.heard), "the gateway hears nothing any more")
    assert not gateway.is_gone.is_set()
    for one in (gateway, thief):
        one.close()


# ---- who is let in ----


@pytest.mark.parametrize(
    ("username", "password"),
    [
        (None, None),
        ("", ""),
        ("harbor.pen-01", None),
        ("harbor.pen-01", ""),
        ("harbor.pen-01", "wrong"),
        ("harbor.pen-01", "that of harbor.pen-02"),
        ("harbor.pen-09", "wrong"),
        ("gateway", None),
        ("gateway", "wrong"),
        ("root", "root"),
    ],
)
def test_who_has_no_account_or_not_its_password_stays_outside(
    deployment: Deployment, username: str | None, password: str | None
) -> None:
    if password == "that of harbor.pen-02":
        password = deployment.password("harbor.pen-02")
    stranger = Client(deployment, username, password)
    assert stranger.try_to_connect() in (
        0x86,
        0x87,
    )  # as paho names 3.1.1's answers 4 and 5: not authorized
    stranger.close()


def test_without_tls_nothing_is_answered(deployment: Deployment) -> None:
    connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04tom1"
    with socket.create_connection(("127.0.0.1", deployment.port), timeout=20) as plain:
        plain.sendall(connect)
        with suppress(ConnectionResetError):
            assert plain.recv(64)[:1] != b"\x20"  # an alert of TLS, or the end; never a CONNACK


def test_an_old_tls_is_refused(deployment: Deployment) -> None:
    """By the broker: a server that allows TLS 1.1 does speak it with the same client."""
    old = deployment.context()
    willing = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = deployment.etc / "mosquitto" / "server.pem"
    willing.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for context in (old, willing):
            context.minimum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        handshake(deployment.port, old)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=lambda: answer_once(listening, willing))
        server.start()
        assert handshake(listening.getsockname()[1], old) == "TLSv1.1"
        server.join(20)


def answer_once(listening: socket.socket, context: ssl.SSLContext) -> None:
    plain, _ = listening.accept()
    with context.wrap_socket(plain, server_side=True) as connection:
        connection.recv(1)


def test_who_trusts_another_authority_does_not_speak_to_this_broker(
    deployment: Deployment, tmp_path: Path
) -> None:
    other = tmp_path / "ca.pem"
    other.write_bytes(authority.make_authority("Somebody else", datetime.now(UTC)).certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(deployment.port, deployment.context(other))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)hostname"):
        handshake(deployment.port, deployment.context(), "elsewhere.example")
    assert handshake(deployment.port, deployment.context()).startswith("TLSv1.")


def handshake(port: int, context: ssl.SSLContext, host: str = "localhost") -> str:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        return str(connection.version())


def test_there_is_one_door(deployment: Deployment) -> None:
    text = (deployment.etc / "mosquitto.conf").read_text()
    assert re.findall(
        r"^(?:listener|port|bind_address|socket_domain|bridge\w*|connection)\b.*$", text, re.M
    ) == [f"listener {deployment.port} 127.0.0.1"]
    assert f"Opening ipv4 listen socket on port {deployment.port}." in deployment.log.read_text()
    assert deployment.log.read_text().count("listen socket") == 1


# ---- the health check ----


def test_the_health_check_of_compose_asks_this_broker(deployment: Deployment) -> None:
    from deploy.compose_file import compose

    broker = compose()["services"]["mosquitto"]
    kind, *command = broker["healthcheck"]["test"]
    assert kind == "CMD"
    here = str(deployment.etc)
    command = [
        word.replace("/etc/needletrail", here).replace("8883", str(deployment.port)).replace("$$", "$")
        for word in command
    ]
    environment = {
        name: value.replace("/etc/needletrail", here) for name, value in broker["environment"].items()
    }
    program = shutil.which(command[0])
    assert program, f"{command[0]} is missing; `make setup` installs it"
    done = subprocess.run(
        [program, *command[1:]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+ seconds\n", done.stdout)
    without = subprocess.run(
        [program, *command[1:]], env={}, capture_output=True, text=True, timeout=30, check=False
    )
    assert without.returncode != 0
    assert "not authorised" in without.stderr


# ---- changes while it runs ----


def test_the_lists_and_the_certificate_are_read_again(tmp_path: Path) -> None:
    """A new pen comes in, a pen that was taken off is cut off, and a new certificate is shown."""
    one = Deployment(tmp_path)
    one.make_secrets("--clinic", "harbor")
    one.add_account("harbor", "old-pen")
    one.make_secrets()
    one.start_broker()
    try:
        old = one.client("harbor.old-pen")
        before = shown(one)
        one.add_account("harbor", "new-pen")
        shutil.rmtree(one.etc / "pens" / "harbor-old-pen")
        one.make_secrets("--renew")
        assert Client(one, "harbor.new-pen", one.password("harbor.new-pen")).try_to_connect() != 0
        one.reload_broker()
        assert old.is_gone.wait(20)
        one.client("harbor.new-pen").close()
        assert Client(one, "harbor.old-pen", one.password("harbor.old-pen")).try_to_connect() != 0
        until(lambda: shown(one) != before, "still the old certificate")
    finally:
        one.stop_broker()


def shown(deployment: Deployment) -> str:
    return ssl.get_server_certificate(("127.0.0.1", deployment.port))
