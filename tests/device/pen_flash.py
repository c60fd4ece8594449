"""A flash whose power can be cut at any step, and a maker who signs bundles. For both interpreters.

The signatures are made here with plain numbers, so that MicroPython can make them as well; a test
compares them with those of the gateway's tools. The keys are for tests alone.
"""

# ruff: noqa: B905
# This file also runs on MicroPython, which lacks what these rules ask for.

import hashlib
import struct
from binascii import crc32, hexlify

from needletrail_protocol import cbor

BOARD = "bench-1"
MPY = 6
BLOCK_BYTES = 4096


class PowerCut(BaseException):
    """The power went; no `except Exception` sees it."""


class Flash:
    """Files and folders in memory, with the part of os and open() that the firmware uses.

    Every operation is a step. With `steps_left` set, the step after the last one cuts the power: from
    then on everything raises PowerCut, until `power_on`. Names, folders and removals are on the medium
    at once, as in littlefs; of a file that was written and not yet flushed, `survives` decides what is
    there after a cut: "old" (what the name held before, as littlefs does), "half", or "all" of it.
    A cut in the middle of a write leaves half of that write in front of this.
    """

    def __init__(self, files=None, survives="old"):
        self.files = dict(files or {})
        self.folders = {"/flash"}
        for path in self.files:
            parts = path.split("/")
            for end in range(2, len(parts)):
                self.folders.add("/".join(parts[:end]))
        self.unflushed = {}  # path: what it holds on the medium, None if nothing
        self.survives = survives
        self.steps = 0
        self.steps_left = None
        self.is_off = False
        self.free_blocks = 1000
        self.fail_after_writes = None  # (writes, error number)
        self.largest_read = 0
        self.largest_write = 0
        self.writes = 0

    def copy(self, survives):
        other = Flash(self.files, survives)
        other.folders = set(self.folders)
        return other

    def put(self, path, data):
        """A file that came by cable."""
        self.files[path] = data

    # ---- power ----

    def step(self):
        if self.is_off:
            raise PowerCut
        if self.steps_left is not None:
            if self.steps_left == 0:
                self.cut()
                raise PowerCut
            self.steps_left -= 1
        self.steps += 1

    def cut(self):
        self.is_off = True
        for path in self.unflushed:
            old = self.unflushed[path]
            new = self.files.get(path, b"")
            if self.survives == "half":
                self.files[path] = new[: len(new) // 2]
            elif self.survives == "old" and old is not None:
                self.files[path] = old
            elif self.survives == "old":
                del self.files[path]
        self.unflushed = {}

    def power_on(self):
        assert not self.unflushed or self.is_off
        self.unflushed = {}
        self.is_off = False
        self.steps_left = None

    # ---- what os and open do ----

    def open(self, path, mode="r"):
        self.step()
        assert mode in ("rb", "wb")
        if mode == "rb":
            if path not in self.files:
                raise OSError(2, "no")
            return FlashFile(self, path)
        if path.rsplit("/", 1)[0] not in self.folders or path in self.folders:
            raise OSError(2, "no")
        if path not in self.unflushed:
            self.unflushed[path] = self.files.get(path)
        self.files[path] = b""
        return FlashFile(self, path)

    def listdir(self, folder):
        self.step()
        if folder not in self.folders:
            raise OSError(2, "no")
        found = []
        for path in list(self.files) + list(self.folders):
            parent, name = path.rsplit("/", 1)
            if parent == folder:
                found.append(name)
        return found

    def stat(self, path):
        self.step()
        if path not in self.folders and path not in self.files:
            raise OSError(2, "no")
        return (0,) * 10

    def statvfs(self, path):
        self.stat(path)
        return (BLOCK_BYTES, BLOCK_BYTES, 2000, self.free_blocks, self.free_blocks, 0, 0, 0, 0, 255)

    def mkdir(self, path):
        self.step()
        if path in self.folders or path.rsplit("/", 1)[0] not in self.folders:
            raise OSError(17, "no")
        self.folders.add(path)

    def rmdir(self, path):
        if self.listdir(path):
            raise OSError(39, "no")
        self.folders.remove(path)

    def remove(self, path):
        self.step()
        if path not in self.files:
            raise OSError(2, "no")
        del self.files[path]
        self.unflushed.pop(path, None)

    def rename(self, old, new):
        self.step()
        if old not in self.files:
            raise OSError(2, "no")
        self.unflushed.pop(new, None)
        if old in self.unflushed:
            self.unflushed[new] = self.unflushed.pop(old)
        self.files[new] = self.files.pop(old)


class FlashFile:
    """An opened file of a Flash."""

    def __init__(self, flash, path):
        self._flash = flash
        self._path = path
        self._at = 0

    def write(self, data):
        flash = self._flash
        data = bytes(data)
        flash.largest_write = max(flash.largest_write, len(data))
        if flash.fail_after_writes is not None and flash.writes == flash.fail_after_writes[0]:
            raise OSError(flash.fail_after_writes[1], "no")
        flash.writes += 1
        if flash.steps_left == 0:
            flash.files[self._path] += data[: len(data) // 2]
        flash.step()
        flash.files[self._path] += data
        return len(data)

    def flush(self):
        self._flash.step()
        self._flash.unflushed.pop(self._path, None)

    def seek(self, at, whence=0):
        self._at = at if whence == 0 else len(self._flash.files[self._path]) + at
        return self._at

    def read(self, count=None):
        self._flash.step()
        data = self._flash.files[self._path]
        end = len(data) if count is None else min(self._at + count, len(data))
        found = data[self._at : end]
        self._at = end
        self._flash.largest_read = max(self._flash.largest_read, len(found))
        return found

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self):
        data = self._flash.files[self._path]
        end = data.find(b"\n", self._at)
        return self.read((end + 1 if end >= 0 else len(data)) - self._at)

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        pass


class Inserted:
    """`with Inserted(flash, main, update, bundle):` these modules work on that flash."""

    def __init__(self, flash, *modules):
        self._flash = flash
        self._modules = modules
        self._before = []

    def __enter__(self):
        for module in self._modules:
            self._before.append((getattr(module, "open", None), getattr(module, "os", None)))
            module.open = self._flash.open
            if hasattr(module, "os"):
                module.os = self._flash
        return self._flash

    def __exit__(self, *rest):
        for module, before in zip(self._modules, self._before):
            if before[0] is None:
                del module.open
            else:
                module.open = before[0]
            if before[1] is not None:
                module.os = before[1]


# ---- a maker ----


class MakerKey:
    """An RSA private key: PKCS #1 signatures with plain numbers (RFC 8017 section 5.1.2)."""

    def __init__(self, p, q, d):
        self.p, self.q, self.d = p, q, d
        self.n = p * q
        self.modulus = self.n.to_bytes(384, "big")
        self._q_inverse = pow(q, p - 2, p)

    def power(self, number):
        """number ** d mod n, by the Chinese remainder theorem."""
        by_p = pow(number % self.p, self.d % (self.p - 1), self.p)
        by_q = pow(number % self.q, self.d % (self.q - 1), self.q)
        return by_q + self.q * ((by_p - by_q) * self._q_inverse % self.p)

    def sign(self, message):
        return self.sign_encoded(encoded_message(message))

    def sign_encoded(self, encoded):
        return self.power(int.from_bytes(encoded, "big")).to_bytes(384, "big")


SHA256_INFO = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"


def encoded_message(message):
    """EMSA-PKCS1-v1_5 (RFC 8017 section 9.2) with SHA-256, 384 bytes."""
    end = SHA256_INFO + hashlib.sha256(message).digest()
    return b"\x00\x01" + b"\xff" * (384 - 3 - len(end)) + b"\x00" + end


_MAKER_P = int(
    "f705308a62b746a03debdb67afae32267732e255fc394b51f62cf381414cd2787a92ec8be5b88caf034769804e46a9b0"
    "1815902930a7d2ef55e5646828b8d3c72ac13171b51dab537c89de343b82b4c811b769873c9a891f911a003c1dccfc43"
    "8c97bd21905373e6e24f4cfa4bf2bf961135c96f66f0b13c391b4fc23052439691c0b27d29e37d2fe329ff7b9c5c9ab7"
    "f345f2e4ee0c9634f5f6a0168ac47d8302574792fb60d8bd9368721e117a90b64f23655e089ad665a8cd3111ca11a231",
    16,
)
_MAKER_Q = int(
    "ee7fc7bec650c8b231d23ff7efdbaa6bd49b12c36bcc79aadf7b2afc5a6b06e8b851381c40ee146da334ca846eca85fc"
    "01606feb0118eac68471d0699e685a975c7c7b58867dbdbc4094c56145cd0e3e24a033e7a81262bfd75b3cb8919a5846"
    "ab5cc1f43452531595f50f769651677b67bfa2ea4c0a7425d2e6a79d8b5990af1a4c38324665d9d558a1de52f4049d6d"
    "87fadd61661eaf876de78e5ab2c6eb69a86a96db27bdf87d3f6bbcceb8a7e3a6a4e256c0c868ef85c864dfb73c3588ed",
    16,
)
_MAKER_D = int(
    "3499f69549389acaf0baa56e748d30369dc062287965a1a5a925f36c622a0cbdabac93d8acd791a7fb47bfd0cb7c1d58"
    "315b8b49ab71ef2d9524ee6c83f8fb1f084fe5f1e18d7326e6d554ba06e38dce7e35344103c037c042593463b1f28bb9"
    "2dbdfc93e9250873b440487969d00aed0e58ab26f98377f26ab7e5139600bdc6b75a002fe95094c922a9ca2771856649"
    "1b2872d0e6dbb153c2f14d7f37bd47413a09763614e72f874508451723464ef4e46ae7bbff1183c6238beddc20c42983"
    "d37ddd702dd37bafc6b06f334206a89827fae479473808faa21960ac60929cbc9e8278c1a7a0db4837d8aac98497b889"
    "94ad32eee724300e28aa6d370547fd9ea359ccb8df283ce11ac19b1c6fc3a917674dbb8f0dd5f2f177392ca5a02057b4"
    "125d3c6eaf86f80cd395168f6052c4165185a48755b5248a8e56cf40c5bb010cc9289425658aa7834a07ab46518df39e"
    "e01fab5d88ca03311e6d18bf62ab5a2635022eac86acba8b7fcda7a3a3e465964eec5573ee869fbd280b0010675ceff1",
    16,
)
_HEIR_P = int(
    "d514f2671fec9fcad23fa7f9fa7b64b69e7c176647f98eef4c998b50fc77fe53a8772ed619f5df720709bdb1d88b0361"
    "7ee1ed8b144cda2870f221209e617cdb533250ea08ee01deeb8aea371f65455648b39b1171832a550cb58f66301f1f92"
    "51a759ecdbde59b0e3c6103ffc79d79dc06a9797585e1145cea4f37216b9b336ddd397ebe822c5b88b03eed9512ffe30"
    "9cb95f5189a1155615b1bfe4d88dab0ef912742d2d066281b3d04138682a76826048ce0d11bdf83e0dd0525d1d1c8fb7",
    16,
)
_HEIR_Q = int(
    "cda2b43ff070bb8f603c7162624c9326b7e8ee5c907265406853376c1d275a038a09fa0ab31ce5dd40ace2a2263b1198"
    "2bc4aa633cb44b45fd11c54c964b4035a89467df8efec668e2446182d01eec0c005f885ae7271356a28b1886875d223e"
    "10ec7413860db77e466d210358a95c892034221d57f3adac113fadf1764407472ed153439223c955cb282c9981cec9c4"
    "0d6a28a5da98805486b3e27769f8ef8938cef8c96922d3a4b41f7764ab53acff0c1de4fc31a5ebb26820021cc412a969",
    16,
)
_HEIR_D = int(
    "1d21d37dba72b39980517f0ead91e4f1b8a713d67c937ac2430db991c6aa5191e30ad33718305ec5b1ae49e2f69fddc5"
    "afa740a3fa9367835ee46b954363aef9583d70b97a657227de2d3c50b6d14d2f3b4c4df27e5d511c63605e747f818c63"
    "650dadc3db0d99509f403c53c7a48d0bacbaa561b4ef0c95bad1a354e9484a46d393f0f0d4dfe17ab1aee08771fc4b0f"
    "fb73335efbd737c370eac7558244752b5478cbd6802e4f48ec50212015716a0aa37be89f562182fc510b7af4d8da45ca"
    "72db681d945dbe0a88cee4cefbc1ba1c573dd510857c70d981065a4c3df64fc4014b1947445b0200e51c0dfd868f6770"
    "3b249af9c1674df66fde429a2ee817b08ab81f8b0ec78272311dc5cbacdbc7ad870b72754c0801b7a557074028876912"
    "1741e8b9033ed7289086d429a0743dbc083f0b7677aea0b707edf62c6540a83f43ad62ffdecfdbd83b25e49b66a04123"
    "2a72c3f79ea07aaf47274a2d1198815bf8b75a06bd70e7ad385fe45d66c3628118976e7b41ffd68ed6303ae3f7aeb21",
    16,
)

MAKER = MakerKey(_MAKER_P, _MAKER_Q, _MAKER_D)
HEIR = MakerKey(_HEIR_P, _HEIR_Q, _HEIR_D)  # who signs after the key was replaced


def module(text, size=0):
    """What stands for a compiled module: an .mpy header and a text that the test's firmware obeys."""
    data = b"M\x06\x00\x1f" + text.encode()
    return data + bytes([index * 7 & 255 for index in range(max(0, size - len(data)))])


def firmware_files(behaviour, next_key=MAKER):
    """Files of a small firmware: {path: bytes}."""
    return {
        "firmware.mpy": module(behaviour),
        "needletrail_device/one.mpy": module("one of " + behaviour, 700),
        "update.key": next_key.modulus,
    }


def manifest_of(files, version, text="0.1.0", board=BOARD, mpy=MPY):
    fields = [version, text, board, mpy]
    for path in sorted(files):
        fields += [path, len(files[path]), hashlib.sha256(files[path]).digest()]
    return sequence(fields)


def sequence(fields):
    return b"".join([cbor.encode(field) for field in fields])


def signed_head(manifest, key=MAKER):
    """The bundle as far as its signature."""
    signed = b"NTBUNDL1" + len(manifest).to_bytes(2, "big") + manifest
    return signed + key.sign(signed)


def bundle_of(files, version, key=MAKER, text="0.1.0", board=BOARD, mpy=MPY):
    head = signed_head(manifest_of(files, version, text, board, mpy), key)
    return head + b"".join([files[path] for path in sorted(files)])


def state_of(serial, highest, confirmed, trial=0, boots_left=0, given_up=0):
    data = struct.pack("<IIBBBB", serial, highest, confirmed, trial, boots_left, given_up)
    return data + struct.pack("<I", crc32(data))


def slot_of(files, version, name):
    """{path in flash: bytes} of a whole slot."""
    found = {}
    lines = ["%d 0.1.0" % version]
    for path in sorted(files):
        found["/flash/slots/%s/%s" % (name, path)] = files[path]
        digest = hexlify(hashlib.sha256(files[path]).digest()).decode()
        lines.append(digest + "  " + path)
    found["/flash/slots/%s/manifest" % name] = ("\n".join(lines) + "\n").encode()
    return found


def flash_with(*parts, state=None):
    """A Flash with these dictionaries of files, and both copies of a state."""
    files = {"/flash/pen.json": b"{}"}
    for part in parts:
        files.update(part)
    if state is not None:
        files["/flash/slots/state.a"] = files["/flash/slots/state.b"] = state
    return Flash(files)
