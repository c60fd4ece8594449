"""A write to a real InfluxDB is accepted, refused or kept; what is refused holds up nothing else."""

import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from end_to_end.influx_bench import BUCKET, InfluxBench
from gateway_clinic import NOW_UTC_MS
from sqlalchemy.exc import OperationalError

from needletrail_gateway.record.ledger import Ledger
from needletrail_gateway.series import sending
from needletrail_gateway.series.sending import Part, Sender, parts_of, send
from needletrail_gateway.series.target import Kept, Refused, Server, Target, raw_from, server_of
from needletrail_gateway.shell.settings import InfluxSettings


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxBench]:
    """A real InfluxDB with its buckets."""
    started = InfluxBench(tmp_path_factory.mktemp("bench") / "influx")
    started.start()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def target(bench: InfluxBench) -> Iterator[Target]:
    """The same, with nothing in it."""
    bench.query(f'DROP DATABASE "{BUCKET}"', "POST")
    bench.make_buckets()
    with Target(InfluxSettings(url=bench.url)) as opened:
        yield opened


def lines(count: int, first: int = 1) -> list[str]:
    return [f'pass,clinic=c number=1i,session="s" {first + number}' for number in range(count)]


def test_lines_go_to_their_buckets(bench: InfluxBench, target: Target) -> None:
    for part in parts_of(raw=lines(3), long=lines(2)):
        assert send(target, part) == []
    assert bench.count("pass", "number") == 2
    assert bench.count("pass", "number", "raw") == 3


@pytest.mark.parametrize("at", [0, 2_500, 4_999])
def test_a_line_of_another_type_is_found_and_the_rest_arrives(
    at: int, bench: InfluxBench, target: Target
) -> None:
    target.write("long", lines(1))
    batch = lines(5_000)
    bad = batch[at] = f'pass,clinic=c number="one" {at + 1}'
    [rejected] = send(target, Part("long", batch))
    assert rejected.line == bad
    assert "field type conflict" in rejected.words
    assert bench.count("pass", "number") == 4_999 + (at == 0)


def test_lines_that_can_not_be_read_are_found_and_the_rest_arrives(
    bench: InfluxBench, target: Target
) -> None:
    batch = lines(2_000)
    batch[7], batch[1_500] = "pass,clinic= number=1i 8", "nonsense"
    rejected = send(target, Part("long", batch))
    assert [one.line for one in rejected] == [batch[7], batch[1_500]]
    assert "unable to parse" in rejected[0].words
    assert bench.count("pass", "number") == 1_998


