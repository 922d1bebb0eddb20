"""From a row to a mail, the same as one that is sent by itself."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from relay.bulk.wish import Wish
from relay.core.address import Mailbox, parse_mailbox
from relay.core.compose import Letter, compose
from relay.core.message import EnvelopeRecipient, Submission
from relay.core.status import Door, Lane
from relay.core.stream import Track
from relay.templates import Source, Template, load


def template_of(version: Mapping[str, Any], wish: Wish) -> Template:
    """The template of a batch, with the subject that its owner wants."""
    return load(Source(wish.subject or version["subject"], version["html"], version["text"]))


class Writer:
    """Writes the mail of one batch."""

    def __init__(self, batch: Mapping[str, Any], template: Template) -> None:
        options = dict(batch["options"])
        self._track = Track(*options.pop("key_track", (None, None)))
        self._wish = Wish.model_validate(options)
        self._batch = batch
        self._template = template
        self._from = parse_mailbox(self._wish.from_)
        self._reply_to = parse_mailbox(self._wish.reply_to).address if self._wish.reply_to else None

    def write(self, address: str, variables: Mapping[str, Any], at: datetime) -> Submission:
        """The mail for one row. Raises `BadTemplate` where the template does not suit it."""
        rendered = self._template.render(variables)
        head, tail = compose(
            Letter(
                from_=self._from,
                to=[Mailbox("", address)],
                subject=rendered.subject,
                html=rendered.html,
                text=rendered.text,
                reply_to=self._reply_to,
            ),
            at,
        )
        options: dict[str, Any] = {"stream": self._wish.stream, "lane": Lane.BULK}
        if self._wish.disable_tracking:
            options["disable_tracking"] = True
        return Submission(
            account_id=self._batch["account_id"],
            key_id=self._batch["key_id"],
            door=Door.REST,
            sender=self._from.address,
            recipients=[EnvelopeRecipient(address)],
            head=head,
            tail=tail,
            from_=str(self._from),
            subject=rendered.subject,
            reply_to=self._reply_to,
            tag=self._wish.tag,
            batch_id=self._batch["id"],
            track=self._track,
            smtputf8=not (head.isascii() and address.isascii()),
            expires_at=self._wish.expires_at,
            options=options,
        )


def wish_of(batch: Mapping[str, Any]) -> Wish:
    return Wish.model_validate(
        {name: value for name, value in batch["options"].items() if name != "key_track"}
    )
