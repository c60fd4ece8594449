"""What the firmware is given from outside, in memory. For both interpreters."""

from needletrail_protocol import authentication, conversation, messages, topics

CLINIC, PEN = "harbor", "pen-01"
KEY = authentication.MacKey(bytes(range(32)), 1)
BADGE_1 = b"\xd1\x01\x1cU\x04clinic.example/badge/est-01"
BADGE_1_AGAIN = b"\xd1\x01\x1bU\x04other.example/badge/est-01"
BADGE_2 = b"\xd1\x01\x1bU\x04clinic.example/badge/md-01"
CARTRIDGE_1 = b"cartridge one"
CARTRIDGE_2 = b"cartridge two"


class raises:
    """`with raises(ValueError): ...`: the block must raise it; the error is then in `error`."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.error = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        assert kind is not None, "nothing was raised"
        self.error = error
        return issubclass(kind, self.wanted)


class MemoryFile:
    """An opened file of a MemoryFolder."""

    def __init__(self, folder, name):
        self._folder = folder
        self._name = name
        self._at = 0

    def write(self, data):
        if self._folder.is_full:
            self._folder.files[self._name] += data[: len(data) // 2]
            raise OSError(28)
        self._folder.files[self._name] += data
        return len(data)

    def seek(self, at, whence=0):
        self._at = at if whence == 0 else len(self._folder.files[self._name])
        return self._at

    def read(self, count):
        data = self._folder.files[self._name][self._at : self._at + count]
        self._at += len(data)
        return bytes(data)

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        pass


class MemoryFolder:
    """folder.Folder in memory. `files` are its contents; a full one raises OSError in a write."""

    def __init__(self, files=None):
        self.files = {}
        for name in files or {}:
            self.files[name] = bytes(files[name])
        self.is_full = False

    def names(self):
        return list(self.files)

    def read(self, name):
        return self.files.get(name)

    def write(self, name, data):
        if self.is_full:
            raise OSError(28)
        self.files[name] = bytes(data)

    def open(self, name, mode):
        if mode == "ab":
            self.files.setdefault(name, b"")
        elif name not in self.files:
            raise OSError(2)
        return MemoryFile(self, name)

    def sync(self, file):
        pass

    def rename(self, old, new):
        self.files[new] = self.files.pop(old)

    def remove(self, name):
        del self.files[name]


def external(channel):
    return authentication.external_data(topics.build(CLINIC, PEN, channel), PEN, KEY.epoch)


def sealed(channel, payload, key=KEY):
    """(topic, message) from the gateway, or from the pen."""
    return topics.build(CLINIC, PEN, channel), authentication.seal(key, external(channel), payload)


def grant_message(issued=1000, expires=9000, nobody_um=0, permits=(("est-01", 500),), key=KEY, rules=0):
    fields = (issued, expires, "test 1", nobody_um, list(permits), rules)
    return sealed(topics.GRANT, conversation.encode_grant(fields), key)[1]


def badge_record(seq, session=1, badge=b"x"):
    """A small record's payload."""
    return messages.encode_record(messages.BADGE, (seq, seq * 10, session, badge))
