"""Mail programs that people use, as they are: each gets its mail in, whole."""

import email
import email.policy
import json
import logging.handlers
import smtplib
import ssl
import subprocess
from collections.abc import Callable
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests import debian, node
from tests.smtp.door import Door

TEXT = "Grüße\n.dot\n..dots\nFrom here\n" + "long " * 300 + "\n"


@pytest.fixture
def secure(open_door: Callable[..., Door], certificate: dict[str, Path]) -> Door:
    """A door with STARTTLS, TLS from the first octet, and a printer's listener; AUTH under TLS only."""
    strict: dict[str, Any] = {"port": 0, "plain_auth_from": [], **certificate}
    return open_door(
        listeners=[
            strict,
            {**strict, "tls": "implicit"},
            {"port": 0, "tls": "none", "allow_from": ["127.0.0.1/32"], "account": "legacy"},
        ]
    )


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def _port(door: Door, listener: int) -> str:
    return str(door.server.addresses[listener][1])


def _run(command: list[Any], stdin: str | None = None, **more: Any) -> str:
    done = subprocess.run(
        [str(one) for one in command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env=debian.environment(),
        **more,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _parsed(stored: dict[str, Any]) -> EmailMessage:
    return email.message_from_bytes(stored["raw"], policy=email.policy.default)  # type: ignore[return-value]


def _swaks() -> Path:
    return debian.tool(
        "swaks",
        "swaks",
        "perl-modules-5.36",
        "libnet-ssleay-perl",
        "libio-socket-ssl-perl",
        "libauthen-sasl-perl",
    )


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("pipelined", [False, True])
def test_swaks(mechanism: str, pipelined: bool, secure: Door) -> None:
    said = _run(
        [
            _swaks(),
            *("--server", "127.0.0.1", "--port", _port(secure, 0), "--tls", "--auth", mechanism),
            *("--auth-user", "erp", "--auth-password", secure.key),
            *(
                "--from",
                "app@example.org",
                "--to",
                "a@example.net,b@example.net",
                "--header",
                "Subject: swaks",
            ),
            *(["--pipeline"] if pipelined else []),
        ]
    )
    (stored,) = secure.stored()
    assert f"250 2.0.0 queued as {stored['id']}" in said
    assert [r["address"] for r in stored["recipients"]] == ["a@example.net", "b@example.net"]
    assert stored["subject"] == "swaks"
    assert b"with ESMTPSA" in stored["raw"]


def test_swaks_over_implicit_tls(secure: Door) -> None:
    _run(
        [
            _swaks(),
            *("--server", "127.0.0.1", "--port", _port(secure, 1), "--tls-on-connect", "--auth", "PLAIN"),
            *("--auth-user", "erp", "--auth-password", secure.key),
            *("--from", "app@example.org", "--to", "a@example.net"),
        ]
    )
    assert len(secure.stored()) == 1


def test_swaks_is_told_that_the_key_is_wrong(secure: Door) -> None:
    done = subprocess.run(
        [
            str(_swaks()),
            *("--server", "127.0.0.1", "--port", _port(secure, 0), "--tls", "--auth", "PLAIN"),
            *(
                "--auth-user",
                "erp",
                "--auth-password",
                "guess",
                "--from",
                "app@example.org",
                "--to",
                "a@b.example",
            ),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=debian.environment(),
    )
    assert done.returncode == 28, done.stdout + done.stderr
    assert "535 5.7.8 " in done.stdout


def test_msmtp(secure: Door, trusted: Path, tmp_path: Path) -> None:
    program = debian.tool(
        "msmtp", "msmtp", "libgsasl18", "libsecret-1-0", "libntlm0", "libgssglue1", "libidn12"
    )
    config = tmp_path / "msmtprc"
    config.write_text(
        f"account default\nhost localhost\nport {_port(secure, 0)}\nauth on\nuser cron\npassword {secure.key}\n"
        f"tls on\ntls_starttls on\ntls_trust_file {trusted}\nfrom app@example.org\n"
    )
    config.chmod(0o600)
    # As cron hands mail to /usr/sbin/sendmail: bare LF, recipients in the header.
    mail = f"From: app@example.org\nTo: a@example.net\nBcc: b@example.net\nSubject: cron\n\n{TEXT}"
    _run([program, "-C", config, "-t", "--read-envelope-from"], mail)
    (stored,) = secure.stored()
    assert {r["address"] for r in stored["recipients"]} == {"a@example.net", "b@example.net"}
    assert b"\r\n\r\n" + TEXT.replace("\n", "\r\n").encode() in stored["raw"]
    assert b"bcc" not in stored["raw"].lower()


def test_smtp_source(secure: Door) -> None:
    program = debian.tool("smtp-source", "postfix")
    _run(
        [
            *(program, "-s", 5, "-m", 20, "-l", 20000, "-r", 3, "-f", "app@example.org"),
            *("-t", "rcpt@example.net", f"127.0.0.1:{_port(secure, 2)}"),
        ]
    )
    stored = secure.stored()
    assert len(stored) == 20
    assert all(len(mail["recipients"]) == 3 and mail["size"] > 20000 for mail in stored)


def test_curl(secure: Door, trusted: Path, tmp_path: Path) -> None:
    mail = tmp_path / "mail.txt"
    mail.write_bytes(f"From: app@example.org\r\nSubject: curl\r\n\r\n{TEXT}".replace("\n", "\r\n").encode())
    for url in (f"smtp://localhost:{_port(secure, 0)}", f"smtps://localhost:{_port(secure, 1)}"):
        _run(
            [
                *(
                    "curl",
                    "--silent",
                    "--show-error",
                    "--ipv4",
                    "--ssl-reqd",
                    "--cacert",
                    trusted,
                    "--url",
                    url,
                ),
                *(
                    "--mail-from",
                    "app@example.org",
                    "--mail-rcpt",
                    "a@example.net",
                    "--user",
                    f"x:{secure.key}",
                ),
                *("--upload-file", mail),
            ]
        )
    assert [mail["subject"] for mail in secure.stored()] == ["curl", "curl"]


_NODEMAILER = """
const nodemailer = require("nodemailer");
const [port, secure, pass, ca] = process.argv.slice(2);
const transport = nodemailer.createTransport({
  host: "localhost", port, secure: secure === "true", requireTLS: true, pool: true, maxConnections: 2,
  auth: { user: "node", pass }, tls: { ca: require("fs").readFileSync(ca) },
});
const sends = [];
for (let number = 0; number < 10; number++) {
  sends.push(transport.sendMail({
    from: "App <app@example.org>", to: "a@example.net", cc: "b@example.net", bcc: "c@example.net",
    subject: `nodemailer ${number} ✓`, text: "Grüße", html: "<p>Grüße</p>",
    attachments: [{ filename: "ünï.bin", content: Buffer.alloc(200000, number) }],
  }));
}
Promise.all(sends).then((all) => { console.log(JSON.stringify(all.map((one) => one.response))); transport.close(); });
"""


def test_nodemailer(secure: Door, trusted: Path) -> None:
    folder = node.package("nodemailer")
    replies = []
    for listener, implicit in ((0, "false"), (1, "true")):
        arguments = ["-", _port(secure, listener), implicit, secure.key, trusted]
        replies += json.loads(_run([node.program(), *arguments], _NODEMAILER, cwd=folder))
    stored = secure.stored()
    assert sorted(replies) == sorted(f"250 2.0.0 queued as {mail['id']}" for mail in stored)
    assert len(stored) == 20
    assert all(len(mail["recipients"]) == 3 for mail in stored)
    attachment = next(_parsed(stored[0]).iter_attachments())
    assert len(attachment.get_content()) == 200000


_PHPMAILER = r"""<?php
foreach (['Exception', 'PHPMailer', 'SMTP'] as $part) require "$argv[1]/$part.php";
foreach (['tls' => $argv[2], 'ssl' => $argv[3]] as $secure => $port) {
    $mail = new PHPMailer\PHPMailer\PHPMailer(true);
    $mail->isSMTP();
    $mail->Host = 'localhost'; $mail->Port = $port; $mail->SMTPSecure = $secure;
    $mail->SMTPAuth = true; $mail->Username = 'shop'; $mail->Password = $argv[4];
    $mail->SMTPOptions = ['ssl' => ['cafile' => $argv[5]]];
    $mail->CharSet = 'UTF-8';
    $mail->setFrom('app@example.org', 'Müllers Laden');
    $mail->addAddress('a@example.net'); $mail->addBCC('b@example.net');
    $mail->Subject = 'Grüße';
    $mail->msgHTML('<p>Grüße</p>');
    $mail->addStringAttachment(str_repeat("\x00\xff", 5000), 'rechnung.bin');
    $mail->send();
}
"""


def test_phpmailer(secure: Door, trusted: Path, tmp_path: Path) -> None:
    php = debian.tool(
        "php8.2", "php8.2-cli", "php8.2-common", "libphp-phpmailer", "libargon2-1", "libsodium23"
    )
    found = [root for root in (debian.ROOT, Path("/")) if (root / _LIBRARY).exists()]
    script = tmp_path / "send.php"
    script.write_text(_PHPMAILER)
    _run([php, script, found[0] / _LIBRARY, _port(secure, 0), _port(secure, 1), secure.key, trusted])
    stored = secure.stored()
    assert [mail["subject"] for mail in stored] == ["Grüße", "Grüße"]
    assert stored[0]["from"] == "Müllers Laden <app@example.org>"
    assert next(_parsed(stored[1]).iter_attachments()).get_content() == b"\x00\xff" * 5000


_LIBRARY = Path("usr/share/php/libphp-phpmailer/src")


def test_smtplib_with_text_made_by_hand(door: Door) -> None:
    """The first snippet that everybody finds: a string with bare LF."""
    message = "From: app@example.org\nTo: a@example.net\nSubject: by hand\n\nHello\n.\n..\nbye"
    with smtplib.SMTP("127.0.0.1", door.port) as server:
        server.login("anybody", door.key)
        server.sendmail("app@example.org", "a@example.net", message)
    assert door.stored()[0]["raw"].endswith(b"\r\n\r\nHello\r\n.\r\n..\r\nbye\r\n")


def test_smtplib_with_mime_as_string(door: Door) -> None:
    """The second: MIMEMultipart and as_string()."""
    message = MIMEMultipart("alternative")
    message["From"], message["To"], message["Subject"] = "app@example.org", "a@example.net", "Grüße"
    message.attach(MIMEText("Grüße", "plain"))
    message.attach(MIMEText("<p>Grüße</p>", "html"))
    with smtplib.SMTP("127.0.0.1", door.port) as server:
        server.login("anybody", door.key)
        server.sendmail(message["From"], [message["To"]], message.as_string())
    (stored,) = door.stored()
    assert stored["subject"] == "Grüße"
    assert _parsed(stored).get_body(("html",)).get_content() == "<p>Grüße</p>"  # type: ignore[union-attr]


def test_smtplib_with_send_message_and_starttls(secure: Door, client_tls: ssl.SSLContext) -> None:
    """The third, as the library's own documentation has it."""
    message = EmailMessage()
    message["From"], message["To"], message["Bcc"] = "app@example.org", "a@example.net", "b@example.net"
    message["Subject"] = "send_message"
    # The library writes ">From" for "From" at the start of a line.
    text = TEXT.replace("From here", "from here")
    message.set_content(text)
    with smtplib.SMTP("localhost", int(_port(secure, 0)), source_address=("127.0.0.1", 0)) as server:
        server.starttls(context=client_tls)
        server.login("anybody", secure.key)
        server.send_message(message)
    (stored,) = secure.stored()
    assert [r["address"] for r in stored["recipients"]] == ["a@example.net", "b@example.net"]
    assert _parsed(stored).get_content().replace("\r\n", "\n") == text


def test_pythons_log_handler(secure: Door) -> None:
    handler = logging.handlers.SMTPHandler(
        ("127.0.0.1", int(_port(secure, 2))), "app@example.org", ["ops@example.net"], "alarm"
    )
    handler.emit(logging.LogRecord("a", logging.ERROR, "f", 1, "disk on fire", None, None))
    handler.close()
    assert secure.stored()[0]["subject"] == "alarm"


def test_chunks_as_exchange_sends_them(secure: Door, client_tls: ssl.SSLContext) -> None:
    """Envelope and chunks together, parameters of RFC 3461, chunks cut anywhere, the last one empty or not."""
    body = b"".join(b"%07d " % number + b"x" * 60 + b"\r\n" for number in range(45_000))
    mail = (
        b"From: app@example.org\r\nTo: a@example.net\r\nSubject: exchange\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\n"
        + body
    )
    with secure.connect(0) as client:
        client.expect(220)
        client.ask("EHLO exchange.example.org", 250)
        client.ask("STARTTLS", 220)
        client.start_tls(client_tls)
        assert "250-CHUNKING" in client.ask("EHLO exchange.example.org", 250)
        client.ask(f"AUTH PLAIN {secure.plain()}", 235)
        for sizes in ([len(mail)], [100, 1, 1_000_000, 0, len(mail) - 1_000_101], [len(mail) - 1, 1, 0]):
            client.send(
                f"MAIL FROM:<app@example.org> SIZE={len(mail)} BODY=8BITMIME RET=HDRS ENVID=abc\r\n"
                "RCPT TO:<a@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@example.net\r\n".encode()
            )
            start = 0
            for number, size in enumerate(sizes):
                last = " LAST" if number == len(sizes) - 1 else ""
                client.send(f"BDAT {size}{last}\r\n".encode() + mail[start : start + size])
                start += size
            for _ in range(len(sizes) + 1):
                client.expect(250)
            assert client.expect(250)[0].startswith("250 2.0.0 queued as ")
    stored = secure.stored()
    assert len(stored) == 3
    assert all(one["raw"].endswith(mail) for one in stored)
