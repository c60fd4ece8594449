"""A firmware bundle: who signed it, what is in it, and how it gets into a slot.

    "NTBUNDL1" | length u16 | manifest | signature | the files' bytes, one after the other

The manifest is a CBOR sequence (RFC 8742): version, text, board, .mpy version, then path, length and
SHA-256 of each file, in rising order of the paths. The signature is RSASSA-PKCS1-v1_5 with SHA-256
(RFC 8017 section 8.2) and a modulus of 3072 bits, over everything before it. It is checked by building
the one encoded message that is right and comparing all of it; no signature is ever parsed. Nothing is
written before the signature, every path and every length were found good. A file's hash is taken from
what flash gives back, so that it covers the bundle and the flash.

In memory there are the manifest, one chunk and one entry, never a file. Not here: which versions are
welcome, which slot, and the state (update.py). Reasons for refusal, there and here:

    truncated           it ends before the length that its manifest says
    malformed           no bundle, or one with contents that no bundle may have
    too_large           manifest or files beyond what a pen takes
    key_missing         the running firmware has no update.key, so it takes no bundle
    signature_invalid   altered, or signed by another key
    wrong_board         built for another board
    bytecode_version    .mpy files that this MicroPython can not load
    installed           the version that is running
    downgrade           not above the highest version that ever proved itself here
    on_trial            the running version must prove itself first; the bundle is kept
    no_space            flash has no room for it beside the journal's reserve
    no_memory           the heap has no room for its manifest
    file_damaged        a file in flash has another SHA-256 than the manifest says
    write_failed        flash reported an error
"""

import os
from binascii import hexlify
from hashlib import sha256

from needletrail_protocol import cbor
from needletrail_protocol.errors import ProtocolError

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

MAGIC = b"NTBUNDL1"
MANIFEST_MAX_BYTES = 6144
FILES_MAX_BYTES = 262144
RESERVE_BYTES = 32768  # of flash, which an update leaves to the journal
KEY_FILE = "update.key"  # modulus of the key that signs the next bundle, big endian
KEY_BYTES = 384
_CHUNK_BYTES = 512
# RFC 8017 section 9.2, note 1: DigestInfo of SHA-256, and the zero byte before it
_DIGEST_INFO = b"\x000\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
_NAME = "abcdefghijklmnopqrstuvwxyz0123456789_"


class Refused(Exception):
    """This bundle is not taken; the argument is one of the words above."""


