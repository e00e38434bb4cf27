"""The administration of a server that answers wrongly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gateway.config import OpaEngine
from gateway.model.errors import PolicyError, PolicyMalformed, PolicyUnavailable
from gateway.policy.opa.contents import Pushed
from gateway.surfaces.cli import opa_admin
from gateway.surfaces.cli.opa_admin import OpaAdmin, Rejected

ASKED: list[str] = []
"""The paths of all requests so far."""


class _Answering(BaseHTTPRequestHandler):
    def __init__(self, status: int, body: bytes, waits: threading.Event | None, *connection: Any) -> None:
        self._answer = status, body, waits
        super().__init__(*connection)

    def do_GET(self) -> None:
        status, body, waits = self._answer
        if waits is not None:
            waits.wait(30)
            return
        self.send_response(status)
        self.send_header("location", "http://127.0.0.1:1/v1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.do_GET()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        ASKED.append(self.path)


@contextmanager
def _admin(status: int, body: bytes, waits: threading.Event | None = None, path: str = "") -> Generator[OpaAdmin]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Answering, status, body, waits))
    threading.Thread(target=server.serve_forever).start()
    admin = OpaAdmin(OpaEngine(kind="opa", url=f"http://127.0.0.1:{server.server_port}{path}"))
    try:
        yield admin
    finally:
        if waits is not None:
            waits.set()
        admin.close()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "ask", "kind", "message"),
    [
        (200, b"rubbish", OpaAdmin.version, PolicyUnavailable, "not JSON"),
        (200, b"rubbish", OpaAdmin.modules, PolicyMalformed, "list of policies"),
        (200, b'{"result": [1]}', OpaAdmin.bundles, PolicyUnavailable, "report on its bundles"),
        (401, b'{"code": "unauthorized"}', OpaAdmin.version, PolicyUnavailable, "does not let this token"),
        (403, b"", OpaAdmin.modules, PolicyUnavailable, "does not let this token"),
        (500, b'{"code": "internal_error", "message": "m"}', OpaAdmin.version, Rejected, "OPA refused the change: m"),
        (500, b"", OpaAdmin.modules, Rejected, "status 500"),
        (302, b"", OpaAdmin.modules, PolicyUnavailable, "cannot be reached"),
    ],
)
def test_a_wrong_answer_is_an_error_in_words(
    status: int, body: bytes, ask: Callable[[OpaAdmin], object], kind: type[PolicyError], message: str
):
    with _admin(status, body) as admin, pytest.raises(kind, match=message) as raised:
        ask(admin)

    assert raised.value.remedy


def test_a_record_of_another_form_is_none():
    with _admin(200, b'{"result": {"revision": 1}}') as admin:
        assert admin.pushed() == Pushed()


def test_an_answer_that_does_not_come_is_late(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opa_admin, "SECONDS", 0.2)
    with (
        _admin(200, b"{}", threading.Event()) as admin,
        pytest.raises(PolicyUnavailable, match="did not answer within"),
    ):
        admin.modules()


def test_a_path_in_the_address_comes_before_opas_own():
    with _admin(200, b'{"result": {}}', path="/opa/") as admin:
        admin.pushed()

    assert ASKED[-1] == "/opa/v1/data/opagate/pushed"


def test_an_error_without_a_place_is_told_too():
    body = b'{"code": "invalid_parameter", "message": "m", "errors": [{"message": "bad"}, 1]}'
    with _admin(400, body) as admin, pytest.raises(Rejected, match=":0: bad; :0: 1"):
        admin.put_module("opagate/x.rego", "package x")
