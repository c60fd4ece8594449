"""`needletrail pen build` and `pen key`: what is compiled, what is left out, and what stops it."""

import hashlib
import json
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from workshop_desk import Needletrail, keyboard

from needletrail_gateway.workshop import build as building
from needletrail_gateway.workshop import bundle
from needletrail_gateway.workshop.errors import ToolError, WorkshopError

DEVICE = Path(__file__).resolve().parents[2] / "device"

MODULES = {
    "firmware.py": "from needletrail_device import middle\ndef main():\n    return middle.value()\n",
    "main.py": '"""Starts."""\nSLOTS = 2\n\n\ndef main() -> int:\n    """Run."""\n    return SLOTS\n',
    "boards/__init__.py": "",
    "boards/one.py": 'NAME = "one"\n\n\ndef dial():\n    return 1\n',
    "boards/two.py": 'from boards import shared\nNAME = "two"\ndef dial():\n    return shared.PIN\n',
    "boards/shared.py": "PIN = 7\n",
    "needletrail_device/__init__.py": "",
    "needletrail_device/middle.py": (
        "from needletrail_protocol import cbor\n"
        "TYPE_CHECKING = False\n"
        "if TYPE_CHECKING:\n    from needletrail_device import for_types\n"
        'LATE = ("needletrail_device.late",)\n\n\n'
        "def value():\n    return [__import__(one) for one in LATE], cbor.encode(1)\n"
    ),
    "needletrail_device/late.py": "LATE = 1\n",
    "needletrail_device/for_types.py": "TYPES = 1\n",
    "needletrail_device/unused.py": "UNUSED = 1\n",
}


