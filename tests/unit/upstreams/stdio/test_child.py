"""One server process: its pipes, its group, its end. With real processes."""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from gateway.model.errors import UpstreamBroken, UpstreamTimeout
from gateway.upstreams.stdio import child as child_module
from gateway.upstreams.stdio.child import MAX_UNREAD, REST, TURN, ServerProcess, Throttle, is_power_of_two, spawn
from gateway.upstreams.stdio.wire import Inbound
from tests.machine import is_alive, needs_proc
from tests.unit.clock import Clock
from tests.unit.upstreams.stdio.driving import PUPPET, until


class Owner:
    """Starts a child and remembers what it hears of it."""

    def __init__(self, max_line: int = 10_000) -> None:
        self.heard: list[Inbound] = []
        self.reasons: list[str] = []
        self.gone: list[ServerProcess] = []
        self.child = ServerProcess(
            "files", secrets=["hunter2"], clock=Clock(), gone=self.gone.append, max_line=max_line
        )

    async def start(self, *command: str, attach: bool = True) -> ServerProcess:
        await spawn(command, self.child, env={"PATH": os.environ["PATH"]}, cwd=None)
        if attach:
            self.child.attach(self.heard.append, self.reasons.append)
        return self.child

    async def script(self, *steps: dict[str, Any]) -> None:
        message = {"jsonrpc": "2.0", "method": "notifications/script", "params": {"script": steps}}
        await self.child.write(json.dumps(message).encode(), 10.0)

    async def end(self) -> str:
        await until(lambda: bool(self.reasons))
        (reason,) = self.reasons
        assert self.gone == [self.child]
        return reason


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    owner = Owner()
    yield owner
    if owner.child.pid:
        await owner.child.stop()


async def test_messages_arrive_and_junk_does_not(owner: Owner):
    await owner.start(*PUPPET)
    with capture_logs() as logs:
        await owner.script(
            {"raw": "junk"}, {"raw": ""}, {"raw": "junk"}, {"raw": "junk"}, {"say": {"jsonrpc": "2.0", "method": "m"}}
        )
        await until(lambda: bool(owner.heard))

    assert [message.method for message in owner.heard] == ["m"]
    assert [(entry["event"], entry["so_far"]) for entry in logs] == [("upstream.junk", 1), ("upstream.junk", 2)]


async def test_what_a_child_says_before_its_owner_listens_is_not_lost(owner: Owner):
    child = await owner.start(*PUPPET, '[{"say": {"jsonrpc": "2.0", "method": "early"}}, {"exit": 3}]', attach=False)
    await until(lambda: bool(owner.gone))

    child.attach(owner.heard.append, owner.reasons.append)

    assert [message.method for message in owner.heard] == ["early"]
    assert owner.reasons == ["exited with status 3"]


@pytest.mark.parametrize(
    ("step", "reason"),
    [({"exit": 0}, "exited with status 0"), ({"exit": 7}, "exited with status 7")],
)
async def test_an_exit_is_told_with_its_status(owner: Owner, step: dict[str, Any], reason: str):
    child = await owner.start(*PUPPET)
    await owner.script(step)

    assert await owner.end() == reason
    assert not child.asked
    assert not child.usable


async def test_a_kill_is_told_with_its_signal(owner: Owner):
    child = await owner.start(*PUPPET)
    os.kill(child.pid, 9)

    assert await owner.end() == "was killed by SIGKILL"


def test_a_signal_without_a_name_is_told_by_its_number():
    assert child_module._describe_end(-62) == "was killed by signal 62"


async def test_the_last_words_of_a_dying_child_are_heard(owner: Owner):
    await owner.start(*PUPPET)
    with capture_logs() as logs:
        await owner.script({"say": {"jsonrpc": "2.0", "method": "last"}}, {"stderr": "no hunter2 end"}, {"exit": 1})
        await owner.end()

    assert [message.method for message in owner.heard] == ["last"]
    assert [entry["line"] for entry in logs if entry["event"] == "upstream.stderr"] == ["no [secret] end"]


async def test_a_child_that_closes_its_output_is_ended(owner: Owner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child_module, "SHUTDOWN_STEP", 0.2)
    await owner.start(*PUPPET)
    await owner.script({"close": 1}, {"sleep": 60})

    assert await owner.end() == "closed its standard output"


