"""Exim from Debian on loopback, unpacked and not installed: a server that takes mail first and bounces it after."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import debian, services
from tests.installation import free_port

_PACKAGES = (
    "exim4-daemon-light",
    "libevent-2.1-7",
    "libgnutls-dane0",
    "libidn12",
    "libnss-wrapper",
    "libpcre2-8-0",
    "libunbound8",
)

_CONFIGURATION = """
primary_hostname = mx.example.net
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
spool_directory = {directory}/spool
log_file_path = {directory}/log/%s
exim_path = {directory}/exim
deliver_drop_privilege = true
disable_ipv6 = true
acl_smtp_rcpt = take
acl_smtp_data = take
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
tls_advertise_hosts =
smtp_accept_max_per_connection = 100

begin acl
take:
  accept

begin routers
home:
  driver = manualroute
  domains = bounce.example.org
  transport = out
  route_list = * 127.0.0.1::{home}
  self = send

further:
  driver = manualroute
  domains = refusing.example
  transport = out
  route_list = * 127.0.0.1::{refusing}
  self = send

gone:
  driver = redirect
  local_parts = gone
  allow_fail
  data = :fail: no such user here

full:
  driver = redirect
  local_parts = full
  allow_fail
  data = :fail: mailbox is full (over quota)

there:
  driver = redirect
  local_parts = there
  data = :blackhole:

begin transports
out:
  driver = smtp
  hosts_avoid_tls = *

begin retry
* * F,2h,1m
"""


@contextlib.contextmanager
def running(home: int, refusing: int) -> Iterator[int]:
    """Its port. Bounces go to `home`; mail for refusing.example goes on to `refusing`."""
    program = debian.tool("exim4", *_PACKAGES)
    directory = services.short_directory("pb-ex-")
    # Its user is compiled in; the wrapper says that there is one. It will not be root.
    owner = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    who = f"{owner.pw_uid}:{owner.pw_gid}"
    (directory / "passwd").write_text(f"root:x:0:0::/:/bin/sh\nDebian-exim:x:{who}::/:/bin/false\n")
    (directory / "group").write_text(f"root:x:0:\nDebian-exim:x:{owner.pw_gid}:\n")
    for name in ("spool", "log"):
        (directory / name).mkdir()
    port = free_port()
    configuration = directory / "exim.conf"
    configuration.write_text(
        _CONFIGURATION.format(directory=directory, port=port, home=home, refusing=refusing)
    )
    if os.getuid() == 0:
        directory.chmod(0o755)
        for name in ("spool", "log"):
            os.chown(directory / name, owner.pw_uid, owner.pw_gid)
    (wrapper,) = (debian.ROOT / "usr" / "lib").glob("*/libnss_wrapper.so")
    # It calls itself, and cleans its environment before it does.
    known = {
        "LD_LIBRARY_PATH": debian.environment()["LD_LIBRARY_PATH"],
        "LD_PRELOAD": str(wrapper),
        "NSS_WRAPPER_PASSWD": str(directory / "passwd"),
        "NSS_WRAPPER_GROUP": str(directory / "group"),
    }
    # Unpacked by root it is setuid, and would not look for libraries where these are.
    shutil.copyfile(program, directory / "exim4")
    (directory / "exim4").chmod(0o755)
    itself = directory / "exim"
    exports = "".join(f"export {name}='{value}'\n" for name, value in known.items())
    itself.write_text(f"#!/bin/sh\n{exports}exec '{directory}/exim4' \"$@\"\n")
    itself.chmod(0o755)
    process = subprocess.Popen(
        [itself, "-C", configuration, "-bdf"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _wait(process, port, directory)
        yield port
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.communicate()
        shutil.rmtree(directory, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    end = time.monotonic() + 100
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as line:
            line.settimeout(5)
            if line.recv(200).startswith(b"220 "):
                return
        time.sleep(0.05)
    process.kill()
    _, words = process.communicate()
    logs = [path.read_text() for path in (directory / "log").glob("*")]
    pytest.fail(f"Exim did not start: {words.decode()} {' '.join(logs)}")
