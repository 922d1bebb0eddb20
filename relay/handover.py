"""How a door leaves a port that it shares: whoever has come is served, and whoever comes gets another door.

The kernel gives a new connection to one of the sockets on the port, and resets what is in the queue of one that is
closed. So a socket that is to be closed first hears of nobody new: the packet that asks for a connection (SYN) is
dropped. Clients send it again after a second, when this socket is gone.
"""

import asyncio
import contextlib
import ctypes
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Protocol

_SO_ATTACH_FILTER = 26  # Linux; see socket(7)
#: seconds for connections that have been asked for to be made
_QUIET = 0.1

# A classic BPF program; octet 13 of a TCP header has its flags. Each line: code, jump if true, if false, value.
_DROP_NEW = (
    (0x30, 0, 0, 13),  # load the octet
    (0x54, 0, 0, 0x12),  # of SYN and ACK
    (0x15, 0, 1, 0x02),  # is there SYN alone?
    (0x06, 0, 0, 0),  # then nothing of the packet is kept
    (0x06, 0, 0, 0xFFFFFFFF),  # else all of it
)


class Listening(Protocol):
    def fileno(self) -> int: ...


def deafen(listener: Listening) -> None:
    """Have a listening socket hear of no new connection. Elsewhere than on Linux this does nothing."""
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in _DROP_NEW))
    described = struct.pack("HP", len(_DROP_NEW), ctypes.addressof(program))
    with contextlib.suppress(OSError), socket.socket(fileno=listener.fileno()) as known:
        try:
            known.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
        finally:
            known.detach()


async def let_in(listeners: Iterable[Listening]) -> None:
    """Return once nobody waits to be let in, nor will: then the sockets can be closed."""
    for one in listeners:
        deafen(one)
    await asyncio.sleep(_QUIET)
    # After a pause of the process the loop may look at its timers before it looks at its sockets.
    await asyncio.sleep(0.001)
