"""How pens and gateway are at this moment: what no record holds, and dashboards show.

Taken under the service's lock and handed on as it is; who makes points of it is another matter.
"""

from dataclasses import dataclass
from datetime import date

# A connected pen says something every five minutes, and its broker tells when it has gone.
ONLINE_HEARD_S = 660


@dataclass(frozen=True)
class PenState:
    """One pen of the registry. None: it has not said so since the gateway started.

    backlog: records that it holds and the gateway has not. clock_offset_ms: its clock's lead over the
    gateway's.
    """

    pen: str
    is_gone: bool
    in_session: bool
    silent_s: int | None
    backlog: int | None
    battery_percent: int | None
    clock_offset_ms: int | None
    firmware: str | None
    calibrated: date | None
    faults: tuple[str, ...]

    @property
    def is_online(self) -> bool:
        """Whether it was heard lately, and nobody has said that it is gone."""
        return not self.is_gone and self.silent_s is not None and self.silent_s < ONLINE_HEARD_S


@dataclass(frozen=True)
class GatewayState:
    """The gateway and its pens. commit_ms: the longest commit since this was asked before."""

    clinic: str
    records: int
    refused: int
    commit_ms: float | None
    pens: tuple[PenState, ...]
