"""A real InfluxDB for tests: Debian's 1.6.7, with nginx in front that speaks /api/v2/write.

A bucket `db/rp` is a database and its retention policy, as InfluxDB 1.8 has it; `db` alone is the
database's default policy.
"""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from needletrail_gateway.bench.broker import free_port

BUCKET = "needletrail"

_INFLUX = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[logging]
  level = "error"
"""

_NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_processes 1;
events {{}}
http {{
  map $arg_bucket $database {{
    ~^(?<db>[^%/]+) $db;
  }}
  map $arg_bucket $policy {{
    ~(%2F|/)(?<rp>.+)$ $rp;
    default "";
  }}
  access_log off;
  client_max_body_size 64m;
  client_body_buffer_size 64m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /api/v2/write {{
      rewrite ^ /write?db=$database&rp=$policy&precision=$arg_precision? break;
      proxy_pass http://127.0.0.1:{influx};
    }}
    location = /ping {{
      proxy_pass http://127.0.0.1:{influx};
    }}
    location = /query {{
      proxy_pass http://127.0.0.1:{influx};
    }}
  }}
}}
"""


class InfluxBench:
    """InfluxDB and nginx as processes of our own. `url` is what users would configure."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._influx_port = free_port()
        nginx_port = free_port()
        self.url = f"http://127.0.0.1:{nginx_port}"
        (folder / "influxdb.conf").write_text(
            _INFLUX.format(folder=folder, port=self._influx_port, rpc=free_port())
        )
        (folder / "nginx.conf").write_text(
            _NGINX.format(folder=folder, port=nginx_port, influx=self._influx_port)
        )
        self._influxd: subprocess.Popen[bytes] | None = None
        self._nginx: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start both, and make the buckets as `needletrail influx setup` does."""
        self.start_empty()
        self.make_buckets()

    def make_buckets(self) -> None:
        """The database and the policy of raw readings: for ever, so that tapes of any day fit."""
        self.query(f'CREATE DATABASE "{BUCKET}"', method="POST")
        self.query(f'CREATE RETENTION POLICY "raw" ON "{BUCKET}" DURATION INF REPLICATION 1', "POST")

    def start_empty(self) -> None:
        """Start both. There is no bucket yet."""
        self.start_influxd()
        self._nginx = subprocess.Popen(
            [_program("nginx"), "-p", self._folder, "-c", self._folder / "nginx.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _await_answer(f"{self.url}/ping", self._nginx)

    def start_influxd(self) -> None:
        """Start InfluxDB alone; its data is what it was."""
        with (self._folder / "influxd.log").open("ab") as log:
            self._influxd = subprocess.Popen(
                [_program("influxd"), "-config", self._folder / "influxdb.conf"], stdout=log, stderr=log
            )
        _await_answer(f"http://127.0.0.1:{self._influx_port}/ping", self._influxd)

    def kill_influxd(self) -> None:
        """End InfluxDB at once; nginx stays and answers 502."""
        if self._influxd is not None:
            self._influxd.kill()
            self._influxd.wait()
            self._influxd = None

    def stop(self) -> None:
        """End both."""
        self.kill_influxd()
        if self._nginx is not None:
            self._nginx.terminate()
            self._nginx.wait()
            self._nginx = None

    def query(self, text: str, method: str = "GET") -> list[dict[str, Any]]:
        """Rows of an InfluxQL query, tags and columns together."""
        arguments = urllib.parse.urlencode({"db": BUCKET, "q": text, "epoch": "ns"})
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._influx_port}/query?{arguments}", method=method
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            results = json.load(response)["results"]
        rows = []
        for result in results:
            assert "error" not in result, result
            for series in result.get("series", []):
                for values in series.get("values", ()):
                    row = dict(zip(series["columns"], values, strict=True))
                    rows.append(row | series.get("tags", {}))
        return rows

    def count(self, measurement: str, field: str, policy: str = "autogen") -> int:
        """How many points of a measurement there are."""
        rows = self.query(f'SELECT count("{field}") AS n FROM "{policy}"."{measurement}"')
        return int(rows[0]["n"]) if rows else 0

    def environment(self) -> dict[str, str]:
        """What makes a gateway write here."""
        return {
            "NEEDLETRAIL_INFLUX__URL": self.url,
            "NEEDLETRAIL_INFLUX__BUCKET": BUCKET,
            "NEEDLETRAIL_INFLUX__RAW_DAYS": "0",
        }


def _await_answer(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > deadline_s or process.poll() is not None:
                raise
            time.sleep(0.05)


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    assert found is not None, f"{name} is missing; `make setup` installs it"
    return found
