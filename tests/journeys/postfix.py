"""Postfix from Debian on loopback, unpacked and not installed, with a queue that gives up after seconds."""

import contextlib
import os
import shutil
from collections.abc import Iterator

from tests import debian, services
from tests.installation import free_port
from tests.journeys import wrapped

_PACKAGES = ("postfix", "libdb5.3", "libicu72", "libnsl2", "libsasl2-2", "libtirpc3", *wrapped.PACKAGES)

_QUEUES = (
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming",
    "maildrop", "pid", "private", "public", "saved", "trace",
)  # fmt: skip

_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/spool
data_directory = {directory}/data
command_directory = {root}/usr/sbin
daemon_directory = {root}/usr/lib/postfix/sbin
shlib_directory = {root}/usr/lib/postfix
import_environment = MAIL_CONFIG {kept}
export_environment = {kept}
default_privs = another
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
myhostname = mx.example.net
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_dns_support_level = disabled
smtp_host_lookup = native
relayhost = [127.0.0.1]:{further}
transport_maps = inline:{{ bounce.example.org=smtp:[127.0.0.1]:{home} }}
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
delay_warning_time = 1s
bounce_queue_lifetime = 5s
maximal_queue_lifetime = 5s
"""

# The parts that take, route and send; nothing in a chroot.
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup   unix n - n 60 1 pickup
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
flush    unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp     unix - - n - - smtp
error    unix - - n - - error
retry    unix - - n - - error
anvil    unix - - n - 1 anvil
scache   unix - - n - 1 scache
postlog  unix-dgram n - n - 1 postlogd
"""


@contextlib.contextmanager
def running(home: int, further: int) -> Iterator[int]:
    """Its port. Bounces go to `home`, other mail to `further`; it is warned of after 1 s and given up after 5."""
    debian.unpack(*_PACKAGES)
    directory = services.short_directory("pb-pf-")
    for name in ("conf", "data", "spool", *(f"spool/{queue}" for queue in _QUEUES)):
        (directory / name).mkdir()
    # It refuses to be root, and takes what is its own by the owner.
    owner = (os.getuid() or 65534, os.getgid() or 65534)
    if os.getuid() == 0:
        for folder in (directory / "data", *(directory / "spool" / queue for queue in _QUEUES)):
            os.chown(folder, *owner)
    known = wrapped.environment(
        directory,
        {"postfix": owner, "another": (65533, 65533)},
        {"postfix": owner[1], "postdrop": 65532, "another": 65533},
    )
    port = free_port()
    (directory / "conf" / "main.cf").write_text(
        _MAIN.format(directory=directory, root=debian.ROOT, kept=" ".join(known), home=home, further=further)
    )
    (directory / "conf" / "master.cf").write_text(_MASTER.format(port=port))
    master = debian.ROOT / "usr" / "lib" / "postfix" / "sbin" / "master"
    # With -d it stays in the foreground.
    command = [master, "-d", "-c", directory / "conf"]
    try:
        with wrapped.serving(command, known, port, directory):
            yield port
    finally:
        shutil.rmtree(directory, ignore_errors=True)
