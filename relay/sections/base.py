"""What the tables of the configuration are made with."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Network = IPv4Network | IPv6Network
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(gt=0)]
ProviderName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]

MIB = 1024 * 1024


class Section(BaseModel):
    """A table of the file. A key nobody knows is an error: a typo must not become a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Faults(ValueError):
    """Faults that lie between tables, each with the path of the key that it is about."""

    def __init__(self, found: Iterable[tuple[tuple[str, ...], str]]) -> None:
        self.found = tuple(found)
        super().__init__("; ".join(f"{'.'.join(path)}: {reason}" for path, reason in self.found))
