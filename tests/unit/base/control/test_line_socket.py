"""The process at the other end of a Unix socket: programs below the gateway are not heard, whatever they do to look foreign.

The gateway of these tests is a process of its own (`tests.servers.heard`), so this process is foreign to it, and all that it starts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.machine import needs_proc, skip_or_fail

pytestmark = needs_proc
ROOT: Final = Path(__file__).resolve().parents[4]

ASK: Final = """
import array, json, os, signal, socket, sys, time
from pathlib import Path

def connect(path):
    found = socket.socket(socket.AF_UNIX)
    found.connect(path)
    return found

def say(connection, text=b"hello\\n"):
    try:
        connection.sendall(text)
    except BrokenPipeError:
        pass

def hear(connection, place):
    answer = b""
    try:
        while chunk := connection.recv(65536):
            answer += chunk
            if answer.endswith(b"\\n"):
                break
    except ConnectionResetError:
        pass
    Path(place + ".new").write_bytes(answer)
    Path(place + ".new").rename(place)

def ask(path, place):
    connection = connect(path)
    say(connection)
    hear(connection, place)

path, place = sys.argv[1:3]
"""


class Heard:
    """The process with the socket."""

    def __init__(self, folder: Path, *before: str) -> None:
        self.folder = folder
        self.path = folder / "heard.sock"
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "tests.servers.heard", str(self.path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"listening\n"
        self._asked = 0

    def tell(self, words: list[str] | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words).encode() + b"\n")
        self.process.stdin.flush()

    def count_descriptors(self) -> int:
        self.tell(None)
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def words(self, program: str, *more: str) -> tuple[list[str], Path]:
        """Return the command of a hostile program, and the file of the answer that it gets."""
        self._asked += 1
        place = self.folder / f"answer-{self._asked}"
        return [sys.executable, "-c", ASK + textwrap.dedent(program), str(self.path), str(place), *more], place

    def below(self, program: str, *more: str, before: tuple[str, ...] = ()) -> Any:
        """Return the answer to a program that the process starts."""
        words, place = self.words(program, *more)
        self.tell([*before, *words])
        return read_answer(place)


def read_answer(place: Path) -> Any:
    until = time.monotonic() + 30
    while not place.exists():
        assert time.monotonic() < until, f"no answer came to {place}"
        time.sleep(0.01)
    return told(place.read_bytes())


def told(answer: bytes) -> Any:
    """Return the code of a refusal, or what the socket saw."""
    document = json.loads(answer)
    return document["ok"] if "ok" in document else document["error"]["code"]


@contextmanager
def heard_process(folder: Path, *before: str) -> Generator[Heard]:
    found = Heard(folder, *before)
    try:
        yield found
    finally:
        assert found.process.stdin is not None
        found.process.send_signal(signal.SIGCONT)
        with found.process:
            found.process.stdin.close()


@pytest.fixture
def heard(tmp_path: Path) -> Generator[Heard]:
    with heard_process(tmp_path) as found:
        yield found


def connect(heard: Heard) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.settimeout(30)
    found.connect(str(heard.path))
    return found


def ask(connection: socket.socket) -> Any:
    connection.sendall(b"hello\n")
    return told(connection.recv(65_536))


# --- programs below ----------------------------------------------------------------------------------

FORKED_TWICE: Final = """
    if os.fork() == 0:
        os.setsid()
        before = os.getpid()
        if os.fork() == 0:
            while os.getppid() == before:
                time.sleep(0.001)
            ask(path, place)
        os._exit(0)
    os.wait()
    time.sleep(2)
    """
WITH_A_TERMINAL: Final = """
    import pty
    number, _ = pty.fork()
    if number == 0:
        ask(path, place)
        os._exit(0)
    os.waitpid(number, 0)
    """
KILLED_PARENT: Final = """
    before = os.getpid()
    if os.fork() == 0:
        while os.getppid() == before:
            time.sleep(0.001)
        ask(path, place)
        os._exit(0)
    os.kill(before, signal.SIGKILL)
    """
AFTER_THE_CONNECT: Final = """
    connection = connect(path)
    before = os.getpid()
    if os.fork() == 0:
        while os.getppid() == before:
            time.sleep(0.001)
        say(connection)
        hear(connection, place)
    """
UNDER_ANOTHER_ACCOUNT: Final = """
    os.chmod(path.rpartition("/")[0], 0o777)
    os.setgid(65534)
    os.setuid(65534)
    ask(path, place)
    """


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("ask(path, place)", id="a child"),
        pytest.param(FORKED_TWICE, id="an orphan in a session of its own"),
        pytest.param(WITH_A_TERMINAL, id="a child at a terminal of its own"),
        pytest.param(KILLED_PARENT, id="an orphan of a killed parent"),
        pytest.param(AFTER_THE_CONNECT, id="a child that asks for a parent that has ended"),
    ],
)
def test_a_program_below_the_gateway_is_not_heard(heard: Heard, program: str):
    assert heard.below(program) in {"socket/descendant", "socket/sender"}


def test_an_orphan_of_a_killed_keeper_is_not_heard(heard: Heard):
    """The keeper of a server adopts the server's orphans. The server may run under the keeper's account, and kill it."""
    keeper = str(ROOT / "gateway/upstreams/stdio/keeper.py")
    program = """
        keeper = os.getppid()
        os.kill(keeper, signal.SIGKILL)
        while os.getppid() == keeper:
            time.sleep(0.001)
        ask(path, place)
        """
    words, place = heard.words(program)
    starter = """
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            os.set_inheritable(end.fileno(), True)
        os.execv(sys.executable, [sys.executable, sys.argv[3], str(theirs.fileno()), "", "", "--", *sys.argv[4:]])
        """
    heard.tell(heard.words(starter, keeper, *words)[0])
    assert read_answer(place) == "socket/descendant"


def test_root_and_every_other_account_below_the_gateway_are_not_heard(heard: Heard):
    if os.getuid() != 0:
        skip_or_fail("another account; run the tests as root")
    heard.folder.chmod(0o777)
    for parent in heard.folder.parents:
        if parent != Path("/") and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    assert heard.below(UNDER_ANOTHER_ACCOUNT) == "socket/descendant"


def test_a_program_below_in_a_pid_namespace_of_its_own_is_not_heard(heard: Heard):
    before = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
    if not shutil.which("unshare") or subprocess.run([*before, "true"], check=False).returncode:
        skip_or_fail("user namespaces")
    assert heard.below("ask(path, place)", before=before) == "socket/descendant"
    assert heard.below(FORKED_TWICE, before=before) == "socket/descendant"


def test_programs_that_end_while_the_gateway_looks_at_their_parents_are_not_heard(heard: Heard):
    """Each process asks, and its parents end one after the other while it is judged."""
    chain = """
        depth = 30
        for _ in range(depth):
            if os.fork():
                time.sleep(0.002)
                os._exit(0)
        answers = []
        for number in range(40):
            connection = connect(path)
            say(connection)
            hear(connection, place + ".part")
            answers.append(Path(place + ".part").read_bytes())
        worst = next((one for one in answers if b'"ok"' in one), answers[0])
        Path(place + ".last").write_bytes(worst)
        Path(place + ".last").rename(place)
        """
    assert [heard.below(chain) for _ in range(5)] == ["socket/descendant"] * 5


def test_a_long_row_of_parents_does_not_keep_the_gateway_reading(heard: Heard):
    program = """
        for _ in range(80):
            if (child := os.fork()):
                os.waitpid(child, 0)
                os._exit(0)
        ask(path, place)
        """
    assert heard.below(program) == "socket/unseen"


def test_a_silent_program_below_keeps_no_place_from_people(heard: Heard):
    program = """
        held = [connect(path) for _ in range(200)]
        hear(held[-1], place)
        time.sleep(60)
        """
    assert heard.below(program) in {"socket/descendant", "socket/busy"}
    with connect(heard) as connection:
        assert ask(connection)["uid"] == os.getuid()


# --- connections that change hands -----------------------------------------------------------------


def give(heard: Heard, connection: socket.socket, program: str) -> Any:
    """Give a connection to a program below, which does something with it, and return the answer that it gets."""
    with socket.socket(socket.AF_UNIX) as listener:
        at = str(heard.folder / "given.sock")
        listener.bind(at)
        listener.listen(1)
        words, place = heard.words(
            "with connect(sys.argv[3]) as giver:\n"
            "    _, (fd,), _, _ = socket.recv_fds(giver, 16, 1)\n"
            "given = socket.socket(fileno=fd)\ngiven.setblocking(True)\n"
            + textwrap.dedent(program)
            + "\nhear(given, place)\n",
            at,
        )
        heard.tell(words)
        taker, _ = listener.accept()
        with taker:
            socket.send_fds(taker, [b"take"], [connection.fileno()])
        return read_answer(place)


@pytest.mark.parametrize("first", [b"", b"hel"])
def test_a_connection_handed_to_a_program_below_is_not_heard(heard: Heard, first: bytes):
    with connect(heard) as connection:
        assert ask(connection)["line"] == "hello\n"
        connection.sendall(first)
        assert give(heard, connection, "say(given, b'lo\\n')") == "socket/sender"


def test_a_connection_of_a_program_below_is_not_heard_from_a_foreign_one(heard: Heard):
    with socket.socket(socket.AF_UNIX) as listener:
        at = str(heard.folder / "taken.sock")
        listener.bind(at)
        listener.listen(1)
        program = """
            connection = connect(path)
            with connect(sys.argv[3]) as taker:
                socket.send_fds(taker, [b"take"], [connection.fileno()])
                taker.recv(1)
            """
        words, _ = heard.words(program, at)
        heard.tell(words)
        giver, _ = listener.accept()
        _, (descriptor, *_), _, _ = socket.recv_fds(giver, 16, 1)
        with giver, socket.socket(fileno=descriptor) as connection:
            connection.settimeout(30)
            with suppress(BrokenPipeError):
                connection.sendall(b"hello\n")
            assert told(connection.recv(65_536)) == "socket/descendant"


def test_a_number_that_another_program_took_over_is_not_heard(heard: Heard):
    """A program connects, asks and ends, before the gateway looks. A foreign one gets its number."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last, os.W_OK):
        skip_or_fail("a choice of process numbers; run the tests as root on Linux")
    heard.process.send_signal(signal.SIGSTOP)
    with connect_from_ended(heard) as (connection, number):
        successor = take_number(last, number)
        try:
            heard.process.send_signal(signal.SIGCONT)
            assert told(connection.recv(65_536)) == "socket/unseen"
        finally:
            successor.kill()
            successor.wait()


