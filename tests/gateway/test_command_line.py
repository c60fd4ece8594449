"""`needletrail` as a person types it: exit codes, words, JSON, and never a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from needletrail_gateway import cli
from needletrail_gateway.record.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = ROOT / "tapes" / "bench" / "registry.toml"
TAPE = ROOT / "tapes" / "bench" / "01-cosmetic-within.csv"


@dataclass
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


Needletrail = Callable[..., Answer]


@pytest.fixture
def needletrail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Needletrail:
    """Type a command, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("NEEDLETRAIL_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["needletrail", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        code = ended.value.code
        return Answer(code if isinstance(code, int) else int(code is not None), *captured)

    return run


def unusable(answer: Answer, *said: str) -> str:
    """The words with which something given was refused."""
    assert answer.code == 2
    assert answer.out == ""
    for one in said:
        assert one in answer.err
    assert answer.err.startswith("needletrail: ")
    return answer.err


def broken_registry(tmp_path: Path) -> tuple[Path, int]:
    """A registry with an error, and the line of it."""
    text = REGISTRY.read_text().replace('medical_director = "md-01"', 'medical_director = "md-02"')
    path = tmp_path / "broken.toml"
    path.write_text(text)
    return path, next(n for n, line in enumerate(text.splitlines(), 1) if "md-02" in line)


# ---- registry import ----


def test_a_registry_is_imported_and_said_so(needletrail: Needletrail, tmp_path: Path) -> None:
    answer = needletrail("registry", "import", REGISTRY, "--ledger", "clinic.sqlite")
    assert answer.code == 0
    assert "Harbor Skin Clinic" in answer.out
    assert "6 practitioners" in answer.out
    ledger = Ledger.open(tmp_path / "clinic.sqlite")
    found = ledger.registry()
    assert found is not None
    assert len(found[1].practitioner) == 6
    assert ("pen-01", 1) in ledger.pen_keys()
    ledger.close()


def test_for_a_machine_it_is_one_json_document(needletrail: Needletrail) -> None:
    answer = needletrail("registry", "import", REGISTRY, "--ledger", "clinic.sqlite", "--json")
    said = json.loads(answer.out)
    assert answer.err == ""
    assert said["clinic"] == "harbor"
    assert (said["practitioners"], said["cartridge_lots"]) == (6, 3)


def test_importing_twice_gives_the_same_entry(needletrail: Needletrail) -> None:
    both = [
        json.loads(needletrail("registry", "import", REGISTRY, "--ledger", "c.sqlite", "--json").out)
        for _ in range(2)
    ]
    assert both[0]["entry"] == both[1]["entry"]
    assert len(both[0].pop("changes")) == 13
    assert both[1].pop("changes") == []
    assert both[0] == both[1]


def test_the_ledger_can_come_from_the_settings(needletrail: Needletrail, tmp_path: Path) -> None:
    Path("gateway.toml").write_text('[ledger]\nlocation = "from-settings.sqlite"\n')
    assert needletrail("registry", "import", REGISTRY, "--config", "gateway.toml").code == 0
    assert (tmp_path / "from-settings.sqlite").is_file()


def test_a_registry_with_an_error_changes_nothing(needletrail: Needletrail, tmp_path: Path) -> None:
    path, line = broken_registry(tmp_path)
    answer = needletrail("registry", "import", path, "--ledger", "clinic.sqlite")
    unusable(answer, f"{path}:{line}: clinic.medical_director", "md-02 is not registered")
    assert not Path("clinic.sqlite").exists()
    needletrail("registry", "import", REGISTRY, "--ledger", "clinic.sqlite")
    before = Path("clinic.sqlite").read_bytes()
    assert needletrail("registry", "import", path, "--ledger", "clinic.sqlite").code == 2
    assert Path("clinic.sqlite").read_bytes() == before


def test_a_registry_whose_pack_is_not_there_changes_nothing(
    needletrail: Needletrail, tmp_path: Path
) -> None:
    path = tmp_path / "registry.toml"
    path.write_text(REGISTRY.read_text().replace('policy = "default"', 'policy = "utah"'))
    answer = needletrail("registry", "import", path, "--ledger", "clinic.sqlite")
    unusable(answer, "no policy pack 'utah'", "Known packs: default")
    assert not Path("clinic.sqlite").exists()


@pytest.mark.parametrize("options", [[], ["--ledger", "a", "--config", "b"]])
def test_exactly_one_ledger_is_given(options: list[str], needletrail: Needletrail) -> None:
    unusable(needletrail("registry", "import", REGISTRY, *options), "either --config FILE or --ledger")


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (".", "not a ledger that can be used"),
        ("nowhere/clinic.sqlite", "does not exist"),
        (REGISTRY, "not a database"),
    ],
)
def test_a_ledger_that_can_not_be_used_is_told(
    location: object, said: str, needletrail: Needletrail
) -> None:
    answer = needletrail("registry", "import", REGISTRY, "--ledger", location)
    unusable(answer, str(location).split("/", maxsplit=1)[0], said)


