"""Signatures and bundles against `cryptography` and the gateway's tools: two makers, one format."""

import ast
import hashlib
import re
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from pen_flash import (
    BOARD,
    HEIR,
    MAKER,
    MPY,
    Flash,
    Inserted,
    MakerKey,
    bundle_of,
    firmware_files,
    flash_with,
    slot_of,
    state_of,
)

import main
from needletrail_device import bundle, update
from needletrail_gateway.workshop import bundle as workshop

DEVICE = Path(bundle.__file__).parent
TWO = firmware_files("two")


def private_key(key: MakerKey) -> rsa.RSAPrivateKey:
    public = rsa.RSAPublicNumbers(65537, key.n)
    parts = (key.d % (key.p - 1), key.d % (key.q - 1), rsa.rsa_crt_iqmp(key.p, key.q))
    return rsa.RSAPrivateNumbers(key.p, key.q, key.d, *parts, public).private_key()


def pem(key: MakerKey, path: Path) -> Path:
    path.write_bytes(
        private_key(key).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


ORACLE = private_key(MAKER)


def is_good(signature: bytes, message: bytes) -> bool:
    try:
        ORACLE.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(message=st.binary(max_size=300))
def test_what_cryptography_signs_is_signed(message: bytes) -> None:
    signature = ORACLE.sign(message, padding.PKCS1v15(), hashes.SHA256())
    assert bundle.is_signed(hashlib.sha256(message).digest(), signature, MAKER.modulus)
    assert MAKER.sign(message) == signature


@settings(max_examples=200, deadline=None)
@given(message=st.binary(max_size=50), places=st.sets(st.integers(0, 3071), max_size=3))
def test_altered_signatures_are_judged_as_by_cryptography(message: bytes, places: set[int]) -> None:
    number = int.from_bytes(MAKER.sign(message), "big")
    for place in places:
        number ^= 1 << place
    signature = number.to_bytes(384, "big")
    is_signed = bundle.is_signed(hashlib.sha256(message).digest(), signature, MAKER.modulus)
    assert is_signed == is_good(signature, message) == (not places)


@settings(max_examples=60, deadline=None)
@given(end=st.binary(min_size=32, max_size=100), fill=st.sampled_from([b"\xff", b"\x00", b"\x01"]))
def test_strange_encodings_are_judged_as_by_cryptography(end: bytes, fill: bytes) -> None:
    encoded = b"\x00\x01" + fill * (384 - 3 - len(end)) + b"\x00" + end
    signature = MAKER.sign_encoded(encoded)
    assert not is_good(signature, b"message")
    assert not bundle.is_signed(hashlib.sha256(b"message").digest(), signature, MAKER.modulus)


def test_other_hashes_are_refused() -> None:
    for other in (hashes.SHA1(), hashes.SHA384(), hashes.SHA512(), hashes.SHA3_256()):
        signature = ORACLE.sign(b"message", padding.PKCS1v15(), other)
        assert not bundle.is_signed(hashlib.sha256(b"message").digest(), signature, MAKER.modulus)


# ---- the tools and the pen ----


def test_the_tools_make_the_bundle_that_the_tests_make(tmp_path: Path) -> None:
    key = pem(MAKER, tmp_path / "maker.pem")
    code = {path: data for path, data in TWO.items() if path != "update.key"}
    assert workshop.sign(code, 2, "0.1.0", BOARD, key) == bundle_of(TWO, 2)
    heir = pem(HEIR, tmp_path / "heir.pem")
    handed_on = firmware_files("two", next_key=HEIR)
    assert workshop.sign(code, 2, "0.1.0", BOARD, key, heir) == bundle_of(handed_on, 2)


def test_a_pen_flashed_with_a_first_image_runs_it_and_takes_updates(tmp_path: Path) -> None:
    image = workshop.first_flash(workshop.read(bundle_of(TWO, 2)))
    files = {f"/flash/{path}": data for path, data in image.items()}
    wanted = flash_with(slot_of(TWO, 2, "a"), state=state_of(1, 2, 1)).files
    assert {**files, "/flash/pen.json": b"{}"} == wanted
    flash = Flash(files)
    started = []
    with pytest.MonkeyPatch.context() as patch, Inserted(flash, main, update, bundle):
        patch.setattr(main, "start", lambda place, _here: started.append(place))
        main.boot("/flash", "/here")
        assert started[0] == "/flash/slots/a"
        updater = update.Updater("/flash", "/flash/slots/a", BOARD)
        assert (updater.version, updater.highest, updater.trial_boots_left) == (2, 2, None)
        flash.put("/flash/update.bundle", bundle_of(TWO, 1))
        assert updater.offer() == "downgrade"
        flash.put("/flash/update.bundle", bundle_of(TWO, 3))
        assert updater.offer() is None


def test_both_sides_have_the_same_limits() -> None:
    for name in ("MAGIC", "KEY_BYTES", "KEY_FILE", "MANIFEST_MAX_BYTES", "FILES_MAX_BYTES"):
        assert getattr(bundle, name) == getattr(workshop, name), name


def test_both_sides_know_the_same_reasons() -> None:
    """The words in the pen's code, in its list, and those that the tools explain."""
    text = bundle.__doc__ or ""
    listed = set(re.findall(r"^    ([a-z_]+)  +\S", text, re.MULTILINE))
    said = set()
    for name in ("bundle.py", "update.py"):
        for node in ast.walk(ast.parse((DEVICE / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said |= {node.value} & set(workshop.REASONS)
    assert listed == set(workshop.REASONS) == said


NAMES = st.text(alphabet="ab_9/.-Z\x00é ", max_size=12)


@settings(max_examples=500, deadline=None)
@given(path=st.one_of(NAMES, NAMES.map(lambda stem: stem + ".mpy"), st.text(max_size=70)))
def test_both_sides_take_the_same_paths(path: str) -> None:
    assert workshop._is_path(path) == (bundle.is_path(path) and path != "update.key")


def test_the_tools_know_what_micropython_s_bytecode_is() -> None:
    assert workshop._mpy_version({"firmware.mpy": TWO["firmware.mpy"]}) == MPY
