"""Opens, clicks and unsubscribing."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from relay.core.address import InvalidAddress, normalise
from relay.sections.base import MIB, Bytes, Section

_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+(?:/[A-Za-z0-9._~/-]*)?\Z")


def _url(text: str) -> str:
    if text and not _URL.match(text):
        raise ValueError("must be such as https://mail.example.org, without query or fragment")
    return text.rstrip("/")


def _address(text: str) -> str:
    try:
        return normalise(text) if text else ""
    except InvalidAddress as error:
        raise ValueError(f"{text}: {error}") from None


class TrackingSettings(Section):
    """Opens, clicks and unsubscribing. Nothing is tracked unless a mail, its stream or its key asks for it."""

    #: where pixels, links and unsubscribe pages are found from outside; empty means `public_url`
    url: Annotated[str, AfterValidator(_url)] = ""
    #: whether mail whose opens are to be tracked gets a pixel
    opens: bool = True
    #: whether mail whose clicks are to be tracked gets links that lead through us
    clicks: bool = True
    #: octets of a mail beyond which it is not edited, and so not tracked
    max_size: Bytes = 5 * MIB
    #: a mailbox somebody reads, named in List-Unsubscribe beside the page; empty for the page alone
    unsubscribe_mailto: Annotated[str, AfterValidator(_address)] = ""
    #: what is kept of the address that an open or click came from: its /24 or /48, all of it, or nothing
    client_address: Literal["network", "full", "none"] = "network"
