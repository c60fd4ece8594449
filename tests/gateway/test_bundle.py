"""The maker's side of firmware bundles: keys, signing, reading, and what is said when it can not be."""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from needletrail_gateway.workshop import bundle
from needletrail_gateway.workshop.bundle import BundleError
from needletrail_gateway.workshop.errors import WorkshopError

FILES = {
    "firmware.mpy": b"M\x06\x00\x1fthe root",
    "boards/esp32_s3.mpy": b"M\x06\x00\x1fpins",
    "needletrail_device/journal.mpy": b"M\x06\x00\x1f" + bytes(600),
}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "maker.pem"
    bundle.make_key(path)
    return path


@pytest.fixture(scope="module")
def heir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "heir.pem"
    bundle.make_key(path)
    return path


def signed(
    key: Path,
    files: Mapping[str, bytes] = FILES,
    version: int = 7,
    text: str = "0.2.0",
    board: str = "esp32-s3",
) -> bytes:
    return bundle.sign(files, version, text, board, key)


def complaint(work: Callable[[], object]) -> BundleError:
    with pytest.raises(BundleError) as caught:
        work()
    error = caught.value
    assert isinstance(error, WorkshopError)
    assert str(error) == f"{error.file}: {error.cause}. {error.remedy}"
    assert error.remedy
    return error


# ---- keys ----


