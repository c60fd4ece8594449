"""Firmware bundles on the maker's side: keys, signing, reading, explaining.

The format is described in device/needletrail_device/bundle.py, which reads it on the pen; tests hold
the two together. Keys and signatures are `cryptography`'s. Whatever a pen would refuse is refused here
before it is signed, so that a signed bundle is one that its board takes. The public half of the key for
the *next* bundle travels as one of the files, `update.key`: that is how a key is replaced.
"""

import hashlib
import os
import struct
from binascii import crc32
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from needletrail_gateway.workshop.errors import WorkshopError
from needletrail_protocol import cbor
from needletrail_protocol.errors import ProtocolError

MAGIC = b"NTBUNDL1"
KEY_BITS = 3072
KEY_BYTES = KEY_BITS // 8
EXPONENT = 65537
MANIFEST_MAX_BYTES = 6144
FILES_MAX_BYTES = 262144
VERSION_MAX = 0xFFFFFFFF
KEY_FILE = "update.key"
FIRMWARE_FILE = "firmware.mpy"

_HEAD_BYTES = len(MAGIC) + 2
_NAME = "abcdefghijklmnopqrstuvwxyz0123456789_"
_FILE_FIELDS = 3
_MPY_HEADER_BYTES = 4
_SMALL_INT_BITS = 31  # what fits every board: they have 32-bit words

# What a pen says of a bundle that it refuses, and what to do then.
REASONS = {
    "truncated": "The file ends too early. Copy it to the pen again.",
    "malformed": "This is no firmware bundle. Build it with `needletrail pen build`.",
    "too_large": "The bundle is larger than a pen takes. Leave out what the board does not need.",
    "key_missing": "The firmware on the pen has no update key. Flash the pen by cable.",
    "signature_invalid": "The bundle was altered, or signed by another key than the pen's. "
    "Copy it again; if that does not help, sign it with the key that the pen knows.",
    "wrong_board": "The bundle was built for another board. Build it for this one.",
    "bytecode_version": "The pen's MicroPython can not load these files. "
    "Build with the mpy-cross of its version, or flash a newer MicroPython by cable.",
    "installed": "This version is already running. Nothing needs to be done.",
    "downgrade": "The pen has proved a higher version before. Build with a version above it.",
    "on_trial": "The running version has not reached the gateway yet. "
    "The bundle stays on the pen and is taken afterwards.",
    "no_space": "Flash is too full. Let the pen deliver its records, then copy the bundle again.",
    "no_memory": "The heap was too full. Restart the pen, then copy the bundle again.",
    "file_damaged": "A file did not arrive as it was signed. Copy the bundle again.",
    "write_failed": "Flash reported an error. If it does so again, replace the board.",
}


class BundleError(WorkshopError):
    """A key or bundle that can not be used: the file, the cause, and what to do about it."""

    def __init__(self, file: Path | str, cause: str, remedy: str) -> None:
        super().__init__(f"{file}: {cause}. {remedy}")
        self.file = str(file)
        self.cause = cause
        self.remedy = remedy


# ---- keys ----


