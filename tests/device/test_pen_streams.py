"""Streams on this machine: opened, refused, and never one without TLS where TLS is wanted.

TLS that succeeds, and all that can be wrong with a certificate: tests/end_to_end/test_tls.py.
"""

import asyncio
from binascii import unhexlify

from pen_fakes import raises

from needletrail_device import streams

HOST = "127.0.0.1"
# A certificate of an authority that nobody has the key of (DER).
AUTHORITY = (
    "308201273081cda003020102020101300a06082a8648ce3d0403023010310e300c06035504030c0562656e6368"
    "3020170d3030303130313030303030305a180f32303939303130313030303030305a3010310e300c0603550403"
    "0c0562656e63683059301306072a8648ce3d020106082a8648ce3d0301070342000447f31e7fc8f70ef3b6a796"
    "1828e6e5434b51ec79ab8e6e4fddb36b50806750a6c3778a43d9767a408784934ee855408a695495aac543e4ba"
    "08c2ec6a56ec2cffa316301430120603551d130101ff040830060101ff020100300a06082a8648ce3d04030203"
    "49003046022100e41aeb4571e8d902fd56b89fdf792f6cc0df28dc35ef2ee65d0918baa3bbbb88022100bbe46b"
    "6692c9809dffcec3fec6b4cf3a42467a15f42e9f7fb812a8ee1eb6453c"
)


class Echo:
    """A server without TLS that says everything back, and what it heard."""

    def __init__(self):
        self.heard = b""
        self.is_ended = False

    async def _serve(self, reader, writer):
        while True:
            data = await reader.read(100)
            if not data:
                break
            self.heard += data
            writer.write(data)
            await writer.drain()
        self.is_ended = True
        writer.close()

    async def start(self):
        for port in range(42_000, 43_000):
            try:
                self.server = await asyncio.start_server(self._serve, HOST, port)
                return port
            except OSError:  # somebody else's
                pass
        raise AssertionError("no port is free")

    async def until_ended(self):
        while not self.is_ended:
            await asyncio.sleep(0.005)

    async def stop(self):
        self.server.close()
        await self.server.wait_closed()


async def close(writer):
    writer.close()
    await writer.wait_closed()


def test_bytes_go_both_ways_over_a_stream():
    async def talk():
        echo = Echo()
        port = await echo.start()
        reader, writer = await streams.open_stream(HOST, port)
        writer.write(b"hello")
        await writer.drain()
        assert await reader.read(5) == b"hello"
        await close(writer)
        await asyncio.wait_for(echo.until_ended(), 5)
        await echo.stop()

    asyncio.run(talk())


def test_where_nobody_listens_there_is_no_stream():
    async def attempt():
        echo = Echo()
        port = await echo.start()
        await echo.stop()
        with raises(OSError):
            _, writer = await streams.open_stream(HOST, port)
            writer.write(b"hello")  # MicroPython learns it here
            await writer.drain()

    asyncio.run(attempt())


def test_a_server_without_tls_hears_nothing_of_what_was_to_be_said():
    async def attempt():
        echo = Echo()
        port = await echo.start()
        context = streams.pinned(unhexlify(AUTHORITY))
        with raises(OSError):
            reader, writer = await streams.open_stream(HOST, port, context)
            try:
                writer.write(b"a secret")
                await writer.drain()
                await reader.read(1)
            finally:
                await close(writer)
        await asyncio.wait_for(echo.until_ended(), 5)  # the stream below is closed, too
        assert b"secret" not in echo.heard and echo.heard[:1] == b"\x16", "a handshake, no more"
        await echo.stop()

    asyncio.run(attempt())


def test_what_is_no_certificate_is_no_authority():
    errors = (OSError, ValueError)
    for data in (b"", b"no certificate", unhexlify(AUTHORITY)[:-40]):
        with raises(errors):
            streams.pinned(data)
    assert streams.pinned(unhexlify(AUTHORITY)) is not None
