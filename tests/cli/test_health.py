"""`pillarbox health`, and whom the REST door believes about its clients' addresses."""

import urllib.error
import urllib.request
from pathlib import Path

from tests.installation import Installation, wait_for


def status(installation: Installation, key: str, **headers: str) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{installation.api_port}/v1/transactional/email",
        headers={"Authorization": f"Bearer {key}", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_doors_that_are_open_and_shut(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        written = installation.config.read_text()
        installation.config.write_text(
            written.replace("[api]\n", "[api]\nforwarded_from = ['127.0.0.0/8']\n")
        )
        shut = installation.run("health")
        assert shut.returncode == 1
        assert f"the REST door on port {installation.api_port}" in shut.stderr
        shut = installation.run("health", "smtp")
        assert shut.returncode == 1
        assert f"the SMTP door on port {installation.smtp_port}" in shut.stderr

        installation.up()
        checks = dict.fromkeys(("database", "disk", "queue", "workers"), "ok")
        # Workers say that they are alive once they have begun.
        wait_for(
            lambda: installation.request("/v1/health/ready") == (200, {"status": "ready", "checks": checks}),
            "the readiness of all",
        )
        for door in ("all", "rest", "smtp"):
            done = installation.run("health", door)
            assert (done.returncode, done.stdout) == (0, "ready\n"), done.stderr

        made = installation.run("keys", "create", "--network", "192.0.2.0/24")
        assert made.returncode == 0, made.stderr
        key = made.stdout.strip()
        assert status(installation, key) == 403
        assert status(installation, key, **{"X-Forwarded-For": "192.0.2.7"}) == 200
        assert status(installation, key, **{"X-Forwarded-For": "192.0.2.7, 198.51.100.1"}) == 403


def test_nobody_is_believed_unless_told(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        installation.up()
        made = installation.run("keys", "create", "--network", "192.0.2.0/24")
        key = made.stdout.strip()
        assert status(installation, key, **{"X-Forwarded-For": "192.0.2.7"}) == 403
