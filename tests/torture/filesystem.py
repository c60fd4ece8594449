"""The simulated flash as a littlefs, and its folder: what folder.Folder is on a board.

On CPython it is the C littlefs of the package littlefs-python; on MicroPython the interpreter's own
VfsLfs2. Geometries are those of MicroPython's ports: reads of 32 bytes, a look-ahead of 32, caches of
four programs, metadata moved after 100 erases; programs of 32 bytes (esp32) or 256 (rp2). `worn`
moves metadata after every second erase, so that moves are cut too.
"""

# ruff: noqa: SIM105
# This file also runs on MicroPython, which lacks what these rules ask for.

import sys

from torture import flash

IS_MICROPYTHON = sys.implementation.name == "micropython"
# littlefs syncs data before the metadata that names it since 2.9.3; MicroPython 1.25 has an older one.
# That needs a medium that keeps the order, as NOR flash does: a driver returns when the chip is done.
MAY_REORDER = not IS_MICROPYTHON
ESP32, RP2, WORN = 0, 1, 2
GEOMETRIES = ("esp32", "rp2", "worn")
_PROGRAM_BYTES = (32, 256, 32)
_BLOCK_CYCLES = (100, 100, 2)
FOLDER = "epoch-1"

if IS_MICROPYTHON:
    import vfs

    class _Device:
        """MicroPython's block device protocol, with byte offsets."""

        def __init__(self, medium):
            self._medium = medium

        def readblocks(self, block, buffer, offset=0):
            at = block * flash.BLOCK + offset
            buffer[:] = self._medium.load(at, len(buffer))
            return 0

        def writeblocks(self, block, buffer, offset=0):
            return self._medium.program(block * flash.BLOCK + offset, buffer)

        def ioctl(self, operation, argument):
            if operation == 3:
                return self._medium.sync()
            if operation == 4:
                return len(self._medium.image) // flash.BLOCK
            if operation == 5:
                return flash.BLOCK
            if operation == 6:
                return self._medium.erase(argument)
            return 0

    class Mounted:
        """A folder of a mounted littlefs."""

        def __init__(self, medium, geometry, is_new=False):
            device = _Device(medium)
            size = _PROGRAM_BYTES[geometry]
            if is_new:
                vfs.VfsLfs2.mkfs(device, progsize=size)
            self._fs = vfs.VfsLfs2(device, progsize=size)
            if is_new:
                self._fs.mkdir("/" + FOLDER)

        def names(self):
            return [entry[0] for entry in self._fs.ilistdir("/" + FOLDER)]

        def open(self, name, mode):
            return self._fs.open("/" + FOLDER + "/" + name, mode)

        def sync(self, file):
            file.flush()

        def rename(self, old, new):
            self._fs.rename("/" + FOLDER + "/" + old, "/" + FOLDER + "/" + new)

        def remove(self, name):
            self._fs.remove("/" + FOLDER + "/" + name)

        def write(self, name, data):
            with self.open(name, "wb") as file:
                file.write(data)
                self.sync(file)

        def free_bytes(self):
            figures = self._fs.statvfs("/")
            return figures[1] * figures[4]

        def unmount(self):
            self._fs.umount()

