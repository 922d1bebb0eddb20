"""The parent of `pillarbox up`: what it starts is ready, stays up, ends in order, and never outlives it."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from relay.embedded import socket_path
from tests.services import short_directory

PATIENCE = 90  # seconds until a condition that must come true is given up


class Scene:
    """One run of `scene.py`, in a process group of its own."""

    def __init__(self, *arguments, **environment):
        self.seen = []
        path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("scene.py"), *map(str, arguments)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.rest = b""

    @property
    def pid(self):
        return self.process.pid

    def expect(self, *words):
        """The first line from here on that has all these words, as a list."""
        while True:
            line, newline, rest = self.rest.partition(b"\n")
            if newline:
                self.rest = rest
                self.seen.append(line.decode().split())
                if set(words) <= set(self.seen[-1]):
                    return self.seen[-1]
                continue
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], f"waited in vain for {words}"
            # Not by lines: what a buffered reader has taken already, select does not see.
            more = os.read(self.process.stdout.fileno(), 4096)
            if not more:
                pytest.fail(f"ended before {words}: {self.process.stderr.read().decode()}")
            self.rest += more

    def started(self, *names):
        """The processes of these children, by name, once everything is ready."""
        self.expect("ready")
        pids = {line[0]: int(line[1]) for line in self.seen if line[-1] == "started"}
        return [pids[name] for name in names]

    def send(self, number):
        os.kill(self.pid, number)

    def send_group(self, number):
        os.killpg(self.pid, number)

    def end(self):
        """The exit code, after everything that was still to be said."""
        out, self.err = self.process.communicate(timeout=PATIENCE)
        self.seen += [line.split() for line in (self.rest + out).decode().splitlines()]
        return self.process.returncode

    def facts(self, event):
        return [fact for fact in map(json.loads, self.err.splitlines()) if fact["event"] == event]


@pytest.fixture
def play():
    scenes = []

    def start(*arguments, **environment):
        scenes.append(Scene(*arguments, **environment))
        return scenes[-1]

    yield start
    for scene in scenes:
        # Gone when the test went well. What it has started ends with it.
        if scene.process.poll() is None:
            scene.process.kill()
        scene.process.communicate()


@pytest.fixture
def data_dir():
    directory = short_directory("pb-sup-")
    yield directory
    shutil.rmtree(directory)


def wait_ended(*pids):
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([fd], [], [], PATIENCE)[0], f"process {pid} is still there"
        finally:
            os.close(fd)


def running(pid):
    """Not a zombie either: where nobody collects orphans, an ended process keeps its number."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_it_is_ready_when_all_children_are_and_ends_them_when_told(play):
    scene = play("-", "one", "two")
    one, two = scene.started("one", "two")
    scene.send(signal.SIGTERM)
    assert scene.end() == 0
    assert not running(one)
    assert not running(two)
    assert scene.facts("process ended; starting it again") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_is_harmless_however_often(play, number):
    # However slow the machine is, both signals are one Ctrl-C.
    scene = play("-", "one", "deaf", SAME_CTRL_C="600")
    scene.started()
    scene.send_group(number)
    scene.expect("one", "SIGTERM")
    scene.send_group(number)
    scene.expect("deaf", number.name)
    deaf = next(int(line[1]) for line in scene.seen if line[0] == "deaf")
    assert running(deaf)
    # It was patient with the child; nothing else would end it.
    os.kill(deaf, signal.SIGKILL)
    assert scene.end() == 0


def test_children_are_told_to_end_once(play):
    scene = play("-", "deaf")
    (deaf,) = scene.started("deaf")
    scene.send(signal.SIGTERM)
    scene.expect("deaf", "SIGTERM")
    scene.send(signal.SIGTERM)
    scene.send(signal.SIGHUP)
    scene.expect("deaf", "SIGHUP")
    os.kill(deaf, signal.SIGKILL)
    assert scene.end() == 0
    assert [line[2] for line in scene.seen if line[0] == "deaf"] == ["started", "SIGTERM", "SIGHUP"]


def test_who_does_not_end_in_time_is_killed(play):
    # Long enough for one who does end, on a busy machine.
    scene = play("-", "one", "deaf", DRAIN="3")
    one, deaf = scene.started("one", "deaf")
    scene.send(signal.SIGTERM)
    assert scene.end() == 0
    assert not running(one)
    assert not running(deaf)
    assert [fact["name"] for fact in scene.facts("process did not end in time and was killed")] == ["deaf"]


