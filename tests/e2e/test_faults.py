"""The journal, an upstream, a client or the gateway itself is broken or ended on purpose, one thing a test: nothing is lost."""

from __future__ import annotations

import http.client
import select
import signal
import socket
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from tests import machine
from tests.e2e.conftest import policy
from tests.e2e.faults import config, problems, refused, vanishing
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Answer, Caller, call, entries, metric, stateless, until, verified
from tests.gateway_process import GatewayProcess, free_port, open_config, running_gateway
from tests.requirements import requirement
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess

# --- the journal -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of 256 KiB, with 128 KiB of ballast."""
    with machine.small_disk(tmp_path / "disk", "256k") as place:
        (place / "ballast").write_bytes(bytes(128 * 1024))
        yield place


@requirement("fault/journal")
def test_a_full_disk_refuses_until_there_is_room(
    small_disk: Path, echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    journal = f"journal: {{path: '{small_disk}/journal', fsync: never}}\n"
    with running_gateway(config(echo_server, policy(tmp_path), journal), tmp_path) as gateway:
        caller = Caller(gateway)
        answer = caller.call("echo", text="plain")
        for _ in range(2000):
            if "error" in answer.json and "journal" in problems(gateway):
                break
            recorder.take()
            answer = caller.call("echo", text="plain")

        assert (answer.status, answer.codes) == (503, ["journal/unavailable"])
        assert [r for r in recorder.requests() if "tools/call" in r["body"]] == []
        assert metric(gateway, "opagate_journal_failures_total") >= 1
        assert '"journal.lost"' in gateway.printed()
        (small_disk / "ballast").unlink()
        until(lambda: problems(gateway) == {})
        assert '"journal.resumed"' in gateway.printed()
        assert caller.call("echo", text="after").text == "after"


@requirement("fault/journal-taken")
def test_a_journal_that_is_taken_away_refuses_until_it_is_back(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    journal, away = tmp_path / "state/journal", tmp_path / "away"
    with running_gateway(config(echo_server, policy(tmp_path)), tmp_path) as gateway:
        caller = Caller(gateway)
        assert caller.call("echo", text="before").text == "before"
        until(lambda: entries(tmp_path, "settled"))
        recorder.take()
        journal.rename(away)
        assert "removed or moved" in problems(gateway)["journal"]
        refused(caller.call("echo", text="during"), "journal/unavailable", recorder)
        away.rename(journal)
        until(lambda: problems(gateway) == {})
        assert caller.call("echo", text="after").text == "after"

    assert verified(tmp_path).ok
    assert [entry["lost"] for entry in entries(tmp_path, "resumed")] == [{"call": 1, "refused": 1}]


@requirement("fault/crash")
def test_a_gateway_that_was_killed_leaves_a_journal_that_holds(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    """Killed with calls open and more coming. What had passed is in the journal, and gets an outcome at the next start."""
    setup = config(echo_server, policy(tmp_path))
    with mortal_gateway(setup, tmp_path) as gateway, ThreadPoolExecutor(8) as threads:
        caller = Caller(gateway)
        for number in range(4):
            threads.submit(quietly, caller, "hold", f"killed-{number}")
        for number in range(4):
            recorder.wait("request", f"killed-{number}")
        going = threading.Event()

        def press() -> None:
            while quietly(caller, "echo", "pressed"):
                going.set()

        for _ in range(4):
            threads.submit(press)
        assert going.wait(30)
        gateway.process.kill()
        gateway.process.wait()

    found = verified(tmp_path)
    assert found.ok, found.problems
    assert not found.stopped
    reached = [r for r in recorder.take() if r["event"] == "request" and "tools/call" in r["body"]]
    allowed = {entry["id"] for entry in entries(tmp_path, "call")}
    settled = {entry["id"] for entry in entries(tmp_path, "settled")}
    assert len(reached) <= len(allowed)
    with running_gateway(setup, tmp_path) as again:
        assert Caller(again).call("echo", text="again").text == "again"
    abandoned = {entry["id"] for entry in entries(tmp_path, "abandoned")}
    assert abandoned == allowed - settled
    assert len(abandoned) >= 4
    assert verified(tmp_path).ok


def quietly(caller: Caller, tool: str, key: str) -> bool:
    """Call; whether an answer came."""
    try:
        return caller.call(tool, key=key).status == 200
    except (OSError, http.client.HTTPException):
        return False


# --- upstreams -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """A gateway that waits one second for an upstream's first byte; behind it the echo server, and a port where nobody
    listens, and one where somebody listens and never answers."""
    folder = tmp_path_factory.mktemp("impatient")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        upstreams = {
            "echo": echo_server.mcp,
            "closed": f"http://127.0.0.1:{free_port()}/mcp",
            "deaf": f"http://127.0.0.1:{deaf.getsockname()[1]}/mcp",
        }
        limits = "limits: {first_byte: 1s, connect: 1s}\n"
        with running_gateway(open_config(policy(folder), upstreams) + limits, folder) as gateway:
            yield gateway


@requirement("fault/upstream")
@pytest.mark.parametrize(
    ("upstream", "status", "code"), [("closed", 502, "upstream/unreachable"), ("deaf", 504, "upstream/timeout")]
)
def test_an_upstream_that_cannot_be_reached_is_told_as_that(
    impatient: GatewayProcess, upstream: str, status: int, code: str
):
    """Asked for what needs no decision: a tool of an upstream that was never listed is refused before."""
    answer = Caller(impatient, upstream).ask(stateless("server/discover"))

    assert (answer.status, answer.codes) == (status, [code])


def test_a_call_to_a_tool_of_an_upstream_that_was_never_listed_is_refused(impatient: GatewayProcess):
    assert Caller(impatient, "closed").call("echo").codes == ["upstream/unreachable"]


@requirement("fault/upstream")
def test_a_call_that_an_upstream_does_not_begin_to_answer_ends(impatient: GatewayProcess, recorder: Recorder):
    answer = Caller(impatient).call("silent", key="first-byte")

    assert (answer.status, answer.codes) == (504, ["upstream/timeout"])
    assert recorder.wait("disconnect", "first-byte")
    until(lambda: entries(impatient.folder, "settled")[-1]["outcome"] == "unknown")


@requirement("fault/upstream", "mcp/wrong-id", "mcp/no-foreign-challenge")
@pytest.mark.parametrize(
    ("tool", "arguments", "outcome", "told"),
    [
        ("die", {"after": 1}, "unknown", "broke off"),
        ("wrong_id", {}, "unknown", "id of another request"),
        ("status", {"code": 401}, "upstream-failed", "does not accept this gateway"),
        ("status", {"code": 302, "headers": {"location": "http://127.0.0.1:1/"}}, "unknown", "redirect"),
        ("status", {"code": 500, "body": "sorry"}, "unknown", "sorry"),
        ("garbage", {}, "unknown", "<html>"),
    ],
)
def test_an_upstream_that_breaks_the_protocol_is_answered_for_and_settled(
    impatient: GatewayProcess, recorder: Recorder, *, tool: str, arguments: dict[str, object], outcome: str, told: str
):
    answer = Caller(impatient).call(tool, **arguments)

    assert told in answer.body.decode()
    (called,) = entries(impatient.folder, "call")[-1:]
    until(lambda: any(entry["id"] == called["id"] for entry in entries(impatient.folder, "settled")))
    assert entries(impatient.folder, "settled")[-1]["outcome"] == outcome


@contextmanager
def hanging_up() -> Generator[str]:
    """The URL of a server that reads a request and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(65536)

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@requirement("fault/upstream")
def test_an_upstream_that_dies_before_it_answers_is_broken(tmp_path: Path):
    with hanging_up() as url, running_gateway(open_config(policy(tmp_path), {"dying": url}), tmp_path) as gateway:
        answer = Caller(gateway, "dying").ask(stateless("server/discover"))
    assert (answer.status, answer.codes) == (502, ["upstream/broken"])


@requirement("fault/client")
def test_the_outcome_of_a_call_whose_client_vanishes_is_unknown(impatient: GatewayProcess, recorder: Recorder):
    with Caller(impatient).open("POST", call("hold", key="vanished")) as answer:
        answer.readline()

    assert recorder.wait("disconnect", "vanished")
    until(lambda: entries(impatient.folder, "settled")[-1]["outcome"] == "unknown")
    until(lambda: metric(impatient, "opagate_in_flight") == 0)


@requirement("fault/client")
def test_of_clients_that_vanish_at_any_moment_nothing_is_left(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    setup = config(echo_server, policy(tmp_path), "journal: {path: state/journal, fsync: always}\n")
    with mortal_gateway(setup, tmp_path) as gateway:
        caller, chance = Caller(gateway), Random(7)
        for number in range(120):
            sent = call("echo" if number % 2 else "no_such_tool", text="word " * chance.choice([1, 4_000]))
            with vanishing(caller, sent) as client:
                select.select([client], [], [], chance.random() * 0.02)
        until(lambda: metric(gateway, "opagate_in_flight") == 0)
        until(lambda: metric(gateway, "opagate_calls_total") == len(entries(tmp_path, "call")))
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0

    calls = entries(tmp_path, "call")
    allowed = [entry["id"] for entry in calls if entry["effect"] == "allow"]
    assert 0 < len(allowed) < len(calls)
    assert sorted(allowed) == sorted(entry["id"] for entry in entries(tmp_path, "settled"))
    found = verified(tmp_path)
    assert found.ok, found.problems


# --- stopping --------------------------------------------------------------------------------------


@requirement("fault/drain")
def test_no_call_in_flight_is_lost_when_the_gateway_is_told_to_stop(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    answers: list[Answer] = []
    with mortal_gateway(config(echo_server, policy(tmp_path)), tmp_path) as gateway, ThreadPoolExecutor(8) as threads:
        caller = Caller(gateway)
        keys = [f"drained-{number}" for number in range(6)]
        calls = [threads.submit(caller.call, "hold", key=key) for key in keys]
        for key in keys:
            recorder.wait("request", key)
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: '"draining"' in gateway.printed())
        for key in keys:
            recorder.release(key)
        answers = [one.result(30) for one in calls]
        assert gateway.process.wait(30) == 0

    assert [answer.text for answer in answers] == ["released"] * 6
    assert '"stopped"' in gateway.printed()
    assert [entry["outcome"] for entry in entries(tmp_path, "settled")] == ["completed"] * 6
    found = verified(tmp_path)
    assert found.ok, found.problems
    assert found.stopped


@requirement("fault/drain")
def test_a_call_that_outlives_the_drain_is_cut_off_and_settled(
    echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    setup = config(echo_server, policy(tmp_path), "limits: {drain: 1s}\n")
    held = call("hold", key="outlives")
    with mortal_gateway(setup, tmp_path) as gateway, Caller(gateway).open("POST", held) as answer:
        answer.readline()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0
    assert [entry["outcome"] for entry in entries(tmp_path, "settled")] == ["unknown"]
    assert verified(tmp_path).stopped


@requirement("fault/drain")
def test_whoever_is_told_again_and_again_to_stop_stops_in_order(echo_server: ServerProcess, tmp_path: Path):
    """They come until the last step, when it closes the journal."""
    with mortal_gateway(config(echo_server, policy(tmp_path)), tmp_path) as gateway:
        assert Caller(gateway).call("echo", text="once").text == "once"
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: '"draining"' in gateway.printed())
        while gateway.process.poll() is None:
            gateway.process.send_signal(signal.SIGTERM)
    # What comes after all is closed may end what is left of the process.
    assert gateway.process.returncode in {0, -signal.SIGTERM}
    assert '"stopped"' in gateway.printed()
    assert verified(tmp_path).stopped


@requirement("fault/drain")
def test_streams_that_wait_for_news_do_not_hold_up_the_end(handles_server: ServerProcess, tmp_path: Path):
    setup = open_config(policy(tmp_path), {"handles": handles_server.mcp})
    with mortal_gateway(setup, tmp_path) as gateway:
        with Caller(gateway, "handles").open("POST", stateless("subscriptions/listen", notifications={})) as answer:
            answer.readline()
            gateway.process.send_signal(signal.SIGTERM)
            rest = answer.read()
        assert gateway.process.wait(60) == 0
    assert b"acknowledged" in rest