@contextmanager
def connect_from_ended(heard: Heard) -> Generator[tuple[socket.socket, int]]:
    """Give a connection of a process that asked and ended, and the number of that process."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        code = (
            ASK
            + "c = connect(path)\nsay(c)\nsocket.send_fds(socket.socket(fileno=int(sys.argv[3])), [b'x'], [c.fileno()])\n"
        )
        words = [sys.executable, "-c", code, str(heard.path), "-", str(theirs.fileno())]
        ended = subprocess.Popen(words, pass_fds=[theirs.fileno()])
        _, (descriptor, *_), _, _ = socket.recv_fds(ours, 16, 1)
        ended.wait(30)
        with socket.socket(fileno=descriptor) as connection:
            connection.settimeout(30)
            yield connection, ended.pid


def take_number(last: Path, number: int) -> subprocess.Popen[bytes]:
    """Return a living process with a number that has become free."""
    for _ in range(200):
        last.write_text(str(number - 1))
        process = subprocess.Popen(["sleep", "60"])
        if process.pid == number:
            return process
        process.kill()
        process.wait()
    raise AssertionError("no process got the number")


# --- foreign programs --------------------------------------------------------------------------------


def test_a_foreign_program_is_heard_with_its_account_and_its_terminal(heard: Heard):
    def run(program: str) -> Any:
        words, place = heard.words(program)
        subprocess.run(words, check=True, timeout=300, start_new_session=True)
        return read_answer(place)

    for program, has_terminal in (("ask(path, place)", False), (WITH_A_TERMINAL, True)):
        found = run(program)
        assert (found["uid"], found["has_terminal"]) == (os.getuid(), has_terminal)


def test_a_foreign_program_asks_again_and_again_on_one_connection(heard: Heard):
    with connect(heard) as connection:
        assert [ask(connection)["line"] for _ in range(3)] == ["hello\n"] * 3


def test_a_program_of_another_pid_namespace_is_not_heard(tmp_path: Path):
    before = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
    if not shutil.which("unshare") or subprocess.run([*before, "true"], check=False).returncode:
        skip_or_fail("user namespaces")
    with heard_process(tmp_path, *before) as heard, connect(heard) as connection:
        assert told(connection.recv(65_536)) == "socket/unseen"


def test_descriptors_that_a_peer_sends_are_dropped(heard: Heard):
    with connect(heard) as connection:
        ask(connection)
        before = heard.count_descriptors()
        for _ in range(50):
            socket.send_fds(connection, [b"hello\n"], [0, 1, 2])
            connection.recv(65_536)
        assert heard.count_descriptors() == before
