"""The running gateway: paho's network thread receives, a second thread commits and acknowledges.

The network thread gives each message to the intake and sends alerts at once. What comes in
while the last commit was under way shares the next one, and when many come, twenty milliseconds are
given to more (group commit): alone, a message waits for one commit; under load, a hundred share it.
Only then the pen gets its `ack`. If the disk refuses, the group is tried again and nothing is
acknowledged meanwhile.

The second thread also tells systemd about once a second that the work goes on. If it hangs, or waits
for a lock that the network thread never gives back, systemd hears nothing and starts the gateway anew.

Between broker and gateway messages travel with QoS 0. A pen keeps each record until the `ack` and
sends it again if none comes, and has only so many under way; MQTT's own acknowledgements would do
both once more, at half the speed (docs/decisions/0008). Alerts and grants go down with QoS 1.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from sqlalchemy.exc import OperationalError

from needletrail_gateway.record.checkpoints import Notary
from needletrail_gateway.record.errors import LedgerError
from needletrail_gateway.record.ledger import Group, Ledger
from needletrail_gateway.shell.health import GatewayState
from needletrail_gateway.shell.intake import Intake, Outgoing
from needletrail_gateway.shell.settings import MqttSettings
from needletrail_gateway.shell.supervisor import Supervisor
from needletrail_gateway.shell.view import View
from needletrail_protocol import topics

KEEPALIVE_S = 15
_QOS_UP = 0
_QOS_ACK = 0  # one that is lost is asked for again
_QOS_DOWN = 1
_REGISTRY_CHECK_S = 1.0
_COMMIT_RETRY_S = 1.0
# A commit costs as much as thirty messages. When many come, let some more come first.
_BUSY_ENTRIES = 8
_GATHER_S = 0.02

log = structlog.get_logger()


class Service:
    """One gateway process. run() returns when stop() was called, or raises what went wrong."""

    def __init__(
        self,
        intake: Intake,
        ledger: Ledger,
        settings: MqttSettings,
        clock_utc_ms: Callable[[], int],
        view: View | None = None,
        notary: Notary | None = None,
        amend: Callable[[str, str], object] = lambda _session_id, _because: None,
    ) -> None:
        """`amend`: judges a closed session again, for a reason; LedgerError if that can not be."""
        self._amend = amend
        self._intake = intake
        self._ledger = ledger
        self._settings = settings
        self._clock_utc_ms = clock_utc_ms
        self._view = view
        self._notary = notary
        self._lock = threading.Lock()  # around the intake
        self._records = self._refused = 0
        self._slowest_commit_s: float | None = None
        self._work = threading.Event()
        self._stopped = threading.Event()
        self._supervisor = Supervisor()
        self._client = self._make_client()

    def _make_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"needletrail-gateway-{self._intake.clinic}",
            protocol=mqtt.MQTTv311,
        )
        if self._settings.username is not None:
            password = self._settings.password
            client.username_pw_set(
                self._settings.username, None if password is None else password.get_secret_value()
            )
        if self._settings.tls_ca is not None:
            client.tls_set(ca_certs=str(self._settings.tls_ca))
        client.reconnect_delay_set(1, 5)
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    # ---- the network thread ----

    def _on_connect(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            log.error("the broker refuses us", reason=str(reason))
            return
        clinic = self._intake.clinic
        # "+" for the version: a pen that speaks another one shall be refused with a reason.
        client.subscribe(
            [(f"{topics.ROOT}/+/{clinic}/+/{channel}", _QOS_UP) for channel in topics.UPWARD]
        )

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            log.error("the broker refuses our subscription", reasons=[str(r) for r in reasons])
            return
        with self._lock:
            self._intake.answer_all()  # whoever waits for an answer need not ask again
        self._work.set()
        log.info("gateway ready", clinic=self._intake.clinic)
        self._supervisor.ready()

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not self._stopped.is_set():
            log.warning("the broker is away", reason=str(reason))

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            log.warning("a topic that is not UTF-8")
            return
        with self._lock:
            outgoing = self._intake.receive(topic, bytes(message.payload))
        self._send(outgoing, _QOS_DOWN)
        self._work.set()

    def _send(self, outgoing: list[Outgoing], qos: int) -> None:
        for sealed in outgoing:
            self._client.publish(sealed.topic, sealed.message, qos=qos)

    # ---- the committing thread ----

    def _commit_forever(self) -> None:
        self._amend_all(self._intake.left_to_amend())
        checked_s = time.monotonic()
        is_busy = False
        while not self._stopped.is_set():
            self._work.wait(_REGISTRY_CHECK_S)
            if is_busy:
                self._stopped.wait(_GATHER_S)
            self._work.clear()
            is_busy = self._commit_group() >= _BUSY_ENTRIES
            if time.monotonic() - checked_s >= _REGISTRY_CHECK_S:
                checked_s = time.monotonic()
                self._take_up_registry()
                self._supervisor.alive()
                if self._notary is not None:
                    self._notary.look()
        self._commit_group()

    def _commit_group(self) -> int:
        """Commit what is there, then acknowledge. How many entries it was."""
        with self._lock:
            group, self._intake.group = self._intake.group, Group()
        if group.is_empty():
            return 0
        while True:
            began_s = time.monotonic()
            try:
                amend = self._ledger.commit(group, self._clock_utc_ms())
                break
            except OperationalError as error:
                log.error("the ledger can not be written; trying again", error=str(error.orig))
                self._supervisor.alive()  # a new process would meet the same disk
                if self._stopped.wait(_COMMIT_RETRY_S):
                    return 0
        commit_s = time.monotonic() - began_s
        acks = [self._intake.ack(pen, epoch, seq) for (pen, epoch), seq in group.acks.items()]
        self._send(acks, _QOS_ACK)
        self._count(group, commit_s)
        self._amend_all(amend)
        if self._view is not None:
            self._view.notice()
        return len(group.entries)

    def _count(self, group: Group, commit_s: float) -> None:
        self._records += sum(entry.kind == "record" for entry in group.entries)
        self._refused += sum(
            count for name, count in group.tally.items() if name.startswith("refused ")
        )
        with self._lock:
            self._slowest_commit_s = max(commit_s, self._slowest_commit_s or 0.0)

    def health(self) -> GatewayState:
        """How pens and gateway are now. The longest commit is the one since this was asked before."""
        with self._lock:
            slowest_s, self._slowest_commit_s = self._slowest_commit_s, None
            pens = self._intake.pen_states()
        return GatewayState(
            clinic=self._intake.clinic,
            records=self._records,
            refused=self._refused,
            commit_ms=None if slowest_s is None else slowest_s * 1000,
            pens=tuple(pens),
        )

    def _amend_all(self, sessions: Mapping[str, str]) -> None:
        for session_id, because in sessions.items():
            self._supervisor.alive()
            try:
                self._amend(session_id, because)
            except LedgerError as error:  # it is still open and hears of it at its end; or is expired
                log.warning("verdict not amended", session=session_id, because=because, why=str(error))

    def _take_up_registry(self) -> None:
        with self._lock:
            is_new = self._intake.reload()
            grants = self._intake.due_grants()
        if is_new:
            log.info("registry taken up", grants=len(grants))
        self._send(grants, _QOS_DOWN)

    # ---- life ----

    def run(self) -> None:
        """Serve until stop(). OSError if the broker can not be reached at the start."""
        # Without this, a busy committing thread keeps alerts waiting for up to 5 ms.
        sys.setswitchinterval(0.0005)
        self._client.connect(
            self._settings.host,
            self._settings.port,
            keepalive=KEEPALIVE_S,
        )
        failure: list[BaseException] = []

        def commit() -> None:
            try:
                self._commit_forever()
            except BaseException as error:
                failure.append(error)
                self._stopped.set()

        committer = threading.Thread(target=commit, name="commit")
        committer.start()
        if self._view is not None:
            self._view.start()
        self._client.loop_start()
        self._stopped.wait()
        self._work.set()
        committer.join()
        self._client.disconnect()
        self._client.loop_stop()
        if self._view is not None:
            self._view.stop()
        if failure:
            raise failure[0]

    def stop(self) -> None:
        """End run() after what is in hand has been committed."""
        self._stopped.set()


def _send_at_once(_client: mqtt.Client, _userdata: object, connection: Any) -> None:
    """An alert shall not wait until the broker has confirmed the packet before it (Nagle)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