def test_a_key_is_for_its_owner_only(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_an_open_umask_does_not_open_the_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        bundle.make_key(tmp_path / "key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(key: Path) -> None:
    before = key.read_bytes()
    assert complaint(lambda: bundle.make_key(key)).cause == "is there already"
    assert key.read_bytes() == before


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "key.pem"
    error = complaint(lambda: bundle.make_key(path))
    assert error.file == str(path)
    assert error.cause == "can not be written: No such file or directory"


def test_the_modulus_has_3072_bits(key: Path, heir: Path) -> None:
    modulus = bundle.public_modulus(key)
    assert len(modulus) == 384
    assert modulus[0] >= 128
    assert modulus[-1] % 2 == 1
    assert modulus != bundle.public_modulus(heir)


def pem(
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None
) -> bytes:
    protection = (
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    )
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )


def test_what_is_no_key_is_refused(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "other.pem"
    error = complaint(lambda: bundle.public_modulus(path))
    assert error.cause == "can not be read: No such file or directory"
    own = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(own, rsa.RSAPrivateKey)
    public = own.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for data in (b"", b"\xff\xfe", b"not a key", key.read_bytes()[:500], pem(own, b"word"), public):
        path.write_bytes(data)
        error = complaint(lambda: bundle.public_modulus(path))
        assert error.cause == "is not a PEM private key without password"
    for other in (
        rsa.generate_private_key(65537, 2048),
        rsa.generate_private_key(3, 3072),
        ec.generate_private_key(ec.SECP256R1()),
    ):
        path.write_bytes(pem(other))
        error = complaint(lambda: signed(path))
        assert error.cause == "is not an RSA key of 3072 bits with exponent 65537"
        assert "needletrail pen" in error.remedy


# ---- signing and reading ----


def test_what_was_signed_is_read(key: Path) -> None:
    found = bundle.read(signed(key))
    assert (found.version, found.text, found.board, found.mpy_version) == (7, "0.2.0", "esp32-s3", 6)
    assert found.files == {**FILES, "update.key": bundle.public_modulus(key)}


def test_a_bundle_is_signed_by_one_key(key: Path, heir: Path) -> None:
    found = bundle.read(signed(key))
    assert found.is_signed_by(bundle.public_modulus(key))
    assert not found.is_signed_by(bundle.public_modulus(heir))
    for strange in (b"", b"\x00" * 384, b"\x02"):
        assert not found.is_signed_by(strange)


def test_the_same_arguments_give_the_same_bytes(key: Path) -> None:
    assert signed(key) == signed(key, files=dict(reversed(FILES.items())))


def test_a_bundle_brings_the_next_key(key: Path, heir: Path) -> None:
    data = bundle.sign(FILES, 8, "0.3.0", "esp32-s3", key, heir)
    found = bundle.read(data)
    assert found.files["update.key"] == bundle.public_modulus(heir)
    assert found.is_signed_by(bundle.public_modulus(key))
    name = bundle.key_name(bundle.public_modulus(heir))
    assert f"the next bundle is to be signed by another key: {name}" in found.explain()


def test_a_bundle_explains_itself(key: Path) -> None:
    lines = bundle.read(signed(key)).explain().splitlines()
    name = bundle.key_name(bundle.public_modulus(key))
    assert lines[:4] == [
        "firmware 0.2.0, version number 7, for board esp32-s3",
        "bytecode of .mpy version 6",
        f"the next bundle is to be signed by the same key: {name}",
        f"4 files, {sum(map(len, FILES.values())) + 384} bytes",
    ]
    assert [line.split()[:2] for line in lines[4:]] == [
        ["boards/esp32_s3.mpy", "8"],
        ["firmware.mpy", "12"],
        ["needletrail_device/journal.mpy", "604"],
        ["update.key", "384"],
    ]


def test_unsigned_firmware_can_be_flashed_and_says_so() -> None:
    found = bundle.Bundle(7, "0.2.0", "esp32-s3", 6, FILES, b"", b"")
    assert "a pen with this firmware takes no bundle" in found.explain()
    assert "slots/a/update.key" not in bundle.first_flash(found)


def test_the_state_of_a_first_flash_comes_last(key: Path) -> None:
    image = bundle.first_flash(bundle.read(signed(key)))
    names = list(image)
    assert names[-2:] == ["slots/state.a", "slots/state.b"]
    assert names[-3] == "slots/a/manifest"
    assert len(names) == len(FILES) + 4


# ---- what is not signed ----


@pytest.mark.parametrize(
    ("changes", "file", "cause"),
    [
        ({"firmware.mpy": None}, "firmware.mpy", "is not among the files"),
        ({"main.py": b"x"}, "main.py", "is not a path that a pen takes"),
        ({"../main.mpy": b"x"}, "../main.mpy", "is not a path that a pen takes"),
        ({"a/b/c/d.mpy": b"x"}, "a/b/c/d.mpy", "is not a path that a pen takes"),
        ({"update.key": b"x"}, "update.key", "is not a path that a pen takes"),
        ({"a.mpy": b"import x"}, "a.mpy", "is not a compiled module"),
        ({"a.mpy": b"M\x06"}, "a.mpy", "is not a compiled module"),
        (
            {"a.mpy": b"M\x06\x0b\x1fnative"},
            "a.mpy",
            "holds machine code or numbers for one kind of processor",
        ),
        (
            {"a.mpy": b"M\x06\x00\x3flarge numbers"},
            "a.mpy",
            "holds machine code or numbers for one kind of processor",
        ),
        ({"a.mpy": b"M\x05\x00\x1fold"}, "bundle", "modules of different .mpy versions"),
        (
            {f"large_{number}.mpy": b"M\x06\x00\x1f" + bytes(60000) for number in range(5)},
            "bundle",
            f"all files together has {5 * 60004 + sum(map(len, FILES.values())) + 384} bytes",
        ),
    ],
)
def test_what_a_pen_would_refuse_is_not_signed(
    key: Path, changes: dict[str, bytes | None], file: str, cause: str
) -> None:
    files = {path: data for path, data in {**FILES, **changes}.items() if data is not None}
    error = complaint(lambda: signed(key, files))
    assert (error.file, error.cause) == (file, cause)


def test_a_list_that_is_too_long_is_not_signed(key: Path) -> None:
    files = {
        **FILES,
        **{f"boards/board_{number:03}.mpy": FILES["firmware.mpy"] for number in range(120)},
    }
    assert "the list of files has" in complaint(lambda: signed(key, files)).cause


def test_versions_and_names_have_a_shape(key: Path) -> None:
    for version in (0, -1, 1 << 32):
        error = complaint(lambda version=version: signed(key, version=version))
        assert error.cause == f"the version number is {version}"
    for word in ("", "0.2 beta", "0.2\n", "A", "é", "1" * 33):
        error = complaint(lambda word=word: signed(key, text=word))
        assert error.cause == f"the version's text is {word!r}"
        error = complaint(lambda word=word: signed(key, board=word))
        assert error.cause == f"the board's name is {word!r}"
    assert bundle.read(signed(key, version=0xFFFFFFFF)).version == 0xFFFFFFFF


# ---- what can not be read ----


def test_every_cut_bundle_is_refused(key: Path) -> None:
    data = signed(key)
    causes = set()
    for length in range(len(data)):
        causes.add(complaint(lambda length=length: bundle.read(data[:length], "x.bundle")).cause)
    assert causes == {"is not a firmware bundle", "ends too early"} | {
        f"{path} is damaged or cut short" for path in (*FILES, "update.key")
    }


def test_altered_files_and_trailing_bytes_are_refused(key: Path) -> None:
    data = signed(key)
    assert complaint(lambda: bundle.read(data + b"x")).cause == "has bytes after its last file"
    altered = complaint(lambda: bundle.read(data[:-1] + bytes((data[-1] ^ 1,)), "x.bundle"))
    assert altered.cause == "update.key is damaged or cut short"
    assert altered.file == "x.bundle"


def test_no_flipped_bit_of_the_list_is_read_and_taken_for_signed(key: Path) -> None:
    data = signed(key)
    modulus = bundle.public_modulus(key)
    end = len(data) - sum(map(len, FILES.values())) - 384 - 384
    for bit in range(end * 8):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        try:
            found = bundle.read(bytes(altered))
        except BundleError:
            continue
        assert not found.is_signed_by(modulus)