def make_key(path: Path) -> None:
    """A new private key as a PEM file that only its owner may read. An existing file is kept."""
    key = rsa.generate_private_key(public_exponent=EXPONENT, key_size=KEY_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        remedy = "Pens know this key: give another name, or keep using it."
        raise BundleError(path, "is there already", remedy) from None
    except OSError as error:
        raise BundleError(
            path, f"can not be written: {error.strerror}", "Give another place."
        ) from error
    with os.fdopen(number, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def public_modulus(path: Path) -> bytes:
    """What pens must know to check bundles signed with this key: `update.key`, 384 bytes."""
    return _modulus(_private_key(path))


def _modulus(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_numbers().n.to_bytes(KEY_BYTES, "big")


def _private_key(path: Path) -> rsa.RSAPrivateKey:
    remedy = "Give a key made by `needletrail pen key`."
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise BundleError(path, f"can not be read: {error.strerror}", remedy) from error
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise BundleError(path, "is not a PEM private key without password", remedy) from error
    if (
        not isinstance(key, rsa.RSAPrivateKey)
        or key.key_size != KEY_BITS
        or key.public_key().public_numbers().e != EXPONENT
    ):
        cause = f"is not an RSA key of {KEY_BITS} bits with exponent {EXPONENT}"
        raise BundleError(path, cause, remedy)
    return key


# ---- bundles ----


@dataclass(frozen=True)
class Bundle:
    """A bundle's contents. `files` holds update.key, too; each has the SHA-256 that was signed.

    Firmware that was never signed has neither signature nor update.key, and can be flashed by cable.
    """

    version: int
    text: str
    board: str
    mpy_version: int
    files: Mapping[str, bytes]
    signed: bytes
    signature: bytes

    def is_signed_by(self, modulus: bytes) -> bool:
        """True if the owner of that key signed it. `modulus`: the pen's update.key."""
        number = int.from_bytes(modulus, "big")
        try:
            key = rsa.RSAPublicNumbers(EXPONENT, number).public_key()
            key.verify(self.signature, self.signed, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True

    def explain(self) -> str:
        """What is in it, for a person: one fact a line."""
        key = self.files.get(KEY_FILE)
        if key is None:
            following = "no update key: a pen with this firmware takes no bundle"
        elif self.is_signed_by(key):
            following = f"the next bundle is to be signed by the same key: {key_name(key)}"
        else:
            following = f"the next bundle is to be signed by another key: {key_name(key)}"
        total = sum(map(len, self.files.values()))
        lines = [
            f"firmware {self.text}, version number {self.version}, for board {self.board}",
            f"bytecode of .mpy version {self.mpy_version}",
            following,
            f"{len(self.files)} files, {total} bytes",
        ]
        width = max(map(len, self.files))
        for path, data in self.files.items():
            lines.append(f"  {path:{width}}  {len(data):6}  {hashlib.sha256(data).hexdigest()[:16]}")
        return "\n".join(lines)


def key_name(modulus: bytes) -> str:
    """A short name of a key, for people to compare: the beginning of the SHA-256 of its modulus."""
    return hashlib.sha256(modulus).hexdigest()[:16]


def sign(
    files: Mapping[str, bytes],
    version: int,
    text: str,
    board: str,
    key: Path,
    next_key: Path | None = None,
) -> bytes:
    """The bundle of these .mpy files. The same arguments give the same bytes.

    `version` is the number that must rise with each bundle, `text` what people call it. `next_key`
    signs the bundle after this one, if that is to be another key than `key`. BundleError if a pen
    would refuse the bundle.
    """
    private_key = _private_key(key)
    modulus = _modulus(private_key) if next_key is None else public_modulus(next_key)
    mpy_version = _mpy_version(files)
    contents = {**files, KEY_FILE: modulus}
    fields: list[object] = [version, text, board, mpy_version]
    for path in sorted(contents):
        fields += [path, len(contents[path]), hashlib.sha256(contents[path]).digest()]
    for what, word in (("the version's text", text), ("the board's name", board)):
        if not _is_word(word):
            raise BundleError("bundle", f"{what} is {word!r}", "Use 1 to 32 of a-z, 0-9 and _.+-")
    if not 1 <= version <= VERSION_MAX:
        remedy = f"Count from 1 to {VERSION_MAX}, one up with each bundle."
        raise BundleError("bundle", f"the version number is {version}", remedy)
    manifest = b"".join(cbor.encode(field) for field in fields)
    total = sum(map(len, contents.values()))
    for what, size, most in (
        ("the list of files", len(manifest), MANIFEST_MAX_BYTES),
        ("all files together", total, FILES_MAX_BYTES),
    ):
        if size > most:
            remedy = f"A pen takes {most}. Leave out what the board does not need."
            raise BundleError("bundle", f"{what} has {size} bytes", remedy)
    signed = MAGIC + len(manifest).to_bytes(2, "big") + manifest
    signature = private_key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return signed + signature + b"".join(contents[path] for path in sorted(contents))


def read(data: bytes, name: str = "bundle") -> Bundle:
    """A bundle's contents, each file compared with its SHA-256. Who signed it is not looked at.

    BundleError, with `name` as the file, if these bytes are no bundle.
    """
    remedy = "Build it again, or copy it again."
    length = int.from_bytes(data[len(MAGIC) : _HEAD_BYTES], "big")
    end = _HEAD_BYTES + length
    at = end + KEY_BYTES
    if data[: len(MAGIC)] != MAGIC:
        raise BundleError(
            name, "is not a firmware bundle", "Give a file made by `needletrail pen build`."
        )
    if len(data) < at:
        raise BundleError(name, "ends too early", remedy)
    files: dict[str, bytes] = {}
    try:
        version, text, board, mpy_version, *rest = _sequence(data[_HEAD_BYTES:end])
        for path, size, digest in zip(*[iter(rest)] * _FILE_FIELDS, strict=True):
            if not isinstance(path, str) or not isinstance(size, int):
                raise ValueError
            files[path] = data[at : at + size]
            at += size
            if hashlib.sha256(files[path]).digest() != digest:
                raise BundleError(name, f"{path} is damaged or cut short", remedy)
        if not isinstance(version, int) or not isinstance(mpy_version, int):
            raise ValueError
        if not _is_word(text) or not _is_word(board) or KEY_FILE not in files:
            raise ValueError
    except (ValueError, ProtocolError):
        raise BundleError(name, "its list of files can not be understood", remedy) from None
    if at != len(data):
        raise BundleError(name, "has bytes after its last file", remedy)
    return Bundle(
        version=version,
        text=str(text),
        board=str(board),
        mpy_version=mpy_version,
        files=files,
        signed=data[:end],
        signature=data[end : end + KEY_BYTES],
    )


def first_flash(bundle: Bundle) -> dict[str, bytes]:
    """Paths within a pen's flash, and contents, of a pen that begins with this bundle's firmware.

    It is in slot a and counts as proved, so nothing below its version can be installed later. Beside
    these the pen needs main.py. Write them in this order: the state comes last.
    """
    lines = [f"{bundle.version} {bundle.text}"]
    image = {}
    for path, data in bundle.files.items():
        image[f"slots/a/{path}"] = data
        lines.append(f"{hashlib.sha256(data).hexdigest()}  {path}")
    image["slots/a/manifest"] = ("\n".join(lines) + "\n").encode()
    state = struct.pack("<IIBBBB", 1, bundle.version, 1, 0, 0, 0)
    state += crc32(state).to_bytes(4, "little")
    return {**image, "slots/state.a": state, "slots/state.b": state}


def _sequence(data: bytes) -> list[object]:
    """The items of a CBOR sequence (RFC 8742)."""
    items = []
    at = 0
    while at < len(data):
        item, at = cbor.decode_at(data, at, 0)
        items.append(item)
    return items


def _is_word(text: object) -> bool:
    return isinstance(text, str) and 1 <= len(text) <= 32 and not text.strip(_NAME + ".+-")


def _is_path(path: str) -> bool:
    names = path.removesuffix(".mpy").split("/")
    return (
        path.endswith(".mpy")
        and len(path) <= 64
        and len(names) <= 3
        and all(name and not name.strip(_NAME) for name in names)
    )


def _mpy_version(files: Mapping[str, bytes]) -> int:
    """The .mpy version of the files; BundleError unless all are bytecode of one version."""
    if FIRMWARE_FILE not in files:
        remedy = "It is the module that main.py starts: add it."
        raise BundleError(FIRMWARE_FILE, "is not among the files", remedy)
    versions = set()
    for path, data in files.items():
        if not _is_path(path):
            remedy = "Use NAME.mpy, in two folders at most, names of a-z, 0-9 and _"
            raise BundleError(path, "is not a path that a pen takes", remedy)
        if len(data) < _MPY_HEADER_BYTES or data[:1] != b"M":
            raise BundleError(path, "is not a compiled module", "Compile it with mpy-cross.")
        if data[2] >> 2 or data[3] > _SMALL_INT_BITS:
            remedy = "Compile it without -march, for small integers of 31 bits."
            raise BundleError(path, "holds machine code or numbers for one kind of processor", remedy)
        versions.add(data[1])
    if len(versions) > 1:
        raise BundleError(
            "bundle", "modules of different .mpy versions", "Compile all with one mpy-cross."
        )
    return versions.pop()
