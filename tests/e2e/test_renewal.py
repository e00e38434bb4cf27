"""Certificates that are renewed under calls, and the end of a gateway with TLS clients that do nothing."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.e2e import certificates
from tests.e2e.conftest import policy
from tests.e2e.faults import config
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Caller, call, until
from tests.gateway_process import GatewayProcess
from tests.requirements import requirement
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess
from tests.unit.identity.tokens import Authority
from tests.unit.wire.http.test_tls_files import another

RENEWALS = 3


@pytest.fixture
def authority() -> Authority:
    return Authority(now=time.time())


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> certificates.Pair:
    return certificates.server(authority, tmp_path)


@contextmanager
def served(
    echo: ServerProcess, authority: Authority, pair: certificates.Pair, tmp_path: Path
) -> Generator[tuple[GatewayProcess, Caller]]:
    """A gateway with this pair, and a caller that trusts the authority."""
    trusting = certificates.client_context(certificates.written(authority, tmp_path, "ca"))
    setup = config(echo, policy(tmp_path), f"tls: {{certificate: '{pair.certificate}', key: '{pair.key}'}}\n")
    with mortal_gateway(setup, tmp_path, tls=trusting, by_command=True) as gateway:
        yield gateway, Caller(gateway, tls=trusting)


class Calls:
    """Calls one after the other, each on a connection of its own, until the test says so."""

    def __init__(self, caller: Caller) -> None:
        self.answered, self.failures = 0, list[str]()
        self._caller, self._over = caller, threading.Event()
        self._thread = threading.Thread(target=self._press)

    @contextmanager
    def running(self) -> Generator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def has_answered(self, goal: int) -> bool:
        return self.answered >= goal

    def _press(self) -> None:
        while not self._over.is_set():
            try:
                answer = self._caller.call("echo", text="through")
                assert answer.text == "through"
                self.answered += 1
            except (OSError, AssertionError, KeyError) as error:
                self.failures.append(repr(error))


def shown(gateway: GatewayProcess) -> bytes:
    """The certificate that the gateway shows to a new connection."""
    host, _, port = gateway.origin.partition("://")[2].partition(":")
    return ssl.get_server_certificate((host, int(port))).encode()


@requirement("tls/renewal")
def test_pairs_are_renewed_under_calls_and_no_call_fails(
    echo_server: ServerProcess, recorder: Recorder, authority: Authority, pair: certificates.Pair, tmp_path: Path
):
    with served(echo_server, authority, pair, tmp_path) as (gateway, caller):
        calls = Calls(caller)
        held = caller.open("POST", call("hold", key="renewed"))
        with held as answer, calls.running():
            answer.readline()
            for _ in range(RENEWALS):
                new = another(authority, tmp_path)
                shutil.copy(new.certificate, pair.certificate)
                until(lambda: '"tls.kept-out"' in gateway.printed(), within=30)
                shutil.copy(new.key, pair.key)
                until(lambda: shown(gateway).strip() == pair.certificate.read_bytes().strip(), within=30)
                goal = calls.answered + 5
                until(partial(calls.has_answered, goal), within=30)
            # The connection from before the renewals lives on.
            recorder.release("renewed")
            assert b"released" in answer.read()
        assert calls.failures == []
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(60) == 0


@requirement("tls/renewal", "fault/drain")
def test_clients_of_tls_that_do_nothing_do_not_hold_a_stop(
    echo_server: ServerProcess, authority: Authority, pair: certificates.Pair, tmp_path: Path
):
    """One has used its connection, one has only shaken hands, one has not even done so, and none of them answers a goodbye."""
    with served(echo_server, authority, pair, tmp_path) as (gateway, caller):
        host, _, port = gateway.origin.partition("://")[2].partition(":")
        assert caller.tls is not None
        plain = [socket.create_connection((host, int(port))) for _ in range(3)]
        used, shaken = [caller.tls.wrap_socket(each, server_hostname=host) for each in plain[:2]]
        used.sendall(f"GET /healthz HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode())
        assert used.recv(4096).startswith(b"HTTP/1.1 200 ")
        gateway.process.send_signal(signal.SIGTERM)
        # Thirty seconds is how long a TLS connection waits for the goodbye of its client by default.
        assert gateway.process.wait(20) == 0
        for each in (used, shaken, plain[2]):
            each.close()
