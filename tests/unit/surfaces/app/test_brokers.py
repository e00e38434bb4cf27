"""Brokers from a configuration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gateway.authority.brokers.id_jag import PRESENTED, PresentedAssertions
from gateway.model.errors import ConfigurationError
from gateway.surfaces.app.connections import build_brokers
from tests.unit.base.store.keeping import sealed_store
from tests.unit.config.test_brokers import EXCHANGE, OPENBAO, upstream
from tests.unit.configuring import parse

if TYPE_CHECKING:
    from pathlib import Path


def presented(folder: Path) -> PresentedAssertions:
    return PresentedAssertions(sealed_store(folder).of(PRESENTED))


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    monkeypatch.setenv("GATEWAY_SECRET", "s3cret")


async def test_each_configured_broker_is_there(tmp_path: Path):
    bao = OPENBAO.removeprefix("\nbrokers:\n")
    configuration = parse(EXCHANGE + bao + upstream("kind: exchange, broker: idp"))
    brokers = build_brokers(configuration, time.time, presented(tmp_path))
    assert {name: (broker.name, broker.kind, broker.revocable) for name, broker in brokers.items()} == {
        "idp": ("idp", "exchange", "at_once"),
        "bao": ("bao", "openbao", "at_once"),
    }
    for broker in brokers.values():
        await broker.aclose()


def test_authorities_that_cannot_be_used_are_named_at_the_start(tmp_path: Path):
    (tmp_path / "ca.pem").write_text("no certificate")
    configuration = parse(EXCHANGE + f"    ca: {tmp_path}/ca.pem\n")
    with pytest.raises(ConfigurationError, match="certificate authorities"):
        build_brokers(configuration, time.time, presented(tmp_path))