else:
    from littlefs import errors, lfs

    class _Context:
        """What littlefs-python calls for each access to the medium."""

        def __init__(self, medium):
            image = medium.image
            block_bytes = flash.BLOCK

            def read(_cfg, block, offset, size):
                at = block * block_bytes + offset
                return image[at : at + size]

            def prog(_cfg, block, offset, data):
                return medium.program(block * block_bytes + offset, data)

            def erase(_cfg, block):
                return medium.erase(block)

            def sync(_cfg):
                return medium.sync()

            self.read, self.prog, self.erase, self.sync = read, prog, erase, sync

    _FLAGS = {
        "rb": lfs.LFSFileFlag.rdonly,
        "ab": lfs.LFSFileFlag.wronly | lfs.LFSFileFlag.creat | lfs.LFSFileFlag.append,
        "wb": lfs.LFSFileFlag.wronly | lfs.LFSFileFlag.creat | lfs.LFSFileFlag.trunc,
    }

    class _File:
        def __init__(self, mounted, handle):
            self._mounted = mounted
            self._fs = mounted._fs
            self._handle = handle
            mounted._opened.append(self)

        def write(self, data):
            try:
                return lfs.file_write(self._fs, self._handle, data)
            except errors.LittleFSError as error:
                raise OSError(-error.code) from None

        def read(self, count):
            try:
                return lfs.file_read(self._fs, self._handle, count)
            except errors.LittleFSError as error:
                raise OSError(-error.code) from None

        def seek(self, at, whence=0):
            try:
                return lfs.file_seek(self._fs, self._handle, at, whence)
            except errors.LittleFSError as error:
                raise OSError(-error.code) from None

        def flush(self):
            try:
                lfs.file_sync(self._fs, self._handle)
            except errors.LittleFSError as error:
                raise OSError(-error.code) from None

        def close(self):
            if self in self._mounted._opened:
                self._mounted._opened.remove(self)
                try:
                    lfs.file_close(self._fs, self._handle)
                except errors.LittleFSError as error:
                    raise OSError(-error.code) from None

        def __enter__(self):
            return self

        def __exit__(self, *rest):
            self.close()

    class Mounted:
        """A folder of a mounted littlefs."""

        def __init__(self, medium, geometry, is_new=False):
            size = _PROGRAM_BYTES[geometry]
            self._config = lfs.LFSConfig(
                context=_Context(medium),
                block_size=flash.BLOCK,
                block_count=len(medium.image) // flash.BLOCK,
                read_size=32,
                prog_size=size,
                cache_size=4 * size,
                lookahead_size=32,
                block_cycles=_BLOCK_CYCLES[geometry],
            )
            self._fs = lfs.LFSFilesystem()
            self._opened = []
            try:
                if is_new:
                    lfs.format(self._fs, self._config)
                lfs.mount(self._fs, self._config)
                if is_new:
                    lfs.mkdir(self._fs, FOLDER)
            except errors.LittleFSError as error:
                raise OSError(-error.code) from None

        def names(self):
            found = []
            try:
                handle = lfs.dir_open(self._fs, FOLDER)
                entry = lfs.dir_read(self._fs, handle)
                while entry is not None:
                    if entry.type == lfs.LFSStat.TYPE_REG:
                        found.append(entry.name)
                    entry = lfs.dir_read(self._fs, handle)
                lfs.dir_close(self._fs, handle)
            except errors.LittleFSError as error:
                raise OSError(-error.code) from None
            return found

        def open(self, name, mode):
            try:
                handle = lfs.file_open(self._fs, FOLDER + "/" + name, _FLAGS[mode])
            except errors.LittleFSError as error:
                raise OSError(-error.code) from None
            return _File(self, handle)

        def sync(self, file):
            file.flush()

        def rename(self, old, new):
            try:
                lfs.rename(self._fs, FOLDER + "/" + old, FOLDER + "/" + new)
            except errors.LittleFSError as error:
                raise OSError(-error.code) from None

        def remove(self, name):
            try:
                lfs.remove(self._fs, FOLDER + "/" + name)
            except errors.LittleFSError as error:
                raise OSError(-error.code) from None

        def write(self, name, data):
            with self.open(name, "wb") as file:
                file.write(data)
                self.sync(file)

        def free_bytes(self):
            try:
                used = lfs.fs_size(self._fs)
            except errors.LittleFSError as error:
                raise OSError(-error.code) from None
            return max(0, self._config.block_count - used) * flash.BLOCK

        def unmount(self):
            """Give the C library's buffers back; the medium keeps what it has."""
            for file in list(self._opened):
                try:
                    file.close()
                except OSError:
                    pass
            lfs.unmount(self._fs)