def test_a_second_ctrl_c_hurries(play):
    scene = play("-", "deaf")
    (deaf,) = scene.started("deaf")
    scene.send_group(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    # As somebody at a keyboard would: again and again until it ends.
    while scene.process.poll() is None:
        assert time.monotonic() < deadline
        scene.send(signal.SIGINT)
        time.sleep(0.1)
    assert scene.end() == 0
    assert not running(deaf)


def test_a_child_that_dies_is_started_again_and_the_others_are_left_alone(play):
    scene = play("-", "one", "two")
    one, two = scene.started("one", "two")
    os.kill(one, signal.SIGKILL)
    again = int(scene.expect("one", "started")[1])
    assert again != one
    assert running(two)
    scene.send(signal.SIGTERM)
    assert scene.end() == 0
    (fact,) = scene.facts("process ended; starting it again")
    assert (fact["name"], fact["code"]) == ("one", -signal.SIGKILL)


def test_a_child_that_keeps_dying_is_started_more_and_more_slowly(play):
    scene = play("-", "flaky", "one")
    for _ in range(4):
        scene.expect("flaky", "started")
    scene.send(signal.SIGTERM)
    assert scene.end() == 0
    facts = scene.facts("process ended; starting it again")
    assert [fact["pause"] for fact in facts[:3]] == [0.1, 0.2, 0.4]
    assert {fact["code"] for fact in facts} == {3}


@pytest.mark.parametrize(("child", "code"), [("refusing", 2), ("raising", 1)])
def test_a_child_that_cannot_start_ends_the_start_with_its_code(play, data_dir, child, code):
    scene = play(data_dir, "one", child)
    assert scene.end() == code
    assert not any(line[0] == "ready" for line in scene.seen)
    (fact,) = scene.facts("process did not start; giving up")
    assert (fact["name"], fact["code"]) == (child, code)
    assert not any(running(int(line[1])) for line in scene.seen if line[-1] == "started")
    assert not socket_path(data_dir).exists()


def test_a_child_that_is_never_ready_ends_the_start(play):
    scene = play("-", "one", "silent", START="3")
    assert scene.end() == 1
    assert [fact["name"] for fact in scene.facts("process did not start; giving up")] == ["silent"]


def test_a_stop_while_starting_is_a_clean_end(play):
    scene = play("-", "one", "silent")
    scene.expect("one", "started")
    scene.send_group(signal.SIGTERM)
    assert scene.end() == 0


def test_hangup_reaches_every_child(play):
    scene = play("-", "one", "two")
    scene.started()
    scene.send(signal.SIGHUP)
    heard = {scene.expect("SIGHUP")[0], scene.expect("SIGHUP")[0]}
    assert heard == {"one", "two"}
    scene.send(signal.SIGTERM)
    assert scene.end() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
@pytest.mark.parametrize("whole_group", [False, True])
def test_nothing_outlives_a_parent_that_is_killed(play, data_dir, whole_group):
    scene = play(data_dir, "one", "two")
    one, two = scene.started("one", "two")
    valkey = int(scene.seen[-1][2])
    assert running(valkey)
    if whole_group:
        scene.send_group(signal.SIGKILL)
    else:
        scene.send(signal.SIGKILL)
    scene.process.wait(PATIENCE)
    wait_ended(one, two, valkey)


def test_the_queue_server_ends_last(play, data_dir):
    scene = play(data_dir, "one", "deaf")
    _one, deaf = scene.started("one", "deaf")
    valkey = int(scene.seen[-1][2])
    scene.send_group(signal.SIGTERM)
    scene.expect("one", "SIGTERM")
    scene.expect("deaf", "SIGTERM")
    # One child is still at work, and has its queue.
    assert redis.Redis(unix_socket_path=str(socket_path(data_dir))).ping()
    os.kill(deaf, signal.SIGKILL)
    assert scene.end() == 0
    assert not running(valkey)


def test_a_queue_server_that_dies_comes_back_with_what_it_held(play, data_dir):
    scene = play(data_dir, "one")
    scene.started()
    with redis.Redis(unix_socket_path=str(socket_path(data_dir))) as client:
        client.set("key", "value")
        before = client.info("server")["process_id"]
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    after = before
    while after == before:
        assert time.monotonic() < deadline
        try:
            with redis.Redis(unix_socket_path=str(socket_path(data_dir))) as client:
                after = client.info("server")["process_id"]
                assert client.get("key") == b"value"
        except redis.RedisError:
            time.sleep(0.02)
    scene.send(signal.SIGTERM)
    assert scene.end() == 0
    assert len(scene.facts("queue server ended; starting it again")) == 1
    assert not running(after)


def test_a_second_run_in_the_same_directory_shares_the_queue_server_and_leaves_it(play, data_dir):
    first = play(data_dir, "one")
    first.started()
    second = play(data_dir, "two")
    second.started()
    assert second.seen[-1][2] == "None"
    second.send(signal.SIGTERM)
    assert second.end() == 0
    assert redis.Redis(unix_socket_path=str(socket_path(data_dir))).ping()
    first.send(signal.SIGTERM)
    assert first.end() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_new_run_works_right_after_the_old_one_was_killed(play, data_dir):
    first = play(data_dir, "one")
    first.started()
    first.send(signal.SIGKILL)
    second = play(data_dir, "two")
    second.started()
    second.send(signal.SIGTERM)
    assert second.end() == 0


def test_a_queue_server_that_cannot_start_ends_the_start(play, data_dir):
    (socket_path(data_dir) / "in the way").mkdir(parents=True)
    scene = play(data_dir, "one")
    assert scene.end() == 2
    assert [line[0] for line in scene.seen] == ["misconfigured"]


def test_an_idle_supervisor_sleeps(play):
    scene = play("-", "one")
    scene.started()
    before = Path(f"/proc/{scene.pid}/schedstat").read_text().split()[2]
    scene.send(signal.SIGHUP)
    scene.expect("one", "SIGHUP")
    after = Path(f"/proc/{scene.pid}/schedstat").read_text().split()[2]
    # One signal, a handful of turns on a processor: it waited in between.
    assert int(after) - int(before) < 50
    scene.send(signal.SIGTERM)
    assert scene.end() == 0
