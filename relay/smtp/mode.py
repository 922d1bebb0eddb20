"""What a connection and its dialogue tell each other."""

import enum
from collections.abc import Coroutine
from typing import Any

#: A reply, or work that will end in one.
Answer = bytes | Coroutine[Any, Any, bytes]


class Mode(enum.Enum):
    """What the next octets of the client are."""

    COMMAND = enum.auto()
    DATA = enum.auto()
    CHUNK = enum.auto()  #: as many octets of a mail as BDAT has announced
    NO_DATA = enum.auto()  #: a command, but only once the client has seen that DATA was refused
    TLS = enum.auto()
    QUIT = enum.auto()  #: nothing; the client has said so
    CLOSED = enum.auto()  #: nothing; we have said so
