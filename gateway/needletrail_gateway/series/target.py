"""InfluxDB as the writer sees it: what kind it is, one write, one query, and what an answer means.

A write is accepted (it returns), refused (`Refused`: these points will never be taken) or kept (`Kept`:
nothing is wrong with the points, try again). The answer alone decides: 204 is the only one that says
they are stored; 400, 413 and 422 are about the points; everything else is about the way there: no
network, no right, no bucket, no time, or a web page of somebody else. What a person must do about it is
in `Kept.remedy`.

Points older than the bucket keeps are dropped by InfluxDB while it takes the rest, and says so with a
400 or 422. They would be gone tomorrow anyway: that is accepted.

influxdb-client compresses at zlib's level 9, which takes longer than InfluxDB takes to store the
points. The lines are so much alike that level 1 does nearly as well, in a tenth of the time.
"""

import gzip
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from influxdb_client.service.ping_service import PingService
from influxdb_client.service.setup_service import SetupService
from influxdb_client.service.write_service import WriteService
from urllib3.exceptions import HTTPError

from needletrail_gateway.core.series.schema import Retention
from needletrail_gateway.shell.settings import InfluxSettings

Kind = Literal["1", "2", "3", "unknown"]

RAW_POLICY = "raw"  # of InfluxDB 1: the retention policy of raw readings; elsewhere the bucket's ending
LONG_POLICY = "autogen"  # InfluxDB 1 calls a database's first policy so

_DAY_MS = 86_400_000
_MARGIN_MS = 3_600_000  # what would be dropped within the hour need not be written
_LEVEL = 1
_TIMEOUT_MS = 30_000
_STORED = 204
_REFUSED = (400, 413, 422)
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)  # an answer that is not InfluxDB's
_RETRY_AFTER_MOST_S = 300.0
_TEXT = "text/plain; charset=utf-8"
# InfluxDB 1.8 and 2 word it differently.
_TOO_OLD = re.compile(r"(beyond|outside) retention policy|violates a Retention Policy", re.IGNORECASE)
_OF_POINTS = re.compile(
    r"partial write|unable to parse|field type conflict|conflicting types|"
    r"max-(values-per-tag|series-per-database)|max key length|time outside range|invalid line",
    re.IGNORECASE,
)
_DROPPED = re.compile(r"dropped[= ](\d+)")
_WORDS_MOST = 300

_Found = TypeVar("_Found")


