"""The gateway's requests to a transmitter, against one that answers oddly."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.authority.signals.set import SetFault
from gateway.authority.signals.transmitter import Polled, StreamDescription, Transmitter
from gateway.config.signals import SsfSignals
from tests.servers import transmitter as servers
from tests.servers.transmitter import TOKEN, running_transmitter
from tests.signalling import account

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

METADATA = "/.well-known/ssf-configuration"


class Odd:
    """Answers of the test in place of the transmitter's own."""

    def __init__(self, idp: servers.Transmitter) -> None:
        self.idp = idp
        self.answers: dict[str, Any] = {}
        self._own = idp.answer
        idp.answer = self._answer

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        found = self.answers.get(path)
        return self._own(method, path, body) if found is None else found


@asynccontextmanager
async def asked(monkeypatch: pytest.MonkeyPatch, **access: Any) -> AsyncGenerator[tuple[Transmitter, Odd]]:
    monkeypatch.setenv("SSF_TOKEN", TOKEN)
    with running_transmitter() as idp:
        odd = Odd(idp)
        stream = {"token": "${SSF_TOKEN}", **access}
        settings = SsfSignals.model_validate({"kind": "ssf", "transmitter": idp.origin, "stream": stream})
        assert settings.stream is not None
        gateway = Transmitter(settings, settings.stream, time.time)
        try:
            yield gateway, odd
        finally:
            await gateway.aclose()


async def test_a_stream_is_found_polled_and_asked(monkeypatch: pytest.MonkeyPatch):
    async with asked(monkeypatch) as (gateway, odd):
        jti = odd.idp.add(account("ann"))
        found = await gateway.poll([], {}, wait=False)
        assert isinstance(found, Polled)
        assert list(found.tokens) == [jti]
        fault = SetFault("invalid_key", "the signature is of no key")
        assert await gateway.poll([], {jti: fault}, wait=False) == Polled({}, has_more=False)
        assert odd.idp.refused[jti] == {"err": "invalid_key", "description": "the signature is of no key"}
        assert await gateway.ask_verification("abc") is None
        assert odd.idp.asked == 1


ODD: list[tuple[dict[str, Any], str]] = [
    ({METADATA: (404, {})}, "answered 404"),
    ({METADATA: (200, [])}, "is not a JSON object"),
    ({METADATA: (200, {"issuer": "https://other.example"})}, "is the metadata of another issuer"),
    ({"/streams": (200, [])}, "has no such streams"),
    ({"/streams": (200, [{"stream_id": "a"}, {"stream_id": "b"}])}, "has 2 such streams"),
    ({"/streams": (200, {"stream_id": 5})}, "does not describe its streams"),
    ({"/streams": (200, "x" * 70_000)}, "sent more than 64 KiB"),
    ({"/streams": (403, {"error": "insufficient_scope"})}, "403 insufficient_scope"),
    ({"/streams": (200, [{"stream_id": "a"}])}, "is not for polls"),
    (
        {
            "/streams": (
                200,
                [
                    {
                        "stream_id": "a",
                        "delivery": {"method": "urn:ietf:rfc:8936", "endpoint_url": "http://other.example/"},
                    }
                ],
            )
        },
        "is not for polls",
    ),
    ({"/poll": (500, {"error": "Some <secret> text"})}, "answered 500"),
    ({"/poll": (200, [])}, "sent no answer to a poll"),
    ({"/poll": (200, {"sets": {"a": 5}})}, "sent no answer to a poll"),
    ({"/poll": (200, {"sets": {"a": "x" * 2**21}})}, "sent more than 1024 KiB"),
]


@pytest.mark.parametrize(("answers", "problem"), ODD)
async def test_an_odd_answer_is_a_problem_in_words(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any], problem: str
):
    async with asked(monkeypatch) as (gateway, odd):
        odd.answers = answers
        found = await gateway.poll([], {}, wait=False)
        assert isinstance(found, str)
        assert problem in found
        assert TOKEN not in found
        assert "secret" not in found
        odd.answers = {}
        assert isinstance(await gateway.poll([], {}, wait=False), Polled), "it heals by itself"


async def test_an_event_of_half_a_megabyte_is_fetched_so_that_it_can_be_refused(monkeypatch: pytest.MonkeyPatch):
    async with asked(monkeypatch) as (gateway, odd):
        odd.answers = {"/poll": (200, {"sets": {"a": "x" * 500_000}})}
        found = await gateway.poll([], {}, wait=False)

    assert isinstance(found, Polled)
    assert len(found.tokens["a"]) == 500_000


async def test_one_of_several_streams_is_chosen_by_its_id(monkeypatch: pytest.MonkeyPatch):
    async with asked(monkeypatch, id="b") as (gateway, odd):
        odd.answers = {"/streams": (200, [{"stream_id": "a"}, {"stream_id": "b"}])}
        found = await gateway.describe()

    assert isinstance(found, StreamDescription)
    assert found.id == "b"


async def test_a_transmitter_that_is_away_is_a_problem_in_words(monkeypatch: pytest.MonkeyPatch):
    async with asked(monkeypatch) as (gateway, odd):
        odd.idp.is_down = True
        assert "503" in str(await gateway.ask_verification("abc"))
