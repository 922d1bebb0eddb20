"""Asking one provider at once, past queue and routes."""

import asyncio
from email.utils import format_datetime

from relay.core.clock import now
from relay.core.ids import new_id
from relay.core.provider import Outcome, Outgoing, OutgoingRecipient, Provider, ProviderProblem

#: seconds that a check or a test mail may take
PATIENCE = 60.0


async def check(provider: Provider) -> str:
    """What the provider says of itself; closes it. Raises `ProviderProblem`."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await provider.check()
    except TimeoutError:
        raise ProviderProblem(f"no answer within {PATIENCE:.0f} s") from None
    finally:
        await provider.aclose()


async def send(provider: Provider, *, sender: str, recipient: str) -> Outcome:
    """Send one test mail between normalised addresses; closes the provider. Raises `ProviderProblem`."""
    try:
        async with asyncio.timeout(PATIENCE):
            ((outcome,),) = await provider.send([_test_mail(provider.name, sender, recipient)])
            return outcome
    except TimeoutError:
        raise ProviderProblem(f"no answer within {PATIENCE:.0f} s") from None
    finally:
        await provider.aclose()


def _test_mail(provider: str, sender: str, recipient: str) -> Outgoing:
    identifier = new_id()
    raw = (
        f"From: {sender}\r\nTo: {recipient}\r\nSubject: Pillarbox test by {provider}\r\n"
        f"Date: {format_datetime(now())}\r\nMessage-ID: <{identifier}.test@{sender.rpartition('@')[2]}>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        f"This mail shows that the provider {provider} takes mail from Pillarbox.\r\n"
    ).encode()
    utf8 = not (sender.isascii() and recipient.isascii())
    return Outgoing(identifier, sender, (OutgoingRecipient(new_id(), recipient, 1),), raw, smtputf8=utf8)
