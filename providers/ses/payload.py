"""A mail as SES's raw content. https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html"""

import base64
import re
from typing import Any

import orjson

from providers.api import ascii_domain
from relay.core.parts import Unsayable
from relay.core.provider import Outgoing

_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_-]")
_TOO_LONG = re.compile(rb"[^\n]{1000}")


def fits(mail: Outgoing) -> None:
    """Raises `Unsayable` for what raw mail may not have here."""
    if _TOO_LONG.search(mail.raw):
        raise Unsayable("a line is longer than the 1000 octets this provider takes")


def message(mail: Outgoing, configuration_set: str | None) -> bytes:
    """One recipient: opens and clicks do not say whose they are.

    The sender is left out, so that the mail's own From stays as it is. Tags take letters, digits, _ and - only.
    """
    tags = [{"Name": "pillarbox", "Value": mail.token.replace(".", "-")}]
    if mail.tag:
        tags.append({"Name": "tag", "Value": _NOT_IN_TAGS.sub("_", mail.tag)[:256]})
    said: dict[str, Any] = {
        "Content": {"Raw": {"Data": base64.b64encode(mail.raw).decode()}},
        "Destination": {"ToAddresses": [ascii_domain(one.address) for one in mail.recipients]},
        "EmailTags": tags,
    }
    if configuration_set:
        said["ConfigurationSetName"] = configuration_set
    return orjson.dumps(said)
