"""OpenSMTPD from Debian on loopback, unpacked and not installed, with a queue that gives up after seconds."""

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from tests import debian, services
from tests.installation import free_port
from tests.journeys import wrapped

_PACKAGES = ("opensmtpd", "libdb5.3", "libevent-2.1-7", *wrapped.PACKAGES)

_CONFIGURATION = """
listen on 127.0.0.1 port {port} hostname mx.example.net
queue ttl 6s
bounce warn-interval 1s
mta limit conn-delay-host 0
mta limit conn-delay-source 0
mta limit conn-delay-connector 0
mta limit conn-delay-relay 0
mta limit conn-delay-domain 0
action home relay host smtp://127.0.0.1:{home}
action out relay host smtp://127.0.0.1:{further}
match from any for domain "bounce.example.org" action home
match from any for any action out
"""

#: where its paths, which are compiled in, lead in a view of the files of its own
_MOUNTS = {"spool": "/var/spool", "lib": "/var/lib", "run": "/run"}


@functools.cache
def _apart() -> Sequence[str]:
    """The command before a command that may mount; none where nobody lets us."""
    for more in (["--user", "--map-root-user"], []):
        command = ["unshare", *more, "--mount"]
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return ()


@contextlib.contextmanager
def running(home: int, further: int) -> Iterator[int]:
    """Its port. Bounces go to `home`, other mail to `further`; it is warned of after 1 s and given up after 6."""
    if not _apart():
        raise services.ServiceMissing(
            "OpenSMTPD keeps its queue in /var/spool, and neither root nor user namespaces let us mount there"
        )
    debian.unpack(*_PACKAGES)
    directory = services.short_directory("pb-os-")
    for name in ("spool", "spool/smtpd", "lib", "lib/opensmtpd", "lib/opensmtpd/empty", "run"):
        (directory / name).mkdir()
        (directory / name).chmod(0o711)
    accounts = ("opensmtpd", "opensmtpq")
    known = wrapped.environment(directory, dict.fromkeys(accounts, (0, 0)), dict.fromkeys(accounts, 0))
    port = free_port()
    configuration = directory / "smtpd.conf"
    configuration.write_text(_CONFIGURATION.format(port=port, home=home, further=further))
    configuration.chmod(0o600)
    program = debian.ROOT / "usr" / "sbin" / "smtpd"
    steps = [
        *(f"mount --bind {shlex.quote(str(directory / name))} {at}" for name, at in _MOUNTS.items()),
        shlex.join(
            [
                "exec",
                "env",
                *(f"{name}={value}" for name, value in known.items()),
                str(program),
                "-d",
                "-f",
                str(configuration),
            ]
        ),
    ]
    command = [*_apart(), "sh", "-c", " && ".join(steps)]
    try:
        with wrapped.serving(command, {"PATH": os.environ["PATH"]}, port, directory):
            yield port
    finally:
        shutil.rmtree(directory, ignore_errors=True)
