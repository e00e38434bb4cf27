"""Resources that are named without a decision."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.model.errors import HistoryFull
from tests.requirements import requirement
from tests.unit.harness import Bench, answering, message, modern

NOT_VISIBLE = ["request/not-visible"]


def listen(uris: Any) -> tuple[Any, ...]:
    return modern("subscriptions/listen", notifications={"resourceSubscriptions": uris})


@requirement("mcp/list-filter")
@pytest.mark.parametrize("uri", ["secret:///a", 7])
async def test_what_a_list_hides_is_not_subscribed_to(there: Bench, uri: Any):
    answering(there, {})
    answer = await there.ask(message("resources/subscribe", uri=uri))

    assert (answer.status, answer.codes) == (403, NOT_VISIBLE)
    assert there.upstream.sent == []


@requirement("mcp/list-filter")
@pytest.mark.parametrize(
    "body", [message("resources/subscribe", uri="file:///a"), message("resources/unsubscribe", uri="secret:///a")]
)
async def test_what_a_list_shows_is_subscribed_to(there: Bench, body: bytes):
    answering(there, {})

    assert (await there.ask(body)).status == 200
    assert len(there.upstream.sent) == 1


@requirement("mcp/list-filter")
@pytest.mark.parametrize(
    ("uris", "status"), [(["file:///a"], 200), (["file:///a", "secret:///a"], 403), ("x", 403), ([], 200)]
)
async def test_a_subscription_to_several_resources_names_only_visible_ones(there: Bench, uris: Any, status: int):
    answering(there, {})

    assert (await there.ask(*listen(uris))).status == status


async def test_nothing_is_visible_when_history_is_full(there: Bench, monkeypatch: pytest.MonkeyPatch):
    def full(*_args: Any) -> None:
        raise HistoryFull("no room")

    monkeypatch.setattr(there.gateway.history.tasks, "open_implicit", full)
    assert (await there.ask(message("resources/subscribe", uri="file:///a"))).codes == NOT_VISIBLE