@pytest.mark.parametrize("file", ["nowhere.toml", ".", TAPE])
def test_what_is_no_registry_is_told(file: object, needletrail: Needletrail) -> None:
    unusable(needletrail("registry", "import", file, "--ledger", "clinic.sqlite"), str(file))


# ---- gateway, play ----


def test_a_gateway_without_settings_is_told_where_to_start(needletrail: Needletrail) -> None:
    unusable(needletrail("gateway", "--config", "nowhere.toml"), "gateway.sample.toml is a start")


def test_a_gateway_with_wrong_settings_is_told_which(needletrail: Needletrail) -> None:
    Path("gateway.toml").write_text('[ledger]\nlocation = "x"\n[mqtt]\nprot = 1\n')
    unusable(needletrail("gateway", "--config", "gateway.toml"), "gateway.toml: mqtt.prot")


def test_a_gateway_without_a_registry_is_told_to_import_one(needletrail: Needletrail) -> None:
    Path("gateway.toml").write_text('[ledger]\nlocation = "clinic.sqlite"\n')
    unusable(needletrail("gateway", "--config", "gateway.toml"), "needletrail registry import")


def run_apart(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "needletrail_gateway", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_gateway_whose_broker_is_away_names_it(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text('[ledger]\nlocation = "c.sqlite"\n[mqtt]\nport = 1\n')
    imported = run_apart(tmp_path, "registry", "import", REGISTRY, "--config", "gateway.toml")
    assert imported.returncode == 0
    done = run_apart(tmp_path, "gateway", "--config", "gateway.toml")
    assert done.returncode == 1
    assert "broker at 127.0.0.1:1 can not be reached" in done.stderr
    assert "[mqtt] in gateway.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tape_with_an_error_is_told_with_file_and_line(
    needletrail: Needletrail, tmp_path: Path
) -> None:
    lines = TAPE.read_text().splitlines()
    lines[40] = lines[40].replace(",", ";", 1)
    (tmp_path / "bad.csv").write_text("\n".join(lines))
    unusable(needletrail("play", "bad.csv", "--registry", REGISTRY, "--json"), "bad.csv:41")


def test_a_tape_that_is_not_there_is_told(needletrail: Needletrail) -> None:
    unusable(needletrail("play", "nowhere.csv", "--registry", REGISTRY), "nowhere.csv")


def test_a_registry_with_an_error_stops_a_play(needletrail: Needletrail, tmp_path: Path) -> None:
    path, line = broken_registry(tmp_path)
    unusable(needletrail("play", TAPE, "--registry", path), f"{path}:{line}")


# ---- help and mistakes ----


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["play"], ["gateway"], ["registry"], ["registry", "import"]]
)
def test_every_command_explains_itself(command: list[str], needletrail: Needletrail) -> None:
    answer = needletrail(*command, "--help")
    assert answer.code == 0
    assert "Usage: needletrail" in answer.out
    assert len(answer.out.splitlines()) > 4


@pytest.mark.parametrize(
    "command",
    [
        ["dmeo"],
        ["play"],
        ["play", "x.csv"],
        ["gateway"],
        ["registry"],
        ["registry", "import"],
        ["demo", "--speed", "0"],
        ["demo", "--speed", "fast"],
        ["gateway", "--config"],
        ["--version-of-yesterday"],
    ],
)
def test_a_mistake_in_typing_exits_with_2(command: list[str], needletrail: Needletrail) -> None:
    answer = needletrail(*command)
    assert answer.code == 2
    assert "Usage: " in answer.err + answer.out or "Error: " in answer.err


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = run_apart(tmp_path, "--help")
    assert done.returncode == 0
    assert "Begin with: needletrail demo" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("registry", "export"),
        ("registry", "history"),
        ("alert", "list"),
        ("stock", "show"),
        ("explain", "pen-01-1-1"),
        ("rejudge", "--policy", "us-ca"),
        ("ledger", "forget", "c-0a1b2c3d", "--why", "asked for it"),
    ],
)
def test_a_ledger_that_is_not_there_is_an_error_and_none_is_made(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    place = tmp_path / "typo.sqlite"
    done = subprocess.run(
        [sys.executable, "-m", "needletrail_gateway", *command, "--ledger", str(place)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2, done.stderr
    assert "there is no such ledger" in done.stderr
    assert "Traceback" not in done.stderr
    assert not place.exists()


@pytest.mark.parametrize("command", [("ledger", "verify"), ("explain", "pen-01-1-1")])
def test_a_database_that_can_not_hold_a_ledger_is_refused_without_its_password(
    needletrail: Needletrail, command: tuple[str, ...]
) -> None:
    said = unusable(needletrail(*command, "--ledger", "oracle://u:hush@h/x"), "SQLite", "PostgreSQL")
    assert "hush" not in said


@pytest.mark.parametrize("command", [("ledger", "verify"), ("explain", "pen-01-1-1")])
def test_a_driver_that_is_not_there_is_told_with_how_to_install_it(
    needletrail: Needletrail, command: tuple[str, ...]
) -> None:
    url = "postgresql+pg8000://u:hush@h/x"  # a driver of PostgreSQL that is not ours
    said = unusable(needletrail(*command, "--ledger", url), "pg8000", "pip install", "[postgresql]")
    assert "hush" not in said