class Bundle:
    """An opened bundle whose signature, board, bytecode and every path and length are good.

    `version` is the number that must rise, `text` what people call it. Refused otherwise.
    """

    def __init__(self, file: "Any", key: bytes, board: str, mpy_version: int) -> None:
        self._file = file
        head = file.read(10)
        if head[:8] != MAGIC[: len(head)]:
            raise Refused("malformed")
        length = int.from_bytes(head[8:], "big")
        if length > MANIFEST_MAX_BYTES:
            raise Refused("too_large")
        self._manifest = file.read(length)
        signature = file.read(KEY_BYTES)
        self._begin = 10 + length + KEY_BYTES
        end = file.seek(0, 2)
        if end < self._begin:
            raise Refused("truncated")
        if len(key) != KEY_BYTES:
            raise Refused("key_missing")
        digest = sha256(head)
        digest.update(self._manifest)
        if not is_signed(digest.digest(), signature, key):
            raise Refused("signature_invalid")
        is_well_formed = False
        try:
            is_well_formed = self._read()
        except ProtocolError:
            pass
        if not is_well_formed:
            raise Refused("malformed")
        if self._board != board:
            raise Refused("wrong_board")
        if self._mpy_version != mpy_version:
            raise Refused("bytecode_version")
        if self._bytes > FILES_MAX_BYTES:
            raise Refused("too_large")
        if end != self._begin + self._bytes:
            raise Refused("truncated" if end < self._begin + self._bytes else "malformed")

    def _item(self) -> "Any":
        item, self._at = cbor.decode_at(self._manifest, self._at, 0)
        return item

    def _read(self) -> bool:
        self._at = self._files = self._bytes = needed = 0
        self.version = self._item()
        self.text = self._item()
        self._board = self._item()
        self._mpy_version = self._item()
        self._entries_at = self._at
        last = ""
        for path, length, digest in self._entries():
            if (
                not is_path(path)
                or path <= last
                or type(length) is not int
                or length < 0
                or not isinstance(digest, bytes)
                or len(digest) != 32
            ):
                return False
            last = path
            needed += path == "firmware.mpy" or (path == KEY_FILE and length == KEY_BYTES)
            self._bytes += length
            self._files += 1
        return (
            needed == 2
            and type(self.version) is int
            and 1 <= self.version <= 0xFFFFFFFF
            and isinstance(self.text, str)
            and 1 <= len(self.text) <= 32
            and not self.text.strip(_NAME + ".+-")
        )

    def _entries(self) -> "Any":
        self._at = self._entries_at
        while self._at < len(self._manifest):
            yield self._item(), self._item(), self._item()

    def unpack(self, place: str, progress: "Any") -> None:
        """Fill the slot in folder `place`; its manifest comes last. `progress(bytes, of bytes)`.

        Refused or OSError leave a slot without a manifest, that is, one that never runs.
        """
        clear(place)
        space = os.statvfs(place)
        # Besides the bytes: a block for each file's end, for six folders and for the manifest.
        if (space[4] - self._files - 9) * space[1] < self._bytes + RESERVE_BYTES:
            raise Refused("no_space")
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        self._file.seek(self._begin)
        done = 0
        with open(place + "/new", "wb") as manifest:
            manifest.write(b"%d %s\n" % (self.version, self.text.encode()))
            for path, length, digest in self._entries():
                name = place + "/" + path
                at = path.find("/")
                while at > 0:
                    make_folder(place + "/" + path[:at])
                    at = path.find("/", at + 1)
                done += length
                left = length
                with open(name, "wb") as file:
                    while left:
                        count = self._file.readinto(buffer[: min(left, _CHUNK_BYTES)])
                        if not count:
                            raise OSError(5)  # it had its full length a moment ago
                        file.write(buffer[:count])
                        left -= count
                    file.flush()
                found = sha256()
                with open(name, "rb") as file:
                    while count := file.readinto(buffer):
                        found.update(buffer[:count])
                if found.digest() != digest:
                    raise Refused("file_damaged")
                manifest.write(hexlify(digest) + b"  " + path.encode() + b"\n")
                if progress is not None:
                    progress(done, self._bytes)
            manifest.flush()
        os.rename(place + "/new", place + "/manifest")


def is_signed(digest: bytes, signature: bytes, key: bytes) -> bool:
    """RSASSA-PKCS1-V1_5-VERIFY (RFC 8017 section 8.2.2) of a SHA-256; `key` is the modulus."""
    modulus = int.from_bytes(key, "big")
    number = int.from_bytes(signature, "big")
    right = b"\x01" + b"\xff" * (KEY_BYTES - 34 - len(_DIGEST_INFO)) + _DIGEST_INFO + digest
    return number < modulus and pow(number, 65537, modulus) == int.from_bytes(right, "big")


def is_path(path: "Any") -> bool:
    """True for update.key, and NAME.mpy in two folders at most; names are of a-z, 0-9 and _"""
    if not isinstance(path, str) or len(path) > 64 or not path.endswith(".mpy"):
        return path == KEY_FILE
    names = path[:-4].split("/")
    for name in names:
        if not name or name.strip(_NAME):
            return False
    return len(names) <= 3


def make_folder(name: str) -> None:
    """Make a folder if it is not there."""
    try:
        os.stat(name)
    except OSError:
        os.mkdir(name)


def clear(folder: str) -> None:
    """Remove all that is in a folder."""
    for name in os.listdir(folder):
        path = folder + "/" + name
        try:
            os.remove(path)
        except OSError:  # a folder
            clear(path)
            os.rmdir(path)
