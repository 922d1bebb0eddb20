"""The guides' snippets for other programs, in those programs: PHPMailer, msmtp, Postfix's configuration."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests import debian
from tests.smtp.door import Door

ROOT = Path(__file__).parents[2]
SMTP = (ROOT / "docs" / "smtp.md").read_text(encoding="utf-8")
MOVING = (ROOT / "docs" / "moving.md").read_text(encoding="utf-8")
_LIBRARY = Path("usr/share/php/libphp-phpmailer/src")


def blocks(guide: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)


@pytest.fixture
def door(open_door: Callable[..., Door], certificate: dict[str, Path]) -> Door:
    """As the guide's listener for submission."""
    listener: dict[str, Any] = {"port": 0, "plain_auth_from": [], **certificate}
    return open_door(listeners=[listener])


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def run(command: list[Any], stdin: str | None = None, **environment: str) -> str:
    done = subprocess.run(
        [str(one) for one in command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**debian.environment(), **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_phpmailer_as_told(door: Door, trusted: Path, tmp_path: Path) -> None:
    php = debian.tool(
        "php8.2", "php8.2-cli", "php8.2-common", "libphp-phpmailer", "libargon2-1", "libsodium23"
    )
    root = next(one for one in (debian.ROOT, Path("/")) if (one / _LIBRARY).exists())
    (snippet,) = blocks(SMTP, "php")
    snippet = snippet.replace("mail.example.org", "localhost").replace("587", str(door.port))
    script = tmp_path / "send.php"
    script.write_text(
        f"<?php\nforeach (['Exception', 'PHPMailer', 'SMTP'] as $part) require '{root / _LIBRARY}/'.$part.'.php';\n"
        f"{snippet}"
        f"$mail->SMTPOptions = ['ssl' => ['cafile' => '{trusted}']];\n"
        "$mail->setFrom('app@example.org'); $mail->addAddress('a@example.net');\n"
        "$mail->Subject = 'from PHP'; $mail->Body = 'Hello'; $mail->send();\n"
    )
    run([php, script], PILLARBOX_API_KEY=door.key)
    assert [mail["subject"] for mail in door.stored()] == ["from PHP"]


def test_msmtp_as_told(door: Door, trusted: Path, tmp_path: Path) -> None:
    program = debian.tool(
        "msmtp", "msmtp", "libgsasl18", "libsecret-1-0", "libntlm0", "libgssglue1", "libidn12"
    )
    (told,) = blocks(SMTP, "text")
    key = tmp_path / "cron.key"
    key.write_text(door.key + "\n")
    told = told.replace("/etc/pillarbox/cron.key", str(key)).replace("port 587", f"port {door.port}")
    config = tmp_path / "msmtprc"
    config.write_text(told.replace("host mail.example.org", "host localhost") + f"tls_trust_file {trusted}\n")
    config.chmod(0o600)
    run([program, "-C", config, "-t"], "To: a@example.net\nSubject: from cron\n\ndone\n")
    assert [mail["subject"] for mail in door.stored()] == ["from cron"]


@pytest.mark.parametrize("told", blocks(MOVING, "ini"))
def test_postfix_knows_what_it_is_told(told: str, tmp_path: Path) -> None:
    program = debian.tool("postconf", "postfix", "libdb5.3", "libicu72", "libnsl2", "libsasl2-2", "libtirpc3")
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\n" + told)
    (tmp_path / "master.cf").write_text("")
    said = run([program, "-c", tmp_path, "-n"])
    assert "unused parameter" not in said, said
    for line in told.splitlines():
        assert line in said


def test_java_is_told_properties() -> None:
    (told,) = blocks(SMTP, "properties")
    assert dict(line.split("=") for line in told.splitlines())["mail.smtp.starttls.required"] == "true"
