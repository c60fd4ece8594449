"""The folder in flash, on a real file system: on MicroPython littlefs in RAM, else the machine's."""

import sys

from pen_fakes import raises

from needletrail_device.folder import Folder

BLOCK = 512
BLOCKS = 64


class Ram:
    """A block device (MicroPython's interface, the extended one)."""

    def __init__(self):
        self._data = bytearray(BLOCK * BLOCKS)

    def readblocks(self, block, data, at=0):
        start = block * BLOCK + at
        data[:] = self._data[start : start + len(data)]

    def writeblocks(self, block, data, at=0):
        start = block * BLOCK + at
        self._data[start : start + len(data)] = data

    def ioctl(self, what, _argument):
        return {4: BLOCKS, 5: BLOCK}.get(what, 0)


class Place:
    """`with Place() as path:` a folder that is not there yet, on a file system of its own."""

    def __enter__(self):
        if sys.implementation.name == "micropython":
            import vfs

            ram = Ram()
            vfs.VfsLfs2.mkfs(ram)
            vfs.mount(vfs.VfsLfs2(ram), "/ram")
            return "/ram/epoch-1"
        import tempfile

        self._made = tempfile.TemporaryDirectory()
        return self._made.name + "/epoch-1"

    def __exit__(self, *_rest):
        if sys.implementation.name == "micropython":
            import vfs

            vfs.umount("/ram")
        else:
            self._made.cleanup()


def test_a_folder_is_made_once_and_keeps_its_files():
    with Place() as path:
        folder = Folder(path)
        assert folder.names() == []
        folder.write("grant", b"one")
        again = Folder(path)
        assert again.names() == ["grant"] and again.read("grant") == b"one"
        assert again.read("other") is None


def test_a_small_file_is_replaced_and_renamed_over_another():
    with Place() as path:
        folder = Folder(path)
        folder.write("grant", b"a longer one")
        folder.write("grant", b"new")
        assert folder.read("grant") == b"new"
        folder.write("grant.new", b"newer")
        folder.rename("grant.new", "grant")
        assert folder.names() == ["grant"] and folder.read("grant") == b"newer"
        folder.remove("grant")
        assert folder.names() == []
        with raises(OSError):
            folder.remove("grant")


def test_what_was_appended_and_synced_is_there():
    with Place() as path:
        folder = Folder(path)
        for piece in (b"one ", b"two"):
            with folder.open("1.log", "ab") as file:
                file.write(piece)
                folder.sync(file)
                with folder.open("1.log", "rb") as other:
                    assert other.read(100)[-len(piece) :] == piece
        assert folder.read("1.log") == b"one two"
        with raises(OSError):
            folder.open("2.log", "rb")


def test_room_is_told_in_bytes():
    with Place() as path:
        folder = Folder(path)
        before = folder.free_bytes()
        assert before > 0
        if sys.implementation.name == "micropython":  # nobody else writes there
            assert before <= BLOCK * BLOCKS
            folder.write("1.log", bytes(4 * BLOCK))
            assert before - 6 * BLOCK <= folder.free_bytes() <= before - 4 * BLOCK
