"""Leases whose end waits for time, and requests after which nothing can be left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.authority.leases import Lent
from gateway.authority.model import BrokerRefusal, NotEnded
from gateway.model.decision import Reason
from tests.unit.authority.lending import Lending


@pytest.fixture
def lending(tmp_path: Path) -> Lending:
    return Lending(tmp_path)


async def test_a_certain_refusal_leaves_no_lease_although_a_handle_was_prepared(lending: Lending):
    lending.broker.prepared = {"accessor": "a1"}
    lending.broker.answers = [BrokerRefusal(Reason("credential/connect", "no connection", "connect"), is_certain=True)]

    assert isinstance(await lending.leases.lend("bao", lending.request()), BrokerRefusal)
    assert lending.leases.all() == ()
    assert lending.events() == ["requested", "failed"]


async def test_a_stop_does_not_wait_for_a_lease_that_only_time_ends(lending: Lending):
    lending.broker.ends = [NotEnded("the token lives", after=60, waits=True)]
    assert isinstance(await lending.leases.lend("bao", lending.request()), Lent)

    async with asyncio.timeout(300):
        left = await lending.leases.drain(600)
    assert [lease.state for lease in left] == ["ending"]
