"""The pages beside MCP on a real socket: targets that are wrong, methods, bodies that stall, and many at once."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self

import pytest

from tests.e2e.conftest import policy
from tests.e2e.wire import Caller, entries, metric, until
from tests.gateway_process import GatewayProcess, open_config, running_gateway
from tests.servers.serving import ServerProcess

METADATA = "/.well-known/oauth-protected-resource"
PAGES = ("/healthz", "/readyz", "/metrics", "/.well-known/jwks.json", METADATA, f"{METADATA}/mcp/echo")


@pytest.fixture(scope="module")
def paged(echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """A gateway for callers without credentials. It must print no defect and no traceback."""
    folder = tmp_path_factory.mktemp("pages")
    setup = open_config(policy(folder), {"echo": echo_server.mcp}) + "journal: {refusals: 100000}\n"
    with running_gateway(setup, folder) as gateway:
        yield gateway
    assert "defect" not in gateway.printed()


class Line:
    """A connection on which a test writes bytes and reads whole answers."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.host = gateway.origin.removeprefix("http://")
        address, _, port = self.host.partition(":")
        self._socket = socket.create_connection((address, int(port)), timeout=300)
        self._read = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._read.close()
        self._socket.close()

    def send(self, data: str) -> None:
        self._socket.sendall(data.encode("latin-1"))

    def ask(self, method: str, target: str, *fields: str, body: str = "") -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the answer. The answer to HEAD has no body."""
        self.send(f"{method} {target} HTTP/1.1\r\n" + "".join(f"{f}\r\n" for f in (f"host: {self.host}", *fields)))
        self.send(f"\r\n{body}")
        return self.answer(has_body=method != "HEAD")

    def answer(self, *, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        status = int(self._read.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self._read.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self._read.read(int(headers.get("content-length", 0))) if has_body else b""


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("//healthz", 404),
        ("/healthz/", 404),
        ("/./healthz", 404),
        ("/healthz%2f", 404),
        ("/%68ealthz", 404),
        ("/healthz%", 404),
        ("/healthz%zz", 404),
        ("/healthz%0d%0aset-cookie:x=1", 404),
        ("*", 404),
        ("/healthz?x=1", 200),
        ("/healthz?", 200),
        ("/healthz?" + "a=b&" * 15_000, 200),
        ("/healthz?" + "a=b&" * 17_000, 431),
        ("/" + "x/" * 30_000, 404),
        ("/healthz#fragment", 400),
        ("healthz", 400),
        ("http://evil.example/metrics", 403),
        ("http://HOST/healthz", 200),
        ("http://HOST/tasks%2fx", 404),
        ("/tasks%2fx", 404),
        ("//tasks", 404),
        ("/tasks/%2e%2e", 404),
        ("/mcp%2fecho", 404),
        ("//mcp/echo", 404),
    ],
)
def test_a_target_leads_to_the_page_that_it_names_byte_for_byte_or_to_none(
    paged: GatewayProcess, target: str, status: int
):
    with Line(paged) as line:
        found, headers, _ = line.ask("GET", target.replace("HOST", line.host))

    assert found == status
    assert not {"location", "set-cookie"} & headers.keys()


def test_head_has_the_length_of_get_and_no_body_and_the_connection_goes_on(paged: GatewayProcess):
    with Line(paged) as line:
        for path in PAGES:
            status, headers, body = line.ask("GET", path)
            assert status == 200
            if path != "/metrics":
                assert line.ask("HEAD", path) == (200, headers, b"")
            else:
                assert line.ask("HEAD", path)[0] == 200
            assert len(body) == int(headers["content-length"])
        for path, status in {"/tasks": 405, "/tasks/none": 404, "/tasks/none/complete": 405, "/nothing": 404}.items():
            assert (line.ask("HEAD", path)[0], line.ask("HEAD", path)[2]) == (status, b"")
        assert line.ask("GET", "/healthz")[2] == b'{"status":"ok"}'


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        *((path, "GET, HEAD") for path in PAGES),
        ("/tasks", "POST"),
        ("/tasks/x", "GET, HEAD"),
        ("/mcp/echo", "DELETE, GET, POST"),
    ],
)
def test_options_names_the_methods(paged: GatewayProcess, path: str, allow: str):
    with Line(paged) as line:
        status, headers, _ = line.ask("OPTIONS", path)

    assert (status, headers["allow"]) == (405, allow)


def test_a_body_that_no_page_reads_is_not_taken_for_a_request(paged: GatewayProcess):
    smuggled = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
    for path in ("/healthz", METADATA, "/nothing", "/tasks/x"):
        with Line(paged) as line:
            status, _, _ = line.ask("PUT", path, f"content-length: {len(smuggled)}", body=smuggled)
            assert status in {404, 405}
            assert line.ask("GET", "/healthz")[2] == b'{"status":"ok"}'


def test_declarations_that_stall_hold_up_nobody_and_leave_nothing(paged: GatewayProcess):
    before = len(entries(paged.folder, "task"))
    with ExitStack() as stack:
        for _ in range(20):
            line = stack.enter_context(Line(paged))
            line.send(f"POST /tasks HTTP/1.1\r\nhost: {line.host}\r\n")
            line.send('content-type: application/json\r\ncontent-length: 100\r\n\r\n{"goal": "')
        until(lambda: metric(paged, "opagate_in_flight") == 20)
        with Line(paged) as other:
            for path in PAGES:
                assert other.ask("GET", path)[0] == 200
        assert Caller(paged).call("echo", text="meanwhile").text == "meanwhile"
    until(lambda: metric(paged, "opagate_in_flight") == 0)

    assert len(entries(paged.folder, "task")) == before


def test_a_task_that_many_end_at_once_ends_once(paged: GatewayProcess):
    with Line(paged) as line:
        opened = json.loads(
            line.ask("POST", "/tasks", "content-type: application/json", "content-length: 2", body="{}")[2]
        )
    verbs = ["complete", "cancel"] * 12

    def end(verb: str) -> int:
        with Line(paged) as line:
            return line.ask("POST", f"/tasks/{opened['id']}/{verb}", "content-length: 0")[0]

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(end, verbs))
    told = {verb: {status for asked, status in zip(verbs, statuses, strict=True) if asked == verb} for verb in verbs}

    assert sorted(map(sorted, told.values())) == [[200], [409]]
    with Line(paged) as line:
        status = json.loads(line.ask("GET", f"/tasks/{opened['id']}")[2])["status"]
    assert status == ("completed" if told["complete"] == {200} else "cancelled")
    ended = [entry for entry in entries(paged.folder, "task") if entry["event"] == "ended"]
    assert {entry["how"] for entry in ended} == {status}
