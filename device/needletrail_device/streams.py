"""How a stream to the broker is opened: TCP, and over it TLS that trusts one authority alone.

Strategy: the clinic's own certificate authority is pinned: its certificate (DER) is in flash, and
nothing else is trusted. The broker's certificate must be signed by it, bear the host's name or address
as the pen knows it, and be in date. If not, there is no stream: never one without TLS instead. On
MicroPython the first bytes written begin the handshake, so that is where what is wrong is said: as a
ValueError in words, or as an OSError with the negative number of Mbed TLS (-29184: no TLS there).
Whoever waits too long cancels. Nothing here holds up the other tasks but looking up a host's name,
which in MicroPython is a call that blocks; an address as `host` needs none.

Dates need a clock: MicroPython 1.25 checks them. A pen whose clock was not set stands in the year 2000
or 2021, and refuses a certificate that is "not yet valid". The owner sets the clock first.
"""

# ruff: noqa: PLC0415
# Each interpreter has a module for TLS that the other lacks.

import asyncio
import socket
import sys

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

POLL_S = 0.01
_POLL_OUT = 4
_NO_DELAY = (6, 1, 1)  # IPPROTO_TCP, TCP_NODELAY: MicroPython has no names for them
_IN_PROGRESS = (115, 119, 36)  # EINPROGRESS of Linux and lwIP, of ESP-IDF, of BSD


def pinned(ca: bytes) -> "Any":
    """A TLS context that trusts one authority, given by its certificate (DER).

    ValueError or OSError if it is none.
    """
    if sys.implementation.name == "micropython":
        import tls

        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        context.verify_mode = tls.CERT_REQUIRED
        context.load_verify_locations(ca)
        return context
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca)
    return context


async def open_stream(host: str, port: int, context: "Any" = None) -> "tuple[Any, Any]":
    """(reader, writer) of a new stream, over TLS if there is a context. OSError says what is wrong."""
    if sys.implementation.name != "micropython":
        reader, writer = await asyncio.open_connection(host, port)
        if context is not None:
            try:
                await writer.start_tls(context, server_hostname=host)
            except BaseException:
                writer.close()
                raise
        return reader, writer
    address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    sock: "Any" = socket.socket(address[0], address[1], address[2])
    outer = sock
    try:
        await _connect(sock, address[-1])
        if context is not None:
            outer = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        sock.close()
        raise
    stream = _Stream(outer, sock)
    return stream, stream


class _Stream(asyncio.StreamReader):
    """MicroPython's own, `s`, leaves the socket below it, `e`, open when TLS has failed."""

    if TYPE_CHECKING:
        s: Any
        e: Any

    async def wait_closed(self) -> None:
        self.s.close()
        self.e.close()


async def _connect(sock: "Any", address: "Any") -> None:
    import select

    sock.setblocking(False)
    try:
        sock.setsockopt(*_NO_DELAY)
    except OSError:  # a port that can not: slower, no more
        pass
    try:
        sock.connect(address)
    except OSError as error:
        if error.errno not in _IN_PROGRESS:
            raise
    poll = select.poll()
    poll.register(sock, _POLL_OUT)
    while not poll.poll(0):
        await asyncio.sleep(POLL_S)
