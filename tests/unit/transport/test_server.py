"""TLS, the listening socket, and what a signal does."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from gateway import config
from gateway.config import TlsSettings
from gateway.errors import ConfigurationError
from gateway.transport.server import Server, listen, tls_context
from tests.e2e import certificates
from tests.unit.identity.tokens import Authority


def settings(tmp_path: Path, authority: Authority, *, client_ca: bool = False) -> TlsSettings:
    pair = certificates.server(authority, tmp_path)
    ca = certificates.written(authority, tmp_path, "ca") if client_ca else None
    return TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=ca)


@pytest.fixture
def authority() -> Authority:
    return Authority(now=time.time())


def test_clients_are_asked_for_certificates_only_where_an_authority_is_named(tmp_path: Path, authority: Authority):
    assert tls_context(settings(tmp_path, authority)).verify_mode is ssl.CERT_NONE
    assert tls_context(settings(tmp_path, authority, client_ca=True)).verify_mode is ssl.CERT_OPTIONAL
    pem = certificates.written(authority, tmp_path, "other").read_text("utf-8")
    context = tls_context(settings(tmp_path, authority), pem)
    assert context.verify_mode is ssl.CERT_OPTIONAL
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_files_that_cannot_be_used_are_a_fault_of_the_configuration(tmp_path: Path, authority: Authority):
    found = settings(tmp_path, authority)
    found.key.write_text("not a key", "utf-8")
    with pytest.raises(ConfigurationError, match="the TLS files cannot be used"):
        tls_context(found)


def configured(listening: str) -> config.Configuration:
    return config.parse(f"listen: '{listening}'\n", base=Path())


def test_an_address_that_is_taken_is_a_fault_of_the_configuration():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen(configured(f"127.0.0.1:{port}"))


@pytest.mark.parametrize(("listening", "family"), [("127.0.0.1:0", socket.AF_INET), ("[::1]:0", socket.AF_INET6)])
def test_it_listens_on_either_family(listening: str, family: socket.AddressFamily):
    with listen(configured(listening)) as found:
        assert found.family is family


async def test_the_first_signal_drains_and_a_second_interrupt_does_not_wait():
    async def drain() -> None:
        """Nothing to drain."""

    server = Server(None, configured("127.0.0.1:0"), tls=None, on_ready=lambda: None, on_drain=drain)
    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(signal.SIGTERM, None)
    assert (server.should_exit, server.force_exit) == (True, False)
    server.handle_exit(signal.SIGINT, None)
    assert server.force_exit
    server._listener.close()