def test_a_child_that_closes_its_output_is_ended_on_uvloop(monkeypatch: pytest.MonkeyPatch):
    """There a child would have a second descriptor of each of its pipes."""
    monkeypatch.setattr(child_module, "SHUTDOWN_STEP", 0.2)

    async def scenario() -> str:
        owner = Owner()
        await owner.start(*PUPPET)
        await owner.script({"close": 1}, {"sleep": 60})
        try:
            return await owner.end()
        finally:
            await owner.child.stop()

    assert uvloop.run(scenario()) == "closed its standard output"


SAYS_MUCH_AND_CLOSES = """
import fcntl, os, socket, time
try:
    fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 2**20)
except OSError:
    socket.socket(fileno=os.dup(1)).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
line = b'{{"jsonrpc":"2.0","method":"m"}}'
os.write(1, (line.ljust(499) + b'\\n') * {count})
os.close(1)
os.write(2, b'still here\\n')
os.write(os.open({closed!r}, os.O_WRONLY), b'closed')
time.sleep(60)
"""


async def closed_output_scenario(folder: Path) -> None:
    """What was said is as much as uvloop reads at once (256,000 bytes), so that its end is read in the same go; and more
    than is taken in in a few turns."""
    owner, count, closed = Owner(), 512, folder / "closed"
    os.mkfifo(closed)
    notice = os.open(closed, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with capture_logs() as logs:
            await owner.start(*python(SAYS_MUCH_AND_CLOSES.format(count=count, closed=str(closed))))
            assert select.select([notice], [], [], 30)[0], "the child has not closed its output"
            reason = await owner.end()
    finally:
        os.close(notice)
        await owner.child.stop()
    assert reason == "closed its standard output"
    assert len(owner.heard) == count
    assert [entry["line"] for entry in logs if entry["event"] == "upstream.stderr"] == ["still here"]


async def test_what_a_child_said_before_it_closed_its_output_is_heard_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(child_module, "SHUTDOWN_STEP", 0.2)
    await closed_output_scenario(tmp_path)


def test_what_a_child_said_before_it_closed_its_output_is_heard_without_a_further_rest_on_uvloop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It has rested once when the end is known; nothing more can come then, so the rest of it is all that there is."""
    rest, rests = Throttle.rest, list[Throttle]()

    def counted(throttle: Throttle, then: Callable[[], None]) -> None:
        rests.append(throttle)
        rest(throttle, then)

    monkeypatch.setattr(child_module, "SHUTDOWN_STEP", 0.2)
    monkeypatch.setattr(Throttle, "rest", counted)
    uvloop.run(closed_output_scenario(tmp_path))

    assert len(rests) == 1


async def test_a_child_that_closes_its_input_is_ended(owner: Owner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child_module, "SHUTDOWN_STEP", 0.2)
    await owner.start(*PUPPET)
    await owner.script({"close": 0}, {"say": {"jsonrpc": "2.0", "method": "closed"}}, {"sleep": 60})

    assert await owner.end() == "closed its standard input"


async def test_a_line_without_end_ends_the_child(owner: Owner):
    await owner.start(*PUPPET)
    await owner.script({"raw": "x" * 20_000})

    assert await owner.end() == "wrote a line without end"


async def test_a_child_that_does_not_read_is_ended_after_the_patience(owner: Owner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child_module, "SHUTDOWN_STEP", 0.2)
    child = await owner.start(*python("import time; time.sleep(60)"))
    big = b"x" * 2_000_000

    waiting = asyncio.ensure_future(child.write(big, 10.0))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamTimeout, match=r"did not read its input for 0\.05 s"):
        await child.write(big, 0.05)
    with pytest.raises(UpstreamBroken, match="does not read its standard input"):
        await waiting
    assert await owner.end() == "does not read its standard input"


async def test_callers_that_leave_do_not_heap_up_messages_for_a_child_that_does_not_read(owner: Owner):
    child = await owner.start(*python("import time; time.sleep(60)"))
    big = b"x" * 2_000_000

    for _ in range(5):
        waiting = asyncio.ensure_future(child.write(big, 10.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    assert child._stdin().get_write_buffer_size() <= len(big) + 1


async def test_a_child_that_does_not_read_what_nobody_waits_for_is_ended(owner: Owner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child_module, "SHUTDOWN_STEP", 0.2)
    child = await owner.start(*python("import time; time.sleep(60)"))

    for _ in range(2):
        child.post(b"x" * 500_000)
    with pytest.raises(UpstreamBroken, match="does not read its standard input"):
        child.post(b"x" * 500_000)

    assert child._stdin().get_write_buffer_size() <= MAX_UNREAD
    assert await owner.end() == "does not read its standard input"


async def test_a_flood_is_taken_in_by_turns(owner: Owner):
    """Between two turns the event loop has time for others, however much has come."""
    count = 20 * TURN
    await owner.start(*python(f'print(\'{{"jsonrpc":"2.0","method":"m"}}\\n\' * {count}, flush=True); input()'))
    most, before = 0, 0
    while len(owner.heard) < count:
        await asyncio.sleep(0)
        most, before = max(most, len(owner.heard) - before), len(owner.heard)

    assert most <= TURN


async def test_children_that_flood_together_rest_for_longer():
    throttle, loop = Throttle(), asyncio.get_running_loop()
    begun, rested = loop.time(), list[float]()
    for _ in range(3):
        throttle.rest(lambda: rested.append(loop.time() - begun))
    await until(lambda: len(rested) == 3)

    assert [taken >= 0.99 * REST * number for number, taken in enumerate(rested, 1)] == [True] * 3


async def test_what_a_child_said_before_it_exited_is_heard_whole(owner: Owner):
    count = 5 * TURN
    await owner.start(*python(f'print(\'{{"jsonrpc":"2.0","method":"m"}}\\n\' * {count}, flush=True)'))

    assert await owner.end() == "exited with status 0"
    assert len(owner.heard) == count


async def test_a_message_larger_than_the_pipe_arrives_whole(owner: Owner):
    await owner.start(
        *python('import sys; n = len(sys.stdin.readline()); print(\'{"jsonrpc":"2.0","id":%d,"result":1}\' % n)')
    )
    await owner.child.write(b"x" * 3_000_000, 10.0)
    await until(lambda: bool(owner.heard))

    assert owner.heard[0].id == 3_000_001


async def test_a_write_to_a_child_that_has_ended_is_refused(owner: Owner):
    child = await owner.start(*PUPPET)
    await child.stop()

    with pytest.raises(UpstreamBroken, match="upstream files was shut down"):
        await child.write(b"{}", 1.0)
    with pytest.raises(UpstreamBroken):
        child.post(b"{}")


async def closed_input_scenario() -> str:
    """The event loop knows already that nobody reads there, and has not told it yet. One of uvloop raises then."""
    owner = Owner()
    child = await owner.start(*python("import time; time.sleep(60)"))
    child._stdin().abort()
    try:
        with pytest.raises(UpstreamBroken, match="upstream files closed its standard input"):
            await child.write(b"{}", 1.0)
        with pytest.raises(UpstreamBroken):
            child.post(b"{}")
        os.kill(child.pid, 9)
        return await owner.end()
    finally:
        await child.stop()


@pytest.mark.parametrize("loop", [asyncio, uvloop])
def test_a_write_to_a_child_whose_input_has_just_closed_is_refused(loop: Any):
    assert loop.run(closed_input_scenario()) == "was killed by SIGKILL"


async def test_a_child_that_dies_while_it_is_written_to_is_not_waited_for(owner: Owner):
    child = await owner.start(*python("import time; time.sleep(60)"))
    waiting = asyncio.ensure_future(child.write(b"x" * 2_000_000, 30.0))
    await asyncio.sleep(0)
    os.kill(child.pid, 9)

    with pytest.raises(UpstreamBroken):
        await waiting


async def test_stopping_closes_the_input_first_and_a_good_server_ends_by_itself(owner: Owner):
    child = await owner.start(*python('import sys; sys.stdin.read(); print(\'{"jsonrpc":"2.0","method":"bye"}\')'))
    await child.stop()

    assert [message.method for message in owner.heard] == ["bye"]
    assert owner.reasons == ["was shut down"]
    assert child.asked


async def test_stopping_twice_is_stopping_once(owner: Owner):
    child = await owner.start(*PUPPET)
    await asyncio.gather(child.stop(), child.stop())

    assert owner.gone == [child]


async def test_stopping_goes_on_when_the_one_who_asked_is_cancelled(owner: Owner):
    child = await owner.start(*PUPPET)
    asking = asyncio.ensure_future(child.stop())
    await asyncio.sleep(0)
    asking.cancel()

    assert await owner.end() == "was shut down"


@pytest.mark.parametrize("ignored", ["SIGTERM", "SIGINT"])
async def test_a_server_that_ignores_its_input_is_terminated_and_then_killed(
    owner: Owner, ignored: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(child_module, "SHUTDOWN_STEP", 0.1)
    child = await owner.start(
        *python(
            f"import signal, time; signal.signal(signal.{ignored}, signal.SIG_IGN)\n"
            'print(\'{"jsonrpc":"2.0","method":"ready"}\', flush=True)\nwhile True: time.sleep(60)'
        )
    )
    await until(lambda: bool(owner.heard))

    await child.stop()

    assert not is_alive(child.pid)
    assert owner.gone == [child]


FORK = (
    "import os, signal, sys, time\n"
    "child = os.fork()\n"
    "if child == 0:\n"
    "    {child}\n"
    "    while True: time.sleep(60)\n"
    'print(\'{{"jsonrpc":"2.0","id":%d,"result":1}}\' % child, flush=True)\n'
    "{parent}\n"
)


@pytest.mark.parametrize("deaf", ["signal.signal(signal.SIGTERM, signal.SIG_IGN)", "pass"])
@pytest.mark.parametrize("parent", ["sys.stdin.read()", "time.sleep(60)"])
async def test_a_helper_that_a_server_forked_ends_with_it(
    owner: Owner, deaf: str, parent: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(child_module, "SHUTDOWN_STEP", 0.2)
    child = await owner.start(*python(FORK.format(child=deaf, parent=parent)))
    await until(lambda: bool(owner.heard))
    helper = owner.heard[0].id
    assert isinstance(helper, int)
    assert is_alive(helper)

    await child.stop()

    assert not is_alive(child.pid)
    await until(lambda: not is_alive(helper))


async def test_a_helper_of_a_server_that_died_is_killed_at_once(owner: Owner):
    await owner.start(*python(FORK.format(child="signal.signal(signal.SIGTERM, signal.SIG_IGN)", parent="os._exit(4)")))

    assert await owner.end() == "exited with status 4"
    helper = owner.heard[0].id
    assert isinstance(helper, int)
    await until(lambda: not is_alive(helper))


async def test_a_helper_that_left_the_group_does_not_hold_up_the_end(owner: Owner):
    child = await owner.start(*python(FORK.format(child="os.setsid()", parent="sys.stdin.read()")))
    await until(lambda: bool(owner.heard))
    helper = owner.heard[0].id
    assert isinstance(helper, int)
    try:
        await asyncio.wait_for(child.stop(), 5.0)
    finally:
        os.kill(helper, 9)


async def test_a_helper_that_keeps_the_input_open_unread_does_not_hold_up_the_end(owner: Owner):
    child = await owner.start(*python(FORK.format(child="os.setsid()", parent="os.read(0, 1); os._exit(0)")))
    await until(lambda: bool(owner.heard))
    helper = owner.heard[0].id
    assert isinstance(helper, int)
    try:
        with pytest.raises(UpstreamBroken):
            await child.write(b"x" * 2_000_000, 10.0)
        assert await owner.end() == "exited with status 0"
    finally:
        with suppress(ProcessLookupError):
            os.kill(helper, 9)


async def test_a_child_sees_only_the_environment_that_it_is_given(owner: Owner):
    await owner.start(
        *python(
            "import os, json; print(json.dumps({'jsonrpc': '2.0', 'id': ' '.join(sorted(os.environ)), 'result': 1}), flush=True); input()"
        )
    )
    await until(lambda: bool(owner.heard))

    assert set(str(owner.heard[0].id).split()) - {"LC_CTYPE"} == {"PATH"}


OPEN_FILES = (
    "import json, os\n"
    "def target(fd):\n"
    "    try: return os.readlink('/proc/self/fd/' + fd)\n"
    "    except OSError: return ''\n"
    "files = ' '.join(map(target, os.listdir('/proc/self/fd')))\n"
    "print(json.dumps({'jsonrpc': '2.0', 'id': files, 'result': 1}), flush=True)\n"
    "os.read(0, 1)\n"
)


async def open_files_scenario() -> None:
    owner = Owner()
    read, write = os.pipe()
    os.set_inheritable(write, True)  # noqa: FBT003 - its only form
    try:
        await owner.start(*python(OPEN_FILES))
        await until(lambda: bool(owner.heard))
        assert os.readlink(f"/proc/self/fd/{write}") not in str(owner.heard[0].id).split()  # noqa: PTH115 - /proc
    finally:
        await owner.child.stop()
        os.close(read)
        os.close(write)


@needs_proc
async def test_a_child_inherits_no_open_files():
    await open_files_scenario()


@needs_proc
def test_a_child_inherits_no_open_files_on_uvloop():
    uvloop.run(open_files_scenario())


def test_what_may_happen_without_end_is_logged_ever_more_rarely():
    assert [count for count in range(1, 40) if is_power_of_two(count)] == [1, 2, 4, 8, 16, 32]
