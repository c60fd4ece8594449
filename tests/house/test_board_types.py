"""The boards' files against the type stubs of their own port of MicroPython; and what that finds.

The two sets of stubs have the same module names and never meet: each port is checked by itself, with
its set alone (.venv/stubs/PORT). The stubs have errors of their own, which are not looked at. They take
anything for a pin's number; so a board gives that as an int, through functions of ours.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEVICE = ROOT / "device"
STUBS = Path(sys.prefix) / "stubs"
PORTS = {
    "esp32": ("esp32_s3", "esp32_c3", "esp", "wiring"),
    "rp2": ("pico_w", "pico_2_w", "pico", "wiring"),
}
CONFIG = """\
[mypy]
strict = True
mypy_path = {device}:{protocol}:{stubs}
custom_typeshed_dir = {stubs}
cache_dir = {cache}
follow_imports = silent
[mypy-machine,micropython,network,rp2.*,_mpy_shed.*]
ignore_errors = True
"""

# File, what is in it, and a mistake that somebody could make there; what mypy calls that.
MISTAKES = {
    "a pin that is no number": ("esp32_s3", "TAGS_SDA = 11", "TAGS_SDA = 1.1", "arg-type"),
    "a pull that is none": ("esp32_s3", "Pin.IN, Pin.PULL_UP", 'Pin.IN, "up"', "arg-type"),
    "a pull that does not exist": ("esp32_c3", "Pin.PULL_UP", "Pin.PULL_SIDEWAYS", "attr-defined"),
    "a pin's number as text": ("esp32_c3", "HAPTIC = 20", 'HAPTIC = "20"', "arg-type"),
    "a timer of another port": ("pico", "rp2.StateMachine(_BEAT", "rp2.Timer(_BEAT", "attr-defined"),
    "a pin and its mode the wrong way round": (
        *("pico", "Pin(TACHOMETER, Pin.IN, Pin.PULL_UP)", "Pin(Pin.IN, [TACHOMETER])"),
        "arg-type",
    ),
    "a driver given what it does not take": (
        *("pico", "disable_irq, enable_irq)", "enable_irq, disable_irq)"),
        "arg-type",
    ),
}


def check(port: str, device: Path, folder: Path, cache: Path) -> "subprocess.CompletedProcess[str]":
    """mypy over a port's boards."""
    config = folder / f"{port}.ini"
    config.write_text(
        CONFIG.format(device=device, protocol=ROOT / "protocol", stubs=STUBS / port, cache=cache)
    )
    modules = [word for name in PORTS[port] for word in ("-m", f"boards.{name}")]
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, "--show-error-codes", *modules],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )


@pytest.mark.parametrize("port", PORTS)
def test_boards_fit_their_port(port: str, tmp_path: Path) -> None:
    done = check(port, DEVICE, tmp_path, ROOT / ".mypy_cache" / port)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_of_a_board_is_checked() -> None:
    checked = {name for names in PORTS.values() for name in names}
    for path in (DEVICE / "boards").glob("*.py"):
        if re.search(r"^\s*(import|from) (machine|rp2|network)\b", path.read_text(), re.MULTILINE):
            assert path.stem in checked, path


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(name: str, tmp_path: Path) -> None:
    file, right, wrong, code = MISTAKES[name]
    port = next(port for port, files in PORTS.items() if file in files)
    device = tmp_path / "device"
    shutil.copytree(DEVICE, device, ignore=shutil.ignore_patterns("__pycache__"))
    path = device / "boards" / f"{file}.py"
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong))
    done = check(port, device, tmp_path, tmp_path / "cache")
    assert done.returncode == 1, done.stdout + done.stderr
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert errors
    assert all(f"boards/{file}.py" in line for line in errors), errors
    assert f"[{code}]" in done.stdout, done.stdout