def test_if_all_lines_are_of_another_type_no_time_is_lost(
    bench: InfluxBench, target: Target, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.write("long", lines(1))
    writes = []
    write_body = target.write_body
    monkeypatch.setattr(target, "write_body", lambda *part: (writes.append(1), write_body(*part)))
    batch = [f'pass,clinic=c number="one" {number}' for number in range(2, 1_002)]
    sender = Sender(ledger, target, lambda: NOW_UTC_MS)
    sender.write(Part("long", batch))
    assert len(writes) == 1
    assert sender.rejected == len(ledger.quarantined(most=2_000)) == 1_000


def test_what_is_refused_is_in_the_quarantine_with_influxdbs_words(
    bench: InfluxBench, target: Target, ledger: Ledger
) -> None:
    target.write("long", lines(1))
    Sender(ledger, target, lambda: NOW_UTC_MS).write(
        Part("long", [*lines(9, 2), 'pass,clinic=c number="one" 99'])
    )
    [row] = ledger.quarantined()
    assert row["reason"] == sending.REFUSED
    assert row["received_utc_ms"] == NOW_UTC_MS
    assert row["message"] == b'pass,clinic=c number="one" 99'
    assert row["detail"].startswith("HTTP 400 Bad Request: ")
    assert "field type conflict" in row["detail"]
    assert ledger.tallies()[f"refused {sending.REFUSED}"] == 1
    assert bench.count("pass", "number") == 10


def test_points_older_than_a_bucket_keeps_are_no_trouble(bench: InfluxBench, target: Target) -> None:
    bench.query(f'ALTER RETENTION POLICY "raw" ON "{BUCKET}" DURATION 1d SHARD DURATION 1h', "POST")
    new_ns = 4_000_000_000 * 10**9
    assert send(target, Part("raw", [*lines(5), *lines(3, new_ns)])) == []
    assert bench.count("pass", "number", "raw") == 3


@pytest.mark.parametrize(
    ("bucket", "retention"), [("elsewhere", "long"), (BUCKET, "raw")], ids=["bucket", "raw bucket"]
)
def test_a_missing_bucket_keeps_everything_and_says_what_to_do(
    bucket: str, retention: str, bench: InfluxBench, target: Target
) -> None:
    bench.query(f'DROP RETENTION POLICY "raw" ON "{BUCKET}"', "POST")
    with Target(InfluxSettings(url=bench.url, bucket=bucket)) as other, pytest.raises(Kept) as kept:
        send(other, Part(retention, lines(10)))
    assert "needletrail influx setup" in kept.value.remedy
    assert "not found" in str(kept.value)


def test_an_influxdb_that_is_down_keeps_everything(tmp_path: Path) -> None:
    down = InfluxBench(tmp_path / "down")
    with Target(InfluxSettings(url=down.url)) as other, pytest.raises(Kept) as kept:
        send(other, Part("long", lines(10)))
    assert "can not be reached" in str(kept.value)
    assert "url" in kept.value.remedy


def test_it_says_what_it_is(target: Target) -> None:
    assert target.server().kind == "1"


def test_a_query_that_is_none_is_refused(target: Target) -> None:
    with pytest.raises(Refused, match="error parsing query"):
        target.query("SELEKT 1")


@pytest.mark.parametrize(
    ("version", "build", "kind"),
    [
        ("1.8.10", "OSS", "1"),
        ("v2.7.11", "OSS", "2"),
        ("2.7.1", "OSS", "2"),
        ("3.3.0", "Core", "3"),
        ("", "", "unknown"),
    ],
)
def test_kinds_of_influxdb(version: str, build: str, kind: str) -> None:
    assert server_of(version, build) == Server(kind, version.lstrip("v"))


def test_raw_readings_are_kept_for_so_many_days() -> None:
    settings = InfluxSettings(url="http://x", raw_days=2)
    since = raw_from(settings, lambda: NOW_UTC_MS)()
    assert since is not None and 0 < since - (NOW_UTC_MS - 2 * 86_400_000) <= 3_600_000
    assert raw_from(InfluxSettings(url="http://x", raw_days=0), lambda: NOW_UTC_MS)() is None


# ---- answers that this InfluxDB does not give ----


class Answers(BaseHTTPRequestHandler):
    """Answers with what the test has put down."""

    said: tuple[int, dict[str, str], bytes] = (500, {}, b"")
    asked = 0

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        type(self).asked += 1
        status, headers, body = self.said
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[Target]:
    """An InfluxDB that says what `Answers.said` says."""
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        Answers.asked = 0
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with Target(InfluxSettings(url=f"http://127.0.0.1:{server.server_address[1]}")) as opened:
            yield opened
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "remedy"),
    [
        (401, b'{"code":"unauthorized","message":"unauthorized access"}', "NEEDLETRAIL_INFLUX__TOKEN"),
        (403, b'{"code":"forbidden","message":"insufficient permissions"}', "token"),
        (404, b'{"code":"not found","message":"bucket \\"needletrail\\" not found"}', "influx setup"),
        (500, b'{"error":"timeout"}', ""),
        (502, b"<html>Bad Gateway</html>", ""),
        (503, b'{"code":"unavailable"}', ""),
    ],
)
def test_what_is_not_about_the_points_keeps_them(
    status: int, body: bytes, remedy: str, answering: Target
) -> None:
    Answers.said = (status, {}, body)
    with pytest.raises(Kept) as kept:
        send(answering, Part("long", lines(10)))
    assert kept.value.status == status
    assert remedy in kept.value.remedy
    assert Answers.asked == 1


