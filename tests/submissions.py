"""Mail as a door hands it in, for tests that are about what becomes of it."""

from typing import Any

from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door


def submission(account: int, *addresses: str, **fields: Any) -> Submission:
    """A small mail to these addresses, or to one; `fields` are those of `Submission` that matter."""
    usual: dict[str, Any] = {
        "account_id": account,
        "key_id": None,
        "door": Door.SMTP,
        "sender": "from@example.org",
        "recipients": [EnvelopeRecipient(address) for address in addresses or ("to@example.net",)],
        "head": b"Subject: x\r\n\r\n",
        "tail": MemoryTail(b"body\r\n"),
        "from_": "from@example.org",
    }
    return Submission(**(usual | fields))
