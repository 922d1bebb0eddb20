"""A mail as SparkPost's transmission. https://developers.sparkpost.com/api/transmissions/#transmissions-post-send-rfc822-content"""

from typing import Any

from providers.api import ascii_domain
from relay.core.parts import Unsayable
from relay.core.provider import Outgoing


def fits(mail: Outgoing) -> None:
    """Raises `Unsayable` for bytes that a JSON string cannot hold or that SparkPost would write over."""
    try:
        text = mail.raw.decode()
    except UnicodeDecodeError:
        raise Unsayable(
            "the mail has eight-bit characters that are not UTF-8, and JSON holds nothing else"
        ) from None
    # Substitution runs over MIME content; switching it off is documented for other content only.
    if "{{" in text:
        raise Unsayable("the mail has {{, which this provider would take for a template")


def transmission(mail: Outgoing, return_path: str | None) -> dict[str, Any]:
    recipients = [
        {"address": {"email": ascii_domain(one.address)}, "metadata": {"pillarbox": mail.token}}
        for one in mail.recipients
    ]
    said: dict[str, Any] = {
        "recipients": recipients,
        "content": {"email_rfc822": mail.raw.decode()},
        "options": {
            "transactional": True,
            "open_tracking": False,
            "click_tracking": False,
            "perform_substitutions": False,
        },
    }
    if mail.tag:
        said["campaign_id"] = mail.tag.encode()[:64].decode("utf-8", "ignore")
    if return_path:
        said["return_path"] = return_path
    return said
