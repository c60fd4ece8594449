"""Updates as they are run: the real main.py in MicroPython, compiled slots, and SIGKILL at any moment.

The firmware in a slot is a few lines, but what it updates with is the firmware's own: update, bundle
and CBOR, compiled by mpy-cross and carried in each bundle, as on a pen.
"""

import hashlib
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from needletrail_gateway.workshop import bundle
from needletrail_gateway.workshop.build import find_compiler

ROOT = Path(__file__).resolve().parents[3]
CARRIED = {
    "needletrail_device": ("__init__", "update", "bundle"),
    "needletrail_protocol": ("__init__", "cbor", "errors"),
}
FIRMWARE = """
import os, sys

def main():
    flash = sys.argv[1]
    from needletrail_device.update import Updater
    updater = Updater(flash, __file__.rsplit("/", 1)[0], "bench-1")
    print("runs", VERSION, updater.version, updater.trial_boots_left)
    if "update.bundle" in os.listdir(flash):
        reason = updater.offer()
        print("offer", reason)
        if reason is None:
            return 0
    if IS_GOOD:
        updater.confirm()
        print("confirmed", VERSION)
        return 0
    return 3
"""
ROUNDS = 30
KILLS_A_ROUND = 5


class Maker:
    """Compiles and signs the firmwares of these tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.key = folder / "maker.pem"
        bundle.make_key(self.key)
        self._carried = {
            f"{package}/{name}.mpy": self._compiled(self._source(package, name).read_text("utf-8"))
            for package, names in CARRIED.items()
            for name in names
        }

    @staticmethod
    def _source(package: str, name: str) -> Path:
        parent = "device" if package == "needletrail_device" else "protocol"
        return ROOT / parent / package / f"{name}.py"

    def _compiled(self, source: str) -> bytes:
        given, made = self._folder / "in.py", self._folder / "out.mpy"
        given.write_text(source, encoding="utf-8")
        subprocess.run([*find_compiler(), "-o", made, given], check=True)
        return made.read_bytes()

    def bundle(self, version: int, *, is_good: bool = True, code: str = FIRMWARE) -> bytes:
        source = f"VERSION = {version}\nIS_GOOD = {is_good}\n{code}"
        files = {"firmware.mpy": self._compiled(source), **self._carried}
        return bundle.sign(files, version, f"0.{version}.0", "bench-1", self.key)


class Pen:
    """A flash folder with main.py beside it, run by MicroPython."""

    def __init__(self, folder: Path, micropython: Path, first: bytes) -> None:
        self._micropython = micropython
        self.flash = folder / "flash"
        self.main = folder / "main.py"
        shutil.copyfile(ROOT / "device" / "main.py", self.main)
        for path, data in bundle.first_flash(bundle.read(first)).items():
            (self.flash / path).parent.mkdir(parents=True, exist_ok=True)
            (self.flash / path).write_bytes(data)
        self.kills = 0
        self.proved = 0

    def put(self, data: bytes) -> None:
        part = self.flash / "update.part"
        part.write_bytes(data)
        part.rename(self.flash / "update.bundle")

    def boot(self, alive_s: float | None = None) -> tuple[int | None, list[str], str]:
        """(exit code, or None if it was killed; lines of output; standard error)."""
        command = [self._micropython, "-X", "heapsize=128k", self.main, self.flash]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # the interpreter may run under a shell: kill both
        ) as process:
            try:
                out, errors = process.communicate(timeout=60 if alive_s is None else alive_s)
                code: int | None = process.returncode
            except subprocess.TimeoutExpired:
                assert alive_s is not None, "it hangs"
                os.killpg(process.pid, 9)
                out, errors = process.communicate()
                code = None
                self.kills += 1
        lines = out.splitlines()
        for line in lines:
            words = line.split()
            if words[0] == "runs" and len(words) == 4:
                assert int(words[1]) >= self.proved, "the version went back"
                assert words[1] == words[2], "the manifest is of another version"
            if words[0] == "confirmed" and len(words) == 2:
                self.proved = int(words[1])
        if code is not None:
            assert any(line.startswith("runs") for line in lines), f"nothing ran: {lines} {errors}"
        return code, lines, errors

    def settle(self) -> str:
        """Boot until it is on no trial and has no bundle; what it said last."""
        for _ in range(30):
            _, lines, _ = self.boot()
            is_done = not any(line.startswith("offer None") for line in lines)
            if is_done and lines[0].endswith(" None") and not (self.flash / "update.bundle").exists():
                return lines[0]
        raise AssertionError("it never comes to rest")


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("maker"))


@pytest.fixture
def pen(tmp_path: Path, micropython: Path, maker: Maker) -> Pen:
    return Pen(tmp_path, micropython, maker.bundle(1))


def test_an_update_and_its_trial(pen: Pen, maker: Maker) -> None:
    assert pen.boot()[:2] == (0, ["runs 1 1 None", "confirmed 1"])
    pen.put(maker.bundle(2))
    assert pen.boot()[:2] == (0, ["runs 1 1 None", "offer None"])
    assert pen.boot()[:2] == (0, ["runs 2 2 4", "confirmed 2"])
    assert pen.boot()[:2] == (0, ["runs 2 2 None", "confirmed 2"])
    pen.put(maker.bundle(1))
    assert pen.boot()[:2] == (0, ["runs 2 2 None", "offer downgrade", "confirmed 2"])


def test_a_firmware_that_never_reaches_the_gateway_is_rolled_back(pen: Pen, maker: Maker) -> None:
    pen.put(maker.bundle(2, is_good=False))
    pen.boot()
    for left in (4, 3, 2, 1, 0):
        assert pen.boot()[:2] == (3, [f"runs 2 2 {left}"])
    assert pen.boot()[:2] == (0, ["runs 1 1 None", "confirmed 1"])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module\n", "ImportError"),
        ("raise ValueError('at its import')\n", "ValueError"),
        ("from needletrail_device import arming\n" + FIRMWARE, "ImportError"),
    ],
    ids=["missing-module", "error", "module-that-only-another-copy-has"],
)
def test_a_firmware_that_can_not_be_imported_is_left_at_once(
    pen: Pen, maker: Maker, code: str, said: str
) -> None:
    """Nor does it borrow a module from a copy of the firmware beside main.py."""
    shutil.copytree(ROOT / "device" / "needletrail_device", pen.main.parent / "needletrail_device")
    pen.put(maker.bundle(2, code=code))
    pen.boot()
    exit_code, lines, errors = pen.boot()
    assert (exit_code, lines) == (0, ["runs 1 1 None", "confirmed 1"])
    assert said in errors


def test_bytecode_that_this_micropython_can_not_load_is_left_at_once(pen: Pen, maker: Maker) -> None:
    pen.put(maker.bundle(2))
    pen.boot()
    slot = pen.flash / "slots" / "b"
    data = (slot / "firmware.mpy").read_bytes()
    old = data[:1] + b"\x05" + data[2:]
    (slot / "firmware.mpy").write_bytes(old)
    manifest = slot / "manifest"
    text = manifest.read_text("utf-8")
    manifest.write_text(text.replace(_sha256(data), _sha256(old)), encoding="utf-8")
    exit_code, lines, errors = pen.boot()
    assert (exit_code, lines) == (0, ["runs 1 1 None", "confirmed 1"])
    assert "incompatible .mpy" in errors


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_crash_is_shown_and_counted(pen: Pen, maker: Maker) -> None:
    pen.put(
        maker.bundle(2, code="def main():\n    print('runs 2 2 x')\n    raise OSError('a defect')\n")
    )
    pen.boot()
    for _ in range(5):
        exit_code, _, errors = pen.boot()
        assert exit_code == 1
        assert "a defect" in errors
    assert pen.boot()[:2] == (0, ["runs 1 1 None", "confirmed 1"])


def test_without_slots_the_firmware_beside_main_runs(tmp_path: Path, micropython: Path) -> None:
    main = tmp_path / "main.py"
    shutil.copyfile(ROOT / "device" / "main.py", main)
    (tmp_path / "firmware.py").write_text("def main():\n    print('bare')\n    return 7\n")
    for command, folder in (([main, tmp_path / "flash"], None), (["main.py"], tmp_path)):
        done = subprocess.run([micropython, *command], cwd=folder, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (7, b"bare\n")


def test_kills_at_any_moment(pen: Pen, maker: Maker) -> None:
    dice = random.Random(11)
    pen.put(maker.bundle(2))
    begun = time.monotonic()
    pen.boot()
    longest_s = 1.3 * (time.monotonic() - begun)  # of a boot that installs
    assert pen.settle() == "runs 2 2 None"
    good = 2
    for version in range(3, 3 + ROUNDS):
        is_good = dice.random() < 0.7
        pen.put(maker.bundle(version, is_good=is_good))
        for _ in range(KILLS_A_ROUND):
            pen.boot(dice.uniform(0, longest_s))
        good = version if is_good else good
        assert pen.settle() == f"runs {good} {good} None"
        assert pen.proved == good
    assert pen.kills > ROUNDS
