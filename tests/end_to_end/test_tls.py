"""TLS with a pinned authority, against a real Mosquitto: only the right broker hears anything."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from stand_in import StandIn

from end_to_end.talking_pen import record
from end_to_end.test_rough_network import KEY, TalkingPen
from needletrail_gateway.bench.broker import Broker, free_port

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ADDRESS = x509.IPAddress(IPv4Address("127.0.0.1"))
REFUSED_BY_CERTIFICATE = {
    # the listener: what MicroPython says, what CPython says
    "other authority": ("not correctly signed by the trusted CA", "unable to get local issuer"),
    "expired": ("validity has expired", "certificate has expired"),
    "not yet valid": ("validity starts in the future", "certificate is not yet valid"),
    "other name": ("does not match with the expected CN", "IP address mismatch"),
}


class Authority:
    """A certificate authority, and the certificates that it signs."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key, NOW - 900 * DAY, NOW + 900 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.der = certificate.public_bytes(serialization.Encoding.DER)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return builder.not_valid_before(begin).not_valid_after(end)

    def sign(
        self,
        path: Path,
        names: list[x509.GeneralName],
        begin: datetime = NOW - DAY,
        end: datetime = NOW + DAY,
    ) -> str:
        """Lines of Mosquitto's configuration for a server with such a certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the broker")])
        certificate = (
            self._builder(subject, key, begin, end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path.with_suffix(".pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        path.with_suffix(".key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return f"certfile {path.with_suffix('.pem')}\nkeyfile {path.with_suffix('.key')}\n"


class TlsBroker:
    """A Mosquitto with a listener for each certificate: `ports` by its name."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        ours, others = Authority("Harbor"), Authority("Somebody else")
        self.ca = folder / "ca.der"
        self.ca.write_bytes(ours.der)
        servers = {
            "good": ours.sign(folder / "good", [ADDRESS]),
            "other authority": others.sign(folder / "others", [ADDRESS]),
            "expired": ours.sign(folder / "expired", [ADDRESS], NOW - 9 * DAY, NOW - DAY),
            "not yet valid": ours.sign(folder / "future", [ADDRESS], NOW + DAY, NOW + 9 * DAY),
            "other name": ours.sign(folder / "name", [x509.DNSName("broker.example")]),
        }
        self.ports = {name: free_port() for name in servers}
        extra = "".join(
            f"listener {self.ports[name]} 127.0.0.1\n{lines}" for name, lines in servers.items()
        )
        self.plain = Broker(folder, "user root\n" + extra)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsBroker]:
    one = TlsBroker(tmp_path_factory.mktemp("tls"))
    with one.plain:
        yield one


@pytest.fixture(params=["micropython", "cpython"])
def interpreter(request: pytest.FixtureRequest, micropython: Path) -> Path:
    return micropython if request.param == "micropython" else Path(sys.executable)


def test_the_pinned_authority(tls: TlsBroker, interpreter: Path, tmp_path: Path) -> None:
    gateway = StandIn(tls.plain.host, tls.plain.port, KEY, pen="right")
    pen = TalkingPen(tmp_path, interpreter, "127.0.0.1", tls.ports["good"], pen="right", ca=str(tls.ca))
    try:
        gateway.wait_for(30)
        done = pen.finish()
    finally:
        pen.kill()
        gateway.stop()
    assert gateway.payloads == [record(seq) for seq in range(1, done["records"] + 1)]


@pytest.mark.parametrize("listener", REFUSED_BY_CERTIFICATE)
def test_a_certificate_that_is_not_good_is_refused_with_its_cause(
    tls: TlsBroker, interpreter: Path, tmp_path: Path, listener: str
) -> None:
    gateway = StandIn(tls.plain.host, tls.plain.port, KEY, pen="wrong")
    pen = TalkingPen(
        tmp_path, interpreter, "127.0.0.1", tls.ports[listener], pen="wrong", ca=str(tls.ca)
    )
    try:
        refused = pen.wait_for("disconnected")
        wanted = REFUSED_BY_CERTIFICATE[listener][interpreter == Path(sys.executable)]
        assert wanted in refused["cause"]
        assert not gateway.hellos
        assert "connected" not in [event["event"] for event in pen.events()]
    finally:
        pen.kill()
        gateway.stop()


def test_never_without_tls(tls: TlsBroker, interpreter: Path, tmp_path: Path) -> None:
    """A server that speaks no TLS hears a TLS handshake, again and again, and nothing else."""
    heard: list[bytes] = []

    def serve() -> None:
        with listening:
            while len(heard) < 3:
                connection, _ = listening.accept()
                with connection:
                    heard.append(connection.recv(4096))
                    with suppress(ConnectionError):
                        connection.sendall(b"\x20\x02\x00\x00" * 8)  # a broker without TLS
                        while connection.recv(4096):
                            pass

    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = threading.Thread(target=serve, daemon=True)
    server.start()
    pen = TalkingPen(tmp_path, interpreter, "127.0.0.1", port, ca=str(tls.ca))
    try:
        refused = pen.wait_for("disconnected")
        server.join(20)
    finally:
        pen.kill()
    assert "-29184" in refused["cause"] or "[SSL: WRONG_VERSION" in refused["cause"]
    assert len(heard) == 3
    for first in heard:
        assert first[:2] == b"\x16\x03", "a TLS handshake record (RFC 8446 section 5.1)"
        assert b"MQTT" not in first


def test_an_authority_that_is_none_is_refused_at_once(interpreter: Path, tmp_path: Path) -> None:
    ca = tmp_path / "ca.der"
    ca.write_bytes(b"no certificate")
    pen = TalkingPen(tmp_path, interpreter, "127.0.0.1", 1, ca=str(ca))
    assert pen.process.wait(10) != 0
