"""What refusals mean: the words of servers in wide use, the codes behind them, and doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.bounce import BounceClass, BounceReason
from relay.core.bounces import classify
from relay.core.reply import parse_reply

H, S, B = BounceClass.HARD, BounceClass.SOFT, BounceClass.BLOCK
R = BounceReason


@pytest.mark.parametrize(
    ("line", "kind", "reason"),
    [
        # Gmail, Outlook, Yahoo, Apple, Postfix, Exim, Exchange, qmail and others as they speak.
        ("550 5.1.1 The email account that you tried to reach does not exist.", H, R.NO_SUCH_USER),
        ("552 5.2.2 The email account that you tried to reach is over quota.", S, R.MAILBOX_FULL),
        ("550 5.2.1 The email account that you tried to reach is disabled.", H, R.INACTIVE),
        ("550 5.7.26 This mail has been blocked because the sender is unauthenticated.", B, None),
        ("550 5.7.1 [192.0.2.1] Our system has detected that this message is likely unsolicited mail.", B, None),
        ("421 4.7.28 Our system has detected an unusual rate of unsolicited mail", B, None),
        ("550 5.5.0 Requested action not taken: mailbox unavailable", H, R.NO_SUCH_USER),
        (("550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Part of their network is on our "
         "block list (S3150)."), B, R.REPUTATION),
        ("550 5.4.1 Recipient address rejected: Access denied.", H, R.NO_SUCH_USER),
        ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", H, R.NO_SUCH_USER),
        ("554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException", S, R.MAILBOX_FULL),
        ("554 delivery error: dd This user doesn't have a yahoo.com account", H, R.NO_SUCH_USER),
        ("553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list",
         B, R.REPUTATION),
        ("421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints", S, R.RATE),
        ("550 5.1.1 <x@example.net>: Recipient address rejected: User unknown in virtual alias table", H,
         R.NO_SUCH_USER),
        ("554 5.7.1 <x@example.net>: Relay access denied", B, R.RELAYING),
        ("550 Unrouteable address", H, R.NO_SUCH_USER),
        ("550 relay not permitted", B, R.RELAYING),
        ("550 sorry, no mailbox here by that name. (#5.1.1)", H, R.NO_SUCH_USER),
        ("553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", B, R.RELAYING),
        ("552 5.3.4 Message size exceeds fixed limit", S, R.TOO_LARGE),
        ("554 5.4.6 Too many hops 26 (25 max)", S, R.LOOP),
        (("556 5.1.10 <x@example.net>: Recipient address rejected: Domain example.net does not accept mail "
         "(nullMX)"), H, R.NO_SUCH_DOMAIN),
        ("450 4.7.1 <x@example.net>: Recipient address rejected: Greylisted, see https://example.net", S, R.RATE),
        ("550 5.7.1 SPF MAIL FROM check failed", B, R.AUTHENTICATION),
        ("554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", B, R.REPUTATION),
        ("550 5.7.1 message content rejected due to spam", B, R.SPAM),
        ("550 Verification failed for <app@example.org>: sender verify failed", B, R.AUTHENTICATION),
        # Codes that lie: words win.
        ("550 5.1.1 Message rejected as spam by content filtering", B, R.SPAM),
        ("550 5.7.1 No such user here", H, R.NO_SUCH_USER),
        ("550 5.1.1 <x@example.net> mailbox full", S, R.MAILBOX_FULL),
        ("554 5.0.0 Account has been suspended", H, R.INACTIVE),
        ("550 5.1.1 <a@example.org>: Sender address rejected: User unknown", B, R.AUTHENTICATION),
        # About us, in the words for recipients.
        ("550 5.7.1 Your IP address is not valid for sending", B, R.AUTHENTICATION),
        ("554 5.1.0 Sender denied", B, R.AUTHENTICATION),
        ("554 HELO host not found", B, R.AUTHENTICATION),
        ("554 Invalid domain name in HELO", B, R.AUTHENTICATION),
        ("550 5.7.1 invalid DKIM signature, domain unknown", B, R.AUTHENTICATION),
        ("550 5.7.1 DMARC policy: address does not exist in SPF", B, R.AUTHENTICATION),
        ("550 5.5.1 Invalid address syntax in From header", S, R.PROTOCOL),
        ("550 Message-ID header is missing or invalid user agent", S, R.PROTOCOL),
        ("550 Requested action not taken: mailbox unavailable. Reject due to policy restrictions", B, R.POLICY),
        # Other languages.
        ("550 5.1.1 Empfänger unbekannt", H, R.NO_SUCH_USER),
        ("550 Der Benutzer existiert nicht", H, R.NO_SUCH_USER),
        ("550 L'adresse n'existe pas", H, R.NO_SUCH_USER),
        ("550 El usuario no existe", H, R.NO_SUCH_USER),
        ("550 Usuário não existe", H, R.NO_SUCH_USER),
        ("550 Utente sconosciuto", H, R.NO_SUCH_USER),
        ("550 Gebruiker onbekend", H, R.NO_SUCH_USER),
        ("550 Użytkownik nie istnieje", H, R.NO_SUCH_USER),
        ("550 Пользователь не найден", H, R.NO_SUCH_USER),
        ("550 宛先が見つかりません", H, R.NO_SUCH_USER),
        ("550 收件人不存在", H, R.NO_SUCH_USER),
        ("552 Das Postfach ist voll", S, R.MAILBOX_FULL),
        ("552 La boîte aux lettres est pleine", S, R.MAILBOX_FULL),
        ("552 почтовый ящик переполнен", S, R.MAILBOX_FULL),
        # No words: the codes.
        ("550 5.1.1", H, R.NO_SUCH_USER),
        ("550 5.2.1", H, R.INACTIVE),
        ("452 4.2.2", S, R.MAILBOX_FULL),
        ("554 5.7.1", B, R.POLICY),
        ("550 5.7.23", B, R.AUTHENTICATION),
        ("554", B, R.POLICY),
        # Doubt.
        ("550", S, R.OTHER),
        ("550 5.0.0", S, R.OTHER),
        ("550 5.2.0 something else", S, R.OTHER),
        ("450 4.1.1 User unknown", S, R.NO_SUCH_USER),
        ("450 4.1.2 Domain not found", S, R.NO_SUCH_DOMAIN),
    ],
)  # fmt: skip
def test_a_reply(line, kind, reason):
    code, _, text = line.partition(" ")
    found = classify(parse_reply(int(code), text))

    assert found.kind is kind
    assert reason is None or found.reason is reason


def test_a_status_of_its_own_helps_where_the_reply_says_nothing():
    assert classify(parse_reply(550, "go away 5"), status="5.1.1").kind is H
    assert classify(None, status="5.2.2").reason is R.MAILBOX_FULL
    assert classify(None, status="4.1.1").kind is S
    assert classify(None).kind is S


@given(st.text(max_size=500), st.integers(200, 599), st.none() | st.text(max_size=12))
def test_anything_is_taken(words, code, status):
    classify(parse_reply(code, words), words, status=status)
    classify(None, words, status=status)