@pytest.fixture
def needletrail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Needletrail:
    """Type a command, in an empty folder."""
    return keyboard(monkeypatch, capsys, tmp_path)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A small firmware with two boards."""
    folder = tmp_path / "device"
    for path, text in MODULES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


# ---- what a board needs ----


def test_only_what_is_imported_at_run_time_goes_along(device: Path) -> None:
    found = set(building.sources("two", device))
    protocol = {path for path in found if path.startswith("needletrail_protocol/")}
    assert found - protocol == {
        "firmware.py",
        "boards/__init__.py",
        "boards/two.py",
        "boards/shared.py",
        "needletrail_device/__init__.py",
        "needletrail_device/middle.py",
        "needletrail_device/late.py",
    }
    assert "needletrail_protocol/cbor.py" in protocol
    assert "needletrail_protocol/measure.py" not in protocol
    assert "boards/shared.py" not in building.sources("one", device)


def test_a_board_is_a_file_that_says_its_own_name(device: Path) -> None:
    assert building.boards(device) == ["one", "two"]
    assert "virtual" in building.boards(DEVICE)
    with pytest.raises(WorkshopError, match=r"no board 'three'.* one, two"):
        building.sources("three", device)


@pytest.mark.parametrize(("board", "missing"), [("virtual", building.OF_PENS), ("esp32_s3", ())])
def test_every_module_of_the_real_firmware_is_found(board: str, missing: tuple[str, ...]) -> None:
    """Nothing that the running firmware imports is missing from the set, but what its board has not."""
    found = building.sources(board, DEVICE)
    left_out = set()
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in found}
    for text in found.values():
        for line in text.splitlines():
            words = line.split()
            if (
                words[:1] == ["from"]
                and words[2:3] == ["import"]
                and words[1].startswith("needletrail")
            ):
                left_out |= {words[1]} - modules
    assert left_out == set(missing)
    assert f"boards/{board}.py" in found
    assert "main.py" not in found


# ---- what comes out ----


def test_the_slot_is_as_main_wants_it(device: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    built = building.build("one", out, 3, "0.3.0", device=device)
    lines = (out / "slots" / "a" / "manifest").read_text().splitlines()
    assert lines[0] == "3 0.3.0"
    named = dict(reversed(line.split("  ")) for line in lines[1:])
    files = {
        path.relative_to(out / "slots" / "a").as_posix(): path.read_bytes()
        for path in (out / "slots" / "a").rglob("*.mpy")
    }
    assert named == {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    assert {data[:2] for data in files.values()} == {b"M\x06"}
    main = (out / "main.py").read_text()
    said: dict[str, Any] = {}
    exec(main, said)
    assert said["main"]() == 2
    assert len(main.splitlines()) == 3 and "SLOTS" not in main  # shrunk, below a line that says so
    assert (out / "slots" / "state.a").read_bytes() == (out / "slots" / "state.b").read_bytes()
    assert built.total_bytes == sum(map(len, files.values()))
    assert list(built.sizes.values()) == sorted(built.sizes.values(), reverse=True)
    assert built.bundle is None
    assert building.read_build(out) == built
    assert list(building.flash_files(out))[-1] == "main.py"


def test_bytecode_does_what_its_source_does(device: Path, tmp_path: Path, micropython: Path) -> None:
    out = tmp_path / "out"
    building.build("two", out, 1, "0.1.0", device=device)
    program = (
        "import sys; sys.path[:] = ['slots/a']; import firmware; print(firmware.main()[1]); "
        "from boards import two; print(two.dial())"
    )
    command = [micropython, "-c", program]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("b'\\x01'\n7\n", "")


def test_the_same_sources_give_the_same_bytes(device: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        building.build("one", tmp_path / name, 1, "0.1.0", device=device)
    assert building.flash_files(tmp_path / "one") == building.flash_files(tmp_path / "other")


def test_what_an_earlier_build_left_is_gone(device: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    building.build("two", out, 1, "0.1.0", device=device)
    (out / "notes.txt").write_text("mine")
    building.build("one", out, 1, "0.1.0", device=device)
    assert not (out / "slots" / "a" / "boards" / "two.mpy").exists()
    assert (out / "notes.txt").read_text() == "mine"


def test_a_key_gives_a_bundle_and_a_firmware_that_takes_the_next(device: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    bundle.make_key(key)
    out = tmp_path / "out"
    built = building.build("one", out, 2, "0.2.0", key, device=device)
    assert built.bundle == "needletrail-one-0.2.0.bundle"
    found = bundle.read((out / built.bundle).read_bytes())
    modulus = bundle.public_modulus(key)
    assert found.is_signed_by(modulus)
    assert (found.version, found.text, found.board) == (2, "0.2.0", "one")
    assert (out / "slots" / "a" / "update.key").read_bytes() == modulus
    assert "slots/a/update.key" in building.flash_files(out)


@pytest.mark.parametrize("changed", ["slots/a/firmware.mpy", "slots/a/manifest", "slots/state.a"])
def test_a_folder_that_was_changed_is_not_flashed(changed: str, device: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    building.build("one", out, 1, "0.1.0", device=device)
    path = out / changed
    if changed.endswith(".mpy"):
        path.write_bytes(path.read_bytes() + b"\0")
    else:
        path.unlink()
    with pytest.raises(WorkshopError, match="Build the firmware again"):
        building.flash_files(out)


# ---- what stops it ----


def test_what_micropython_can_not_compile_is_told_with_file_line_and_cause(
    device: Path, tmp_path: Path
) -> None:
    late = device / "needletrail_device" / "late.py"
    late.write_text("LATE = 1\n\n\ndef late():\n    match LATE:\n        case 1:\n            pass\n")
    (device / "firmware.py").write_text(
        "from needletrail_device.late import late\n\n\ndef main():\n    late()\n"
    )
    with pytest.raises(WorkshopError) as caught:
        building.build("one", tmp_path / "out", 1, "0.1.0", device=device)
    assert "needletrail_device/late.py:5: mpy-cross: SyntaxError" in str(caught.value)
    assert "match LATE:" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_no_python_is_told(device: Path, tmp_path: Path) -> None:
    (device / "boards" / "one.py").write_text('\nNAME = "one"\ndef dial(:\n')
    with pytest.raises(WorkshopError, match=r"one\.py:3: "):
        building.build("one", tmp_path / "out", 1, "0.1.0", device=device)


def test_whoever_develops_has_the_workshop() -> None:
    """pip can not be asked for an extra of the project that it is just installing."""
    project = tomllib.loads((DEVICE.parent / "pyproject.toml").read_text())
    extra = project["project"]["optional-dependencies"]["workshop"]
    assert len(extra) == 2
    assert set(extra) <= set(project["dependency-groups"]["dev"])


def test_without_the_compiler_it_is_told_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "find_spec", lambda _name: None)
    with pytest.raises(ToolError, match=r"pip install 'needletrail\[workshop\]'"):
        building.find_compiler()


# ---- as typed ----


def test_sizes_are_shown_by_module_largest_first(needletrail: Needletrail, tmp_path: Path) -> None:
    answer = needletrail("pen", "build", "--board", "virtual", "--out", "out")
    assert answer.code == 0, answer.err
    rows = [line.split() for line in answer.out.splitlines()]
    sizes = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
    total = sizes.pop("total")
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert total == sum(sizes.values())
    assert {"firmware", "boards.virtual", "needletrail_protocol.cbor"} <= sizes.keys()
    again = needletrail("pen", "build", "--board", "virtual", "--out", "other", "--json")
    said = json.loads(again.out)
    assert (said["bytes"], said["modules"]) == (total, sizes)


def test_the_signing_key_is_made_once_and_kept(needletrail: Needletrail) -> None:
    answer = needletrail("pen", "key", "firmware.pem")
    assert answer.code == 0
    assert stat.S_IMODE(Path("firmware.pem").stat().st_mode) == 0o600
    assert bundle.key_name(bundle.public_modulus(Path("firmware.pem"))) in answer.out
    before = Path("firmware.pem").read_bytes()
    again = needletrail("pen", "key", "firmware.pem")
    assert again.code == 2
    assert "is there already" in again.err
    assert Path("firmware.pem").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--board", "toaster", "--out", "out"), "Known boards: "),
        (("--board", "virtual", "--out", "out", "--key", "nowhere.pem"), "nowhere.pem"),
        (("--board", "virtual", "--out", "out", "--version", "0"), "--version"),
    ],
)
def test_a_build_that_can_not_be_leaves_nothing(
    arguments: tuple[str, ...], said: str, needletrail: Needletrail
) -> None:
    answer = needletrail("pen", "build", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert not Path("out").exists()


def test_it_builds_from_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Path
) -> None:
    """In a wheel the sources are data of the package, beside no repository."""
    data = tmp_path / "needletrail_gateway" / "data"
    shutil.copytree(device, data / "device")
    monkeypatch.setattr(building, "data_folder", lambda name, _in_source: data / name)
    assert building.boards(building.device_folder()) == ["one", "two"]
