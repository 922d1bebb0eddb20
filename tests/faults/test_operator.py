"""What people read when something is wrong, word for word as docs/operations.md has it, and that it mends itself."""

import asyncio
import contextlib
import datetime as dt
import json
import re
import shutil
import smtplib
import ssl
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import trustme

from tests import services
from tests.faults.campaign import filled, tmpfs
from tests.faults.servers import OwnPostgres
from tests.installation import Installation, wait_for
from tests.sink import Sink

pytestmark = pytest.mark.slow

_GUIDE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
_OUT = """
[log]
format = "json"
[delivery.retry]
delays = [1]
jitter = 0
[routes.circuit]
pause = 1
longest_pause = 1
[providers.main]
type = "smtp"
host = "127.0.0.1"
port = {port}
"""
_PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def promised(trouble: str) -> dict[str, list[str]]:
    """What the guide says of a trouble: phrases by who reads them."""
    (part,) = re.findall(rf"^### {re.escape(trouble)}\n(.*?)(?=^##)", _GUIDE, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| ([^|]+) \| ((?:[^|]|\\\|)+) \|$", part, re.MULTILINE)[2:]
    return {who: re.findall(r"`([^`]+)`", words) for who, words in rows}


class Readers:
    """What each of those who look at an installation has read."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.read: defaultdict[str, list[str]] = defaultdict(list)
        self._logged = 0

    def smtp(self, **tls: Any) -> bool:
        """Try to hand a mail in; whether it was taken."""
        try:
            with smtplib.SMTP("127.0.0.1", self.installation.smtp_port, timeout=30) as door:
                if tls:
                    door.starttls(**tls)
                door.login("default", self.installation.key)
                door.sendmail(
                    "ann@example.org", "take-smtp@far.example", "From: ann@example.org\r\n\r\nx\r\n"
                )
                return True
        except smtplib.SMTPRecipientsRefused as refused:
            ((code, words),) = refused.recipients.values()
            self.read["SMTP client"].append(f"{code} {words.decode()}")
        except smtplib.SMTPResponseException as refused:
            said = refused.smtp_error
            words = said.decode() if isinstance(said, bytes) else said
            self.read["SMTP client"].append(f"{refused.smtp_code} {words}")
        except ssl.SSLError as error:
            self.read["SMTP client"].append(str(error))
        return False

    def rest(self) -> bool:
        fields = {
            "from": "ann@example.org",
            "recipient": "take-rest@far.example",
            "subject": "x",
            "body": "<p>x</p>",
        }
        status, answer = self.installation.request("/v1/transactional/email/send", fields)
        if status != 201:
            self.read["REST client"].append(f"{status} {answer['code']}: {answer['message']}")
        return status == 201

    def doctor(self) -> None:
        done = self.installation.run("doctor", "--json")
        for one in json.loads(done.stdout):
            self.read["doctor"].append(f"{one['subject']}: {one['says']}")
            self.read["doctor"].append(one["todo"] or "")

    def command(self, name: str, *arguments: str) -> None:
        done = self.installation.run(*arguments)
        self.read[name].append(" ".join((done.stdout + done.stderr).split()))

    def log(self, who: str = "the log") -> str:
        """Lines that have come since the last look, in the form `event: words of its fields`."""
        lines = [line for one in self.installation.processes for line in one.output.splitlines()]
        fresh, self._logged = lines[self._logged :], len(lines)
        for line in fresh:
            if line.startswith("{"):
                fields = json.loads(line)
                self.read[who].append(f"{fields.pop('event')}: {' '.join(map(str, fields.values()))}")
        return "\n".join(self.read[who])

    def hold_to(self, trouble: str) -> None:
        """Everything that the guide quotes has been read, by those who are named."""
        for who, phrases in promised(trouble).items():
            seen = "\n".join(self.read[who])
            for phrase in phrases:
                pattern = ".*".join(map(re.escape, phrase.split("…")))
                assert re.search(pattern, seen), f"{who} did not read: {phrase}\nbut:\n{seen}"


@contextlib.contextmanager
def running(directory: Path, sink: Sink, more: str = "", **urls: str) -> Iterator[Readers]:
    with Installation(directory, _OUT.format(port=sink.port) + more, **urls) as installation:
        yield Readers(installation)


def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "data"
    with Sink() as sink, tmpfs("96m", disk), running(tmp_path, sink, 'tls = "none"\n') as readers:
        config = readers.installation.config
        config.write_text("min_free_space = 0\n" + config.read_text())
        readers.installation.up()
        assert readers.smtp(), readers.read
        assert readers.rest()
        with filled(disk):
            wait_for(lambda: not readers.smtp(), "the door's noticing")
            wait_for(lambda: not readers.rest(), "the other's noticing")
            readers.doctor()
            readers.log()
        wait_for(readers.smtp, "mail taken again")
        wait_for(readers.rest, "mail taken again by the other door")
        wait_for(lambda: "database is back" in readers.log("the log, once it is mended"), "the word for it")
        wait_for(lambda: not open_mail(readers), "the going out of all")
        readers.hold_to("The disk is full")


def open_mail(readers: Readers) -> list[Any]:
    return [one for one in readers.installation.messages() if one["status"] == "ACCEPTED"]


def test_a_wrong_database_password(tmp_path: Path) -> None:
    root = services.short_directory("pb-pw-")
    root.chmod(0o755)
    server = OwnPostgres(root, fsync="off")

    def ask(*statements: str) -> None:
        async def asked() -> None:
            connection = await asyncpg.connect(server.url)
            for one in statements:
                await connection.execute(one)
            await connection.close()

        asyncio.run(asked())

    server.start()
    try:
        ask("CREATE ROLE relay LOGIN PASSWORD 'right'", "CREATE DATABASE relay OWNER relay")
        rules = server.data / "pg_hba.conf"
        rules.write_text(f"local all relay scram-sha-256\n{rules.read_text()}")
        ask("SELECT pg_reload_conf()")
        url = f"postgresql://relay:right@/relay?host={server.data}"
        with Sink() as sink, running(tmp_path, sink, 'tls = "none"\n', database=url) as readers:
            readers.installation.up()
            assert readers.smtp(), readers.read
            ask(
                "ALTER ROLE relay PASSWORD 'another'",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'relay'",
            )
            wait_for(lambda: not readers.smtp(), "the door's noticing")
            wait_for(lambda: not readers.rest(), "the other's noticing")
            readers.doctor()
            readers.command("queue", "queue")
            wait_for(lambda: "password" in readers.log(), "the word for it")
            ask("ALTER ROLE relay PASSWORD 'right'")
            wait_for(readers.smtp, "mail taken again")
            wait_for(readers.rest, "mail taken again by the other door")
            wait_for(lambda: "database is back" in readers.log("the log, once it is mended"), "the word")
            wait_for(lambda: not open_mail(readers), "the going out of all")
            assert "right" not in "\n".join(readers.read["the log"])
            readers.hold_to("The database refuses the password")
    finally:
        server.stop()
        shutil.rmtree(root)


def test_a_certificate_that_is_over(tmp_path: Path) -> None:
    """Ours, and then the provider's."""
    authority = trustme.CA()
    over = authority.issue_cert("localhost", "127.0.0.1", not_after=_PAST)
    good = authority.issue_cert("localhost", "127.0.0.1")
    ours = tmp_path / "cert.pem", tmp_path / "key.pem"

    def write(issued: trustme.LeafCert) -> None:
        issued.private_key_pem.write_to_path(ours[1])
        issued.cert_chain_pems[0].write_to_path(ours[0])

    write(over)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with Sink(tls="starttls", authority=authority) as sink:
        more = f'tls = "require"\nca_file = "{sink.ca_file}"\n'
        with running(tmp_path, sink, more) as readers:
            config = readers.installation.config
            port = f"port = {readers.installation.smtp_port}\n"
            files = f'certificate = "{ours[0]}"\nkey = "{ours[1]}"\n'
            config.write_text(config.read_text().replace(port, port + files, 1))
            readers.installation.up()
            assert not readers.smtp(context=trusting)
            readers.doctor()
            write(good)
            wait_for(lambda: readers.smtp(context=trusting), "the new one's use")
            wait_for(lambda: "certificate" in readers.log("the log, once it is mended"), "the word for it")
            readers.hold_to("A door's certificate is over")
            wait_for(lambda: not open_mail(readers), "the going out")

            sink.use_certificate(over)
            sink.hang_up()
            for _ in range(6):
                assert readers.rest()
            wait_for(lambda: "circuit opened" in readers.log(), "the circuit's opening")
            readers.doctor()
            readers.command("queue list", "queue", "list")
            sink.use_certificate(good)
            wait_for(lambda: not open_mail(readers), "the going out")
            wait_for(lambda: "circuit closed" in readers.log("the log, once it is mended"), "the word for it")
            readers.hold_to("A provider's certificate is over")


def test_a_provider_key_that_was_revoked(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("first")
    with Sink(users={"relay": "first"}) as sink:
        more = f'tls = "none"\nusername = "relay"\npassword = "file:{secret}"\nplaintext_auth = true\n'
        with running(tmp_path, sink, more) as readers:
            readers.installation.up()
            assert readers.smtp(), readers.read
            wait_for(lambda: not open_mail(readers), "the going out")
            sink.users = {"relay": "second"}
            sink.hang_up()
            for _ in range(6):
                assert readers.rest()
            wait_for(lambda: "circuit opened" in readers.log(), "the circuit's opening")
            readers.doctor()
            readers.command("queue list", "queue", "list")
            readers.command("providers check", "providers", "check", "main")
            secret.write_text("second")
            # What was refused before the circuit opened has a minute's pause of its own.
            wait_for(lambda: sink.count >= 2, "the going out of what waits for the circuit")
            assert readers.smtp(), readers.read
            wait_for(lambda: "circuit closed" in readers.log("the log, once it is mended"), "the word for it")
            assert not {"first", "second"} & set(" ".join(readers.read["the log"]).split())
            readers.hold_to("A provider refuses our key")
