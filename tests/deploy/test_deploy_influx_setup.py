"""Tokens reach the two files that gateway and Grafana read, and nobody else.

No InfluxDB 2 runs here. A program stands for `needletrail influx setup`: it answers with steps of that
command, in the command's own form.
"""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.compose_file import DEPLOY
from needletrail_gateway.desk import influx_commands
from needletrail_gateway.series.setup import Outcome, Step

STAND_IN = """\
#!{python}
import os, pathlib, sys
here = pathlib.Path(__file__).parent
by = os.environ["NEEDLETRAIL_INFLUX_ADMIN_TOKEN"]
(here / "asked").write_text(" ".join(sys.argv[1:]) + " by " + by)
print((here / "answer").read_text())
sys.exit(int((here / "code").read_text()))
"""


class Stage:
    """A folder with the stand-in, the administrator's token, and the tokens' folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        (folder / "admin").write_text("the administrator\n")
        program = folder / "needletrail"
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)

    def run(self, outcome: Outcome, *, code: int = 0) -> subprocess.CompletedProcess[str]:
        steps = [Step("there", "bucket needletrail, kept for ever")]
        for whose in ("gateway", "dashboards"):
            secret = f"token of the {whose}" if outcome == "made" else None
            steps.append(Step(outcome, f"token “Needletrail {whose}, needletrail”", secret))
        answer = {"dry_run": False, "steps": [influx_commands._statement(one) for one in steps]}
        (self.folder / "answer").write_text(json.dumps(answer))
        (self.folder / "code").write_text(str(code))
        script = DEPLOY / "gateway" / "influx_setup.py"
        return subprocess.run(
            [sys.executable, script, "gateway.toml", self.folder / "admin", self.tokens],
            env={"PATH": f"{self.folder}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def asked(self) -> str:
        return (self.folder / "asked").read_text()

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.tokens)): path.read_text()
            for path in self.tokens.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


BOTH = {
    "gateway/NEEDLETRAIL_INFLUX__TOKEN": "token of the gateway\n",
    "grafana": "token of the dashboards\n",
}


def test_tokens_are_asked_for_once_and_kept_where_they_are_read(stage: Stage) -> None:
    done = stage.run("made")
    assert (done.returncode, done.stderr) == (0, "")
    assert "token of" not in done.stdout
    assert stage.files() == BOTH
    assert {stat.S_IMODE((stage.tokens / name).stat().st_mode) for name in BOTH} == {0o600}
    assert stage.asked() == "influx setup --config gateway.toml --json --tokens by the administrator"
    assert stage.run("there").returncode == 0
    assert "--tokens" not in stage.asked()
    assert stage.files() == BOTH


def test_a_token_that_was_lost_is_told(stage: Stage) -> None:
    stage.run("made")
    (stage.tokens / "grafana").unlink()
    done = stage.run("there")
    assert done.returncode == 1
    assert "has a token for the dashboards already" in done.stderr
    assert "Delete that token in InfluxDB" in done.stderr


def test_the_commands_failure_is_its_own(stage: Stage) -> None:
    assert stage.run("made", code=2).returncode == 2
    assert stage.files() == {}


def test_the_files_are_those_that_the_others_read() -> None:
    compose = (DEPLOY / "compose.yaml").read_text()
    source = (DEPLOY / "grafana/provisioning/datasources/needletrail.yaml").read_text()
    unit = (DEPLOY / "systemd/needletrail-gateway.service").read_text()
    assert "/etc/needletrail/tokens/grafana}" in source
    assert "/etc/needletrail/tokens/gateway\n" in compose
    assert "/etc/needletrail/tokens/gateway/NEEDLETRAIL_INFLUX__TOKEN\n" in unit
