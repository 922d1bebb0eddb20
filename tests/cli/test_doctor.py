"""`pillarbox doctor`, on an installation that is well and on ones that are not."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay import signing
from relay.core.clock import now
from relay.core.inbox import InboxKind, InboxState
from relay.store import inbox
from relay.store.inbox import Told
from relay.store.sqlite import sqlite_engine
from tests.installation import Installation, wait_for
from tests.names import Names

Findings = dict[str, tuple[str, str, str]]


def examined(installation: Installation, *arguments: str) -> tuple[int, Findings]:
    done = installation.run("doctor", "--json", *arguments)
    assert done.returncode in {0, 1}, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return done.returncode, {one["subject"]: (one["level"], one["says"], one["todo"]) for one in found}


def certificate(directory: Path, name: str, **options: Any) -> str:
    issued = trustme.CA().issue_cert(name, **options)
    issued.private_key_pem.write_to_path(directory / "key.pem")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    return f'certificate = "{directory / "cert.pem"}"\nkey = "{directory / "key.pem"}"\n'


def rewrite(installation: Installation, before: str, after: str) -> None:
    written = installation.config.read_text()
    assert before in written
    installation.config.write_text(written.replace(before, after))


def test_an_installation_that_is_well(tmp_path: Path) -> None:
    plain = signing_key(tmp_path)
    with (
        Names(
            {
                "acme.example": {"TXT": ['"v=spf1 ~all"', '"something else"']},
                "_dmarc.acme.example": {"TXT": ['"v=DMARC1; p=none"']},
                "box._domainkey.acme.example": {"TXT": [f'"{plain}"']},
                "bounce.acme.example": {"MX": ["10 mail.acme.example."], "TXT": ['"v=spf1 mx -all"']},
                "mail.acme.example": {"A": ["192.0.2.1"]},
            }
        ) as names,
        Installation(
            tmp_path,
            '[ingest]\nbounce_domain = "bounce.acme.example"\n[smtp]\nhostname = "mail.acme.example"\n'
            f'[[dkim]]\ndomain = "acme.example"\nselector = "box"\nkey_file = "{tmp_path / "dkim.pem"}"\n',
        ) as installation,
    ):
        rewrite(installation, "[[smtp.listeners]]\n", "")
        rewrite(installation, f"port = {installation.smtp_port}\n", "")
        rewrite(
            installation,
            'hostname = "mail.acme.example"\n',
            'hostname = "mail.acme.example"\n'
            f"[[smtp.listeners]]\nport = {installation.smtp_port}\n{certificate(tmp_path, 'mail.acme.example')}",
        )
        installation.config.write_text(
            'public_url = "https://mail.acme.example"\n' + installation.config.read_text()
        )
        installation.up()
        assert installation.run("senders", "add", "acme.example").returncode == 0
        # Workers say that they are alive once they have begun.
        wait_for(
            lambda: installation.request("/v1/health/ready")[1]["status"] == "ready", "the readiness of all"
        )
        code, found = examined(installation, "--resolver", names.address)
        bad = {subject: one for subject, one in found.items() if one[0] == "fail"}
        assert not bad
        assert code == 0
        for subject in (
            "database",
            "queue server",
            "workers",
            "REST",
            f"SMTP 127.0.0.1:{installation.smtp_port}",
            f"certificate of port {installation.smtp_port}",
            "SPF of acme.example",
            "DMARC of acme.example",
            "DKIM at box._domainkey.acme.example",
            "return path bounce.acme.example",
            "public_url",
            "reports",
            "capture",
        ):
            assert found[subject][0] == "ok", (subject, found.get(subject))

        shown = installation.run("doctor", "--resolver", names.address)
        assert "looked at: 0 failed" in shown.stdout


def signing_key(directory: Path) -> str:
    """A key in a file, and its record."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "dkim.pem").write_bytes(pem)
    return signing.record_of(pem, where="here")


def test_an_installation_that_is_not(tmp_path: Path) -> None:
    signing_key(tmp_path)
    with (
        Names(
            {
                "acme.example": {"TXT": ['"v=spf1 ~all"', '"v=spf1 -all"']},
                "box._domainkey.acme.example": {"TXT": ['"v=DKIM1; k=ed25519; p=AAAA"']},
                "_dmarc.acme.example": {"FAIL": []},
            }
        ) as names,
        Installation(
            tmp_path,
            '[ingest]\nbounce_domain = "bounce.acme.example"\n'
            f'[[dkim]]\ndomain = "acme.example"\nselector = "box"\nkey_file = "{tmp_path / "dkim.pem"}"\n'
            '[providers.main]\ntype = "smtp"\nhost = "127.0.0.1"\nport = 1\n',
        ) as installation,
    ):
        past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        rewrite(
            installation,
            f"port = {installation.smtp_port}\n",
            f"port = {installation.smtp_port}\n{certificate(tmp_path, 'other.example', not_after=past)}",
        )
        code, found = examined(installation, "--offline")
        assert code == 1
        assert found["database"][0] == "fail"
        assert "pillarbox migrate" in found["database"][2]
        assert found["REST"][0] == "fail"
        assert found["queue server"][0] == "warn"
        assert "SPF of acme.example" not in found

        assert installation.run("migrate").returncode == 0
        assert installation.run("keys", "create", "--sender", "acme.example").returncode == 0
        unread = Told(
            InboxKind.WEBHOOK, "main", b"?", now(), state=InboxState.FAILED, reason="nobody knows it"
        )
        engine = sqlite_engine(tmp_path / "data" / "pillarbox.db")
        with engine.begin() as connection:
            inbox.put(connection, [unread])
        engine.dispose()
        code, found = examined(installation, "--resolver", names.address)
        assert code == 1
        assert found["reports"][:2] == ("warn", "1 could not be read: nobody knows it")
        assert found["workers"][0] == "warn"
        assert "ended on 2020-01-01" in found[f"certificate of port {installation.smtp_port}"][1]
        assert found["main"][0] == "fail"
        assert "providers.main" in found["main"][2]
        assert "2 records" in found["SPF of acme.example"][1]
        assert found["DMARC of acme.example"][0] == "warn"
        assert "another key" in found["DKIM at box._domainkey.acme.example"][1]
        assert found["return path bounce.acme.example"][0] == "fail"
        assert "MX 10" in found["return path bounce.acme.example"][2]


@pytest.mark.parametrize("url", ["postgresql://nobody:wrong@127.0.0.1:1/none"])
def test_a_database_that_is_not_there(tmp_path: Path, url: str) -> None:
    with Installation(tmp_path, database=url) as installation:
        code, found = examined(installation, "--offline")
        assert code == 1
        level, says, todo = found["database"]
        assert level == "fail"
        assert "cannot be reached" in says
        assert "wrong" not in says + todo
