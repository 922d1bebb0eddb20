"""DKIM keys of the database: made by command, encrypted at rest, used and dropped while doors run."""

import asyncio
import re
import smtplib
from pathlib import Path

import dkim as verifier
import pytest
import sqlalchemy as sa

from relay import signing
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door
from relay.store import dkim, messages
from relay.store import tables as t
from relay.store.database import open_database
from tests.installation import Installation, wait_for

HEAD = b"From: app@example.org\r\nTo: a@example.net\r\nSubject: x\r\n\r\n"


def _submission() -> Submission:
    return Submission(
        account_id=1,
        key_id=1,
        door=Door.REST,
        sender="app@example.org",
        recipients=[EnvelopeRecipient("a@example.net")],
        head=HEAD,
        tail=MemoryTail(b"hi\r\n"),
        from_="app@example.org",
    )


def test_keys_are_used_when_they_come_and_dropped_when_they_go(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "_FRESH", 0)

    async def main() -> None:
        database = open_database(database_url)
        signer = signing.load([], database, "words")
        pem, record = signing.generate("ed25519", "words")
        foreign, other_record = signing.generate("rsa", "other words")
        counts = []
        for change in (
            None,
            (dkim.add, "example.org", "s1", pem, record),
            # A key that cannot be read keeps no mail back.
            (dkim.add, "example.org", "s2", foreign, other_record),
            (dkim.remove, "example.org", "s1"),
        ):
            if change:
                await database.write(*change)
            submission = _submission()
            await signer.sign(submission)
            counts.append(submission.head.count(b"DKIM-Signature:"))
            if counts[-1]:
                answer = record.encode()
                mail = submission.head + b"hi\r\n"
                assert verifier.DKIM(mail).verify(dnsfunc=lambda *_, **__: answer)  # noqa: B023
        assert counts == [0, 1, 1, 0]
        stored = await database.read(dkim.keys)
        assert [row["selector"] for row in stored] == ["s2"]
        assert "ENCRYPTED" in stored[0]["private_key"]
        await database.close()

    asyncio.run(main())


def test_a_domain_is_signed_for_from_the_command_to_the_mail(tmp_path: Path) -> None:
    with Installation(tmp_path, "[log]\nlevel = 'info'") as here:
        here.config.write_text(f'dkim_passphrase = "some words"\n{here.config.read_text()}')
        assert here.run("migrate").returncode == 0
        key = here.run("keys", "create").stdout.strip()
        created = here.run("dkim", "create", "Example.org")
        assert created.returncode == 0, created.stderr
        found = re.match(
            r'pillarbox\._domainkey\.example\.org\. TXT "(v=DKIM1; k=rsa; p=\S+)"', created.stdout
        )
        assert found, created.stdout
        assert here.run("dkim", "create", "example.org").returncode == 1
        assert "pillarbox" in here.run("dkim", "list").stdout
        process = here.start("smtp")
        wait_for(lambda: "listening" in process.output, "the door's opening")
        with smtplib.SMTP("127.0.0.1", here.smtp_port) as client:
            client.login("x", key)
            client.sendmail("app@example.org", ["a@example.net"], HEAD + b"hello \r\n\r\n")

        def read(connection: sa.Connection) -> bytes:
            return messages.raw(connection, connection.execute(sa.select(t.message.c.id)).scalar_one())

        async def stored() -> bytes:
            database = open_database(f"sqlite:///{here.directory / 'data' / 'pillarbox.db'}")
            try:
                return await database.read(read)
            finally:
                await database.close()

        mail = asyncio.run(stored())
        assert mail.startswith(
            b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=pillarbox;"
        )
        assert verifier.DKIM(mail).verify(dnsfunc=lambda *_, **__: found[1].encode())
        assert here.run("dkim", "remove", "example.org").returncode == 0
        assert here.run("dkim", "remove", "example.org").returncode == 1


def test_a_key_needs_a_passphrase(tmp_path: Path) -> None:
    with Installation(tmp_path) as here:
        assert here.run("migrate").returncode == 0
        refused = here.run("dkim", "create", "example.org")
        assert refused.returncode == 2
        assert "dkim_passphrase" in refused.stderr + refused.stdout
