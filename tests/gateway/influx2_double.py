"""A stand-in for InfluxDB 2's administration, as far as `needletrail influx setup` needs it.

No InfluxDB 2 can be installed where the tests run. This one holds each request to the published API
description (OpenAPI of InfluxDB OSS 2.7): paths, parameters, required and known properties, enums. What
it answers where the description leaves it open (404 for a bucket that is asked for by name) is what
InfluxDB 2 was seen to answer.
"""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

TOKEN = "admin-token"
ORG = "clinic"

# Of each request body: what must be there, and what may be.
_RULE = ({"everySeconds"}, {"type", "everySeconds", "shardGroupDurationSeconds"})
_BODIES: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    ("POST", "buckets"): (
        {"orgID", "name"},
        {"orgID", "name", "description", "rp", "retentionRules", "schemaType"},
    ),
    ("PATCH", "buckets"): (set(), {"name", "description", "retentionRules"}),
    ("POST", "dbrps"): (
        {"bucketID", "database", "retention_policy", "orgID"},
        {"bucketID", "database", "retention_policy", "orgID", "org", "default"},
    ),
    ("PATCH", "dbrps"): (set(), {"retention_policy", "default"}),
    ("POST", "authorizations"): (
        {"orgID", "permissions"},
        {"orgID", "permissions", "status", "description", "userID"},
    ),
}
_QUERIES = {
    "orgs": {"org", "orgID", "userID", "limit", "offset", "descending"},
    "buckets": {"name", "org", "orgID", "id", "limit", "offset", "after"},
    "dbrps": {"orgID", "org", "id", "bucketID", "default", "db", "rp"},
    "authorizations": {"userID", "user", "orgID", "org"},
}


class Influx2:
    """`with Influx2() as influx:` serves at `influx.url`; its tables can be looked at and changed."""

    def __init__(self) -> None:
        self.orgs = [{"id": "0a", "name": ORG}]
        self.buckets: list[dict[str, Any]] = []
        self.dbrps: list[dict[str, Any]] = []
        self.authorizations: list[dict[str, Any]] = []
        self.changes: list[tuple[str, str, Any]] = []  # method, table, body
        self.version = "v2.7.11"
        self._ids = count(1)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def bucket(self, name: str, seconds: int) -> dict[str, Any]:
        """Make a bucket."""
        rules = [{"type": "expire", "everySeconds": seconds}] if seconds else []
        made = {"id": f"b{next(self._ids)}", "orgID": "0a", "name": name, "retentionRules": rules}
        self.buckets.append(made)
        return made

    def answer(self, method: str, table: str, row: str, query: dict[str, str], body: Any) -> Any:
        """(status, what is said)."""
        if method == "GET":
            assert not row and query.keys() <= _QUERIES[table], (table, query)
            return self._listed(table, query)
        required, known = _BODIES[method, table]
        assert required <= body.keys() <= known, (table, body)
        self.changes.append((method, table, body))
        change: Callable[[str, dict[str, Any]], Any] = getattr(self, f"_{method.lower()}_{table}")
        return change(row, body)

    def _listed(self, table: str, query: dict[str, str]) -> Any:
        rows: list[dict[str, Any]] = getattr(self, table)
        if table == "orgs":
            rows = [one for one in rows if one["name"] == query.get("org", one["name"])]
            return (200, {"orgs": rows}) if rows else _missing(f'organization name "{query["org"]}"')
        assert query.get("orgID") == "0a", "the organisation must be named"
        if table == "buckets":
            rows = [one for one in rows if one["name"] == query.get("name", one["name"])]
            return (200, {"buckets": rows}) if rows else _missing(f'bucket "{query.get("name")}"')
        if table == "dbrps":
            explicit = {(one["database"], one["retention_policy"]) for one in rows}
            found = [one for one in rows + self._virtual(explicit) if one["database"] == query["db"]]
            return 200, {"content": found}
        return 200, {"authorizations": rows}

    def _virtual(self, explicit: set[tuple[str, str]]) -> list[dict[str, Any]]:
        """Mappings that each bucket has by its name, unless there is one."""
        found = []
        for bucket in self.buckets:
            database, _, policy = bucket["name"].partition("/")
            if (database, policy or "autogen") not in explicit:
                found.append(
                    {
                        "id": bucket["id"],
                        "orgID": "0a",
                        "bucketID": bucket["id"],
                        "database": database,
                        "retention_policy": policy or "autogen",
                        "default": not policy,
                        "virtual": True,
                    }
                )
        return found

    def _post_buckets(self, _row: str, body: dict[str, Any]) -> Any:
        self._check_rules(body)
        seconds = sum(rule["everySeconds"] for rule in body.get("retentionRules", []))
        return 201, self.bucket(body["name"], seconds)

    def _patch_buckets(self, row: str, body: dict[str, Any]) -> Any:
        self._check_rules(body)
        [bucket] = [one for one in self.buckets if one["id"] == row]
        bucket |= body
        return 200, bucket

    def _check_rules(self, body: dict[str, Any]) -> None:
        for rule in body.get("retentionRules", []):
            assert _RULE[0] <= rule.keys() <= _RULE[1]
            assert rule.get("type", "expire") == "expire"
            assert rule["everySeconds"] == 0 or rule["everySeconds"] >= 3_600

    def _post_dbrps(self, _row: str, body: dict[str, Any]) -> Any:
        assert body["bucketID"] in {one["id"] for one in self.buckets}
        made = {"id": f"d{next(self._ids)}", "default": False} | body
        self.dbrps.append(made)
        return 201, made

    def _patch_dbrps(self, row: str, body: dict[str, Any]) -> Any:
        [mapping] = [one for one in self.dbrps if one["id"] == row]
        mapping |= body
        return 200, {"content": mapping}

    def _post_authorizations(self, _row: str, body: dict[str, Any]) -> Any:
        assert body["permissions"]
        for permission in body["permissions"]:
            assert permission.keys() == {"action", "resource"}
            assert permission["action"] in ("read", "write")
            assert permission["resource"]["type"] == "buckets"
        made = body | {"id": f"a{next(self._ids)}", "token": f"token {len(self.authorizations)}"}
        self.authorizations.append(made)
        return 201, made


def _missing(what: str) -> tuple[int, dict[str, str]]:
    return 404, {"code": "not found", "message": f"{what} not found"}


def _handler(influx: Influx2) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = json.loads(self.rfile.read(length)) if length else None
            address = urlsplit(self.path)
            if address.path == "/ping":
                self._say(204, None)
                return
            if self.headers["Authorization"] != f"Token {TOKEN}":
                self._say(401, {"code": "unauthorized", "message": "unauthorized access"})
                return
            try:
                _, api, version, table, *row = address.path.split("/")
                assert (api, version) == ("api", "v2")
                query = dict(parse_qsl(address.query, strict_parsing=bool(address.query)))
                if self.command != "GET":
                    assert self.headers["Content-Type"] == "application/json"
                status, said = influx.answer(self.command, table, "".join(row), query, body)
            except (AssertionError, KeyError, ValueError) as error:
                status, said = 400, {"code": "invalid", "message": f"not in the API: {error!r}"}
            self._say(status, said)

        do_GET = do_POST = do_PATCH = _answer

        def _say(self, status: int, said: Any) -> None:
            body = b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("X-Influxdb-Version", influx.version)
            self.send_header("X-Influxdb-Build", "OSS")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
