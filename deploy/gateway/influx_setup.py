#!/opt/needletrail/bin/python
"""Sets InfluxDB up once, and puts its two tokens where gateway and Grafana look for them.

influx_setup.py CONFIG ADMIN_TOKEN_FILE FOLDER runs `needletrail influx setup` with the administrator's
token. InfluxDB shows a token only when it is made, so the tokens are asked for only while a file is
missing, and go into the folder at once: gateway/NEEDLETRAIL_INFLUX__TOKEN (may write) and grafana (may
read). Nobody else sees them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FILES = {"gateway": "gateway/NEEDLETRAIL_INFLUX__TOKEN", "dashboards": "grafana"}


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 if all is there now; that of the command if not, and 1 if a token is lost."""
    config, admin_token, folder = map(Path, arguments)
    missing = [whose for whose, file in FILES.items() if not (folder / file).exists()]
    command = ["needletrail", "influx", "setup", "--config", str(config), "--json"]
    done = subprocess.run(
        [*command, *(["--tokens"] if missing else [])],
        env=os.environ | {"NEEDLETRAIL_INFLUX_ADMIN_TOKEN": admin_token.read_text().strip()},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return done.returncode
    for step in json.loads(done.stdout)["steps"]:
        print(f"{step['outcome']:8} {step['text']}", flush=True)
        if step["token"] is not None:
            (whose,) = [whose for whose in FILES if whose in step["text"]]
            write(folder / FILES[whose], step["token"])
    lost = [whose for whose in missing if not (folder / FILES[whose]).exists()]
    for whose in lost:
        print(
            f"influx_setup: InfluxDB has a token for the {whose} already, and {folder / FILES[whose]} "
            "is not here. Delete that token in InfluxDB, then run this again.",
            file=sys.stderr,
        )
    return 1 if lost else 0


def write(path: Path, text: str) -> None:
    """A file for its owner alone, whole or not at all."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: influx_setup.py CONFIG ADMIN_TOKEN_FILE FOLDER")
    sys.exit(main(sys.argv[1:]))