HTML = b"<html><title>Anmelden f\xfcr Internet</title></html>"


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {"Content-Type": "text/html"}, HTML),
        (200, {}, b""),
        (202, {}, b""),
        (500, {"Content-Type": "text/html"}, HTML),
        (400, {"Content-Type": "text/html"}, HTML),
        (301, {"Location": "/login"}, b""),
        (302, {"Location": "/login"}, b""),
        (307, {"Location": "/login"}, HTML),
    ],
)
def test_somebody_else_who_answers_takes_no_points_away(
    status: int, headers: dict[str, str], body: bytes, answering: Target
) -> None:
    """Only 204 says that points are stored: a login page says 200 to everything."""
    Answers.said = (status, headers, body)
    with pytest.raises(Kept, match="does not speak as InfluxDB does") as kept:
        send(answering, Part("long", lines(10)))
    assert "url" in kept.value.remedy
    assert Answers.asked == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<html>hello</html>",
        HTML,
        b"",
        b"[1, 2]",
        b'{"results": 7}',
        b'{"results": [{"series": [{"columns": ["a"], "values": [[1, 2]]}]}]}',
        b'{"results": [{"series": [7]}]}',
    ],
)
def test_an_answer_to_a_query_that_is_none_is_no_traceback(body: bytes, answering: Target) -> None:
    Answers.said = (200, {"Content-Type": "application/json"}, body)
    with pytest.raises(Kept, match="does not speak as InfluxDB does"):
        answering.query("SHOW DATABASES")
    assert answering_kind(answering) in ("unknown", "nobody")


def answering_kind(target: Target) -> str:
    try:
        return target.server().kind
    except Kept:
        return "nobody"


def test_a_204_that_says_something_is_one(answering: Target) -> None:
    Answers.said = (204, {"X-Influxdb-Error": "partial write: dropped=3"}, b"")
    assert send(answering, Part("long", lines(10))) == []


def test_https_against_http_says_so(answering: Target) -> None:
    url = answering.settings.url.replace("http:", "https:")
    with Target(InfluxSettings(url=url)) as other, pytest.raises(Kept) as kept:
        send(other, Part("long", lines(1)))
    assert "\n" not in str(kept.value)
    assert "http or https" in kept.value.remedy


def test_what_is_refused_waits_while_the_quarantine_can_not_be_written(
    answering: Target, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OperationalError(
            "INSERT", {"message": "secret"}, sqlite3.OperationalError("disk is full")
        )

    words = b'{"code":"unprocessable entity","message":"partial write: dropped=10"}'
    Answers.said = (422, {}, words)
    sender = Sender(ledger, answering, lambda: NOW_UTC_MS)
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "commit", full)
        with pytest.raises(Kept, match="disk is full") as kept:
            sender.write(Part("long", lines(10)))
        assert "secret" not in str(kept.value)
        assert sender.rejected == 0
    sender.write(Part("long", lines(10)))
    assert sender.rejected == len(ledger.quarantined()) == 10


def test_influxdb_says_when_it_wants_to_be_asked_again(answering: Target) -> None:
    Answers.said = (429, {"Retry-After": "7"}, b'{"code":"too many requests"}')
    with pytest.raises(Kept) as kept:
        send(answering, Part("long", lines(10)))
    assert kept.value.retry_after_s == 7
    Answers.said = (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"")
    with pytest.raises(Kept) as kept:
        send(answering, Part("long", lines(10)))
    assert kept.value.retry_after_s is None


@pytest.mark.parametrize("count", [1, 1_000])
def test_a_request_that_is_refused_whole_throws_nothing_away(count: int, answering: Target) -> None:
    Answers.said = (400, {}, b'{"code":"invalid","message":"no such organisation"}')
    with pytest.raises(Kept, match="refuses everything") as kept:
        send(answering, Part("long", lines(count)))
    assert "url, org and bucket" in kept.value.remedy
    assert Answers.asked < 40


def test_a_write_that_says_how_many_it_dropped_took_the_others(answering: Target) -> None:
    words = 'partial write: field type conflict: input field \\"number\\" dropped=10'
    Answers.said = (422, {}, b'{"code":"unprocessable entity","message":"%s"}' % words.encode())
    assert len(send(answering, Part("long", lines(10)))) == 10
    assert Answers.asked == 1


def test_waits_grow_and_differ_and_patience_ends(
    answering: Target, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    sender = Sender(ledger, answering, lambda: NOW_UTC_MS, patience_s=0.2)
    monkeypatch.setattr(sender._stopped, "wait", waited.append)
    for _ in range(12):
        sender.wait(Kept("away"))
    assert waited[0] <= 0.5 and waited[-1] <= 30
    assert all(1 <= later / sooner <= 4 for sooner, later in pairwise(waited[:6]))
    assert len(set(waited)) == len(waited)
    Answers.said = (500, {}, b"")
    monkeypatch.undo()
    monkeypatch.setattr(sending, "_RETRY_MOST_S", 0.02)
    impatient = Sender(ledger, answering, lambda: NOW_UTC_MS, patience_s=0.1)
    impatient._retry_s = 0.01
    with pytest.raises(Kept):
        impatient.write_all([Part("long", lines(1))])