class Kept(Exception):
    """InfluxDB could not be told now; the points are kept. The text says why, `remedy` what to do.

    retry_after_s: when InfluxDB wants to be asked again, if it said so. status: HTTP's, if it answered.
    """

    def __init__(
        self,
        why: str,
        remedy: str = "",
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(why)
        self.remedy = remedy
        self.retry_after_s = retry_after_s
        self.status = status


class Refused(Exception):
    """InfluxDB will never take these lines, or some of them. The text is what InfluxDB said.

    is_of_points: it surely speaks of points, not of the request. dropped: how many it says it left out;
    the others of the same write are stored. None if it does not say.
    """

    def __init__(self, words: str, is_of_points: bool, dropped: int | None) -> None:
        super().__init__(words)
        self.is_of_points = is_of_points
        self.dropped = dropped


@dataclass(frozen=True)
class Server:
    """What answers at the URL."""

    kind: Kind
    version: str


@dataclass(frozen=True)
class Row:
    """A row of an answer: the series it is of, and its columns. Times are nanoseconds."""

    measurement: str
    tags: dict[str, str]
    columns: dict[str, Any]


class Target:
    """The InfluxDB that the settings name. Threads may share it."""

    def __init__(self, settings: InfluxSettings) -> None:
        self.settings = settings
        self.client = InfluxDBClient(
            url=settings.url,
            token=settings.token.get_secret_value() or "none",
            org=settings.org,
            timeout=_TIMEOUT_MS,
        )
        self._writes = WriteService(self.client.api_client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self.client.close()

    def bucket(self, retention: Retention) -> str:
        """The bucket's name."""
        return bucket_name(self.settings.bucket, retention)

    def server(self) -> Server:
        """Ask what it is. Kept if nothing answers there."""
        ping = PingService(self.client.api_client)
        _, _, headers = self.ask(lambda: ping.get_ping_with_http_info(_return_http_data_only=False))
        told = {name.lower(): value for name, value in headers.items()}
        server = server_of(told.get("x-influxdb-version", ""), told.get("x-influxdb-build", ""))
        if server.kind == "unknown" and self._has_setup():
            return Server("2", server.version)  # somebody's own build: its version is "dev"
        return server

    def _has_setup(self) -> bool:
        """Whether it answers as only InfluxDB 2 does."""
        setup = SetupService(self.client.api_client)
        try:
            return isinstance(self.ask(setup.get_setup).allowed, bool)
        except (Kept, Refused, AttributeError):
            return False

    def write(self, retention: Retention, lines: Sequence[str]) -> None:
        """Write lines, times in nanoseconds. Kept or Refused if that can not be."""
        self.write_body(retention, compressed(lines))

    def write_body(self, retention: Retention, body: bytes) -> None:
        """The same with lines that are compressed() already."""
        try:
            _, status, _ = self.ask(
                lambda: self._writes.post_write_with_http_info(
                    org=self.settings.org,
                    bucket=self.bucket(retention),
                    body=body,
                    precision="ns",
                    content_encoding="gzip",
                    content_type=_TEXT,
                    _return_http_data_only=False,
                )
            )
        except Refused as refused:
            if not _TOO_OLD.search(str(refused)):
                raise
            return
        if status != _STORED:
            raise self._stranger(f"it answers a write with HTTP {status}")

    def query(self, text: str, *, is_change: bool = False) -> list[Row]:
        """Rows of an InfluxQL query. Kept if it can not be answered now, Refused if it is no query."""
        answer = self.ask(
            lambda: self.client.api_client.call_api(
                "/query",
                "POST" if is_change else "GET",
                {},
                [("db", self.settings.bucket), ("q", text), ("epoch", "ns")],
                {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"},
                response_type="object",
                _return_http_data_only=True,
            )
        )
        try:
            return list(_rows(answer))
        except _UNREADABLE as error:
            raise self._stranger("its answer to a query can not be read") from error

    def ask(self, call: Callable[[], _Found]) -> _Found:
        """Call the client; what goes wrong comes as Kept or Refused."""
        try:
            return call()
        except ApiException as error:
            raise self._meaning(error) from error
        except (HTTPError, OSError) as error:
            raise self._unreached(str(error)) from error
        except _UNREADABLE as error:
            raise self._stranger("its answer can not be read") from error

    def _unreached(self, why: str) -> Kept:
        return Kept(
            f"InfluxDB at {self.settings.url} can not be reached: {_short(why)}",
            "Is it running? [influx] url in the settings names it, with http or https.",
        )

    def _stranger(self, why: str, status: int | None = None) -> Kept:
        return Kept(
            f"what is at {self.settings.url} does not speak as InfluxDB does: {why}",
            "Is a proxy or a login page in between? [influx] url in the settings must name InfluxDB.",
            status=status,
        )

    def _meaning(self, error: ApiException) -> Kept | Refused:
        words = said(error)
        status = error.status
        bucket = self.settings.bucket
        if not status:
            return self._unreached(words)
        if 300 <= status < 400:
            return self._stranger(f"{words}. It sends us elsewhere", status)
        if status in _REFUSED:
            dropped = _DROPPED.search(words)
            return Refused(
                words,
                _OF_POINTS.search(words) is not None,
                None if dropped is None else int(dropped[1]),
            )
        if status == 401:
            return Kept(
                words,
                "The token is missing or wrong. NEEDLETRAIL_INFLUX__TOKEN holds it; "
                "needletrail influx setup makes one.",
                status=status,
            )
        if status == 403:
            return Kept(
                words,
                f"The token may not do that with {bucket} or {bucket}/{RAW_POLICY}. "
                "needletrail influx setup makes one that may.",
                status=status,
            )
        if status == 404 or "retention policy not found" in words:
            return Kept(
                words,
                f"The organisation or the bucket {bucket} or {bucket}/{RAW_POLICY} is missing. "
                "Make them: needletrail influx setup",
                status=status,
            )
        return Kept(words, retry_after_s=_seconds(error.retry_after), status=status)


def raw_from(settings: InfluxSettings, clock_utc_ms: Callable[[], int]) -> Callable[[], int | None]:
    """Since when InfluxDB keeps raw readings: asked each time, for it moves on. None: for ever."""

    def since() -> int | None:
        return clock_utc_ms() - settings.raw_days * _DAY_MS + _MARGIN_MS if settings.raw_days else None

    return since


def bucket_name(bucket: str, retention: Retention) -> str:
    """The bucket of a kind of measurements."""
    return bucket if retention == "long" else f"{bucket}/{RAW_POLICY}"


def compressed(lines: Sequence[str]) -> bytes:
    """Lines as a write carries them."""
    return gzip.compress("\n".join(lines).encode(), _LEVEL)


def server_of(version: str, build: str) -> Server:
    """What a version and a build that InfluxDB told mean."""
    number = version.lstrip("v")
    if number.startswith("1."):
        return Server("1", number)
    if number.startswith("2."):
        return Server("2", number)
    if number.startswith("3.") or build in ("Core", "Enterprise"):
        return Server("3", number)
    return Server("unknown", number)


def said(error: ApiException) -> str:
    """What went wrong, in InfluxDB's own words if it had any."""
    if not error.status:
        return str(error.reason)[:_WORDS_MOST]
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body or ""
    return f"HTTP {error.status} {error.reason}: {_short(body)}".rstrip(": ")


def _short(words: str) -> str:
    return " ".join(words.split())[:_WORDS_MOST]


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header; a date in it (RFC 9110, 10.2.3) counts as none."""
    if retry_after is None or not retry_after.strip().isdigit():
        return None
    return min(float(retry_after), _RETRY_AFTER_MOST_S)


def _rows(answer: Any) -> Any:
    for result in answer.get("results", []):
        if "error" in result:
            raise Refused(str(result["error"])[:_WORDS_MOST], False, None)
        for series in result.get("series", []):
            for values in series.get("values", ()):
                columns = dict(zip(series["columns"], values, strict=True))
                yield Row(series.get("name", ""), series.get("tags", {}), columns)
