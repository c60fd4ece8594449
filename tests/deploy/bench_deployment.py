"""A deployment on the bench: the configuration files of deploy/, with as few changes as can be.

Changed are: the folders /etc/needletrail and /var/lib/needletrail, which become folders of the test;
the broker's port, and that it listens on this machine only; and one line `user`, if the tests run as
root, for Mosquitto would step down to an account that may not read a test's folder. Everything else is
what is deployed.
"""

import getpass
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from needletrail_gateway.bench.broker import free_port
from needletrail_gateway.workshop.broker_access import Account, make_account, password_line

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
WAIT_S = 20
OBSERVER = "observer"
BARRIER = b"that was all"


class Deployment:
    """`etc` is what is mounted at /etc/needletrail, `var` at /var/lib/needletrail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc = folder / "etc"
        self.var = folder / "var"
        (self.var / "checkpoints").mkdir(parents=True)
        self.port = free_port()
        self.passwords: dict[str, str] = {}
        self.log = folder / "mosquitto.log"
        self._broker: subprocess.Popen[bytes] | None = None

    # ---- files ----

    def make_secrets(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """What `make secrets` runs, into this deployment's folder."""
        done = subprocess.run(
            [sys.executable, "-m", "needletrail_deploy", "--folder", self.etc, "--no-env", *arguments],
            env=os.environ | {"PYTHONPATH": str(DEPLOY)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def placed(self, file: Path) -> str:
        """The text of a file of deploy/ with the bench's folders and port in it."""
        text = file.read_text()
        text = text.replace("/etc/needletrail", str(self.etc))
        text = text.replace("/var/lib/needletrail", str(self.var))
        return re.sub(r"^(listener|port =) 8883$", rf"\1 {self.port}", text, flags=re.MULTILINE)

    def place(self, name: str) -> Path:
        """The same as a file, where the deployment has it."""
        path = self.etc / Path(name).name
        path.write_text(self.placed(DEPLOY / name))
        return path

    def add_account(self, clinic: str, pen: str) -> None:
        """A pen's account at the broker, as `needletrail pen enroll` leaves it."""
        account = make_account(clinic, pen)
        self.passwords[account.username] = account.password
        folder = self.etc / "pens" / f"{clinic}-{pen}"
        folder.mkdir(parents=True)
        (folder / "mosquitto.password").write_text(password_line(account))

    def add_observer(self) -> None:
        """An account of the tests alone, which may write and read everything."""
        self.passwords[OBSERVER] = "sees all"
        with (self.etc / "mosquitto" / "passwords").open("a") as file:
            file.write(password_line(Account(OBSERVER, self.passwords[OBSERVER])))
        with (self.etc / "mosquitto" / "acl").open("a") as file:
            file.write(f"user {OBSERVER}\ntopic readwrite #\ntopic read $SYS/#\n\n")

    def password(self, username: str) -> str:
        """The password of an account."""
        if username == "gateway":
            return (self.etc / "gateway" / "NEEDLETRAIL_MQTT__PASSWORD").read_text().strip()
        if username == "health":
            return (self.etc / "mosquitto" / "mosquitto_sub").read_text().split()[3]
        return self.passwords[username]

    # ---- the broker ----

    def start_broker(self) -> None:
        config = self.place("mosquitto/mosquitto.conf")
        text = config.read_text().replace(f"listener {self.port}", f"listener {self.port} 127.0.0.1")
        config.write_text(text + (f"user {getpass.getuser()}\n" if os.geteuid() == 0 else ""))
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        assert program is not None, "mosquitto is missing; `make setup` installs it"
        with self.log.open("ab") as log:
            self._broker = subprocess.Popen([program, "-c", config], stdout=log, stderr=log)
        until(self._is_listening, "mosquitto does not listen")

    def _is_listening(self) -> bool:
        assert self._broker is not None
        assert self._broker.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def reload_broker(self) -> None:
        """What `docker compose kill --signal HUP` and `systemctl reload` do."""
        assert self._broker is not None
        self._broker.send_signal(signal.SIGHUP)

    def stop_broker(self) -> None:
        if self._broker is not None:
            self._broker.terminate()
            self._broker.wait(WAIT_S)
            self._broker = None

    def context(self, authority: Path | None = None) -> ssl.SSLContext:
        """TLS as a client of this deployment has it."""
        return ssl.create_default_context(cafile=str(authority or self.etc / "ca.pem"))

    def client(self, username: str, **more: Any) -> "Client":
        """Somebody who is connected under an account."""
        one = Client(self, username, self.password(username), **more)
        one.connect()
        return one


class Client:
    """A client that remembers what it heard."""

    def __init__(
        self,
        deployment: Deployment,
        username: str | None,
        password: str | None,
        client_id: str = "",
        will: tuple[str, bytes] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.answer: int | None = None
        self.is_gone = threading.Event()
        self.granted: list[int] = []
        self._changed = threading.Condition()
        self._port = deployment.port
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        if username is not None:
            self._client.username_pw_set(username, password)
        if will is not None:
            self._client.will_set(*will, qos=1)
        self._client.tls_set_context(context or deployment.context())
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_arguments: self.is_gone.set()
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        with self._changed:
            self.answer = reason.value
            self._changed.notify_all()

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self.heard.append((message.topic, bytes(message.payload)))
            self._changed.notify_all()

    def _on_subscribe(self, _c: Any, _u: Any, _m: Any, reasons: Iterable[Any], _p: Any) -> None:
        with self._changed:
            self.granted = [reason.value for reason in reasons]
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S), what

    def try_to_connect(self) -> int:
        """The broker's answer (MQTT 3.1.1, 3.2.2.3): 0 accepted, else not."""
        self._client.connect("localhost", self._port, keepalive=60)
        self._client.loop_start()
        self.wait(lambda: self.answer is not None, "no answer of the broker")
        assert self.answer is not None
        return self.answer

    def connect(self) -> None:
        assert self.try_to_connect() == 0

    def publish(self, topic: str, payload: bytes, qos: int = 0) -> None:
        self._client.publish(topic, payload, qos=qos)

    def publish_retained(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1, retain=True)

    def subscribe(self, *filters: str) -> None:
        """Returns when the broker has confirmed all of them."""
        self.granted = []
        self._client.subscribe([(one, 0) for one in filters])
        self.wait(lambda: len(self.granted) == len(filters), f"no answer to {filters}")

    def unsubscribe(self, *filters: str) -> None:
        self._client.unsubscribe(list(filters))

    def await_barrier(self, topic: str) -> set[str]:
        """The topics heard up to a message that was sent after all others."""
        self.wait(lambda: (topic, BARRIER) in self.heard, f"the last message, on {topic}, did not come")
        found = {topic for topic, payload in self.heard if payload != BARRIER}
        self.heard.clear()
        return found

    def cut(self) -> None:
        """End the connection as a dead battery would: no good-bye, so the broker publishes the will."""
        connection = self._client.socket()
        assert connection is not None
        connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something; AssertionError with `what` if it does not come."""
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)
