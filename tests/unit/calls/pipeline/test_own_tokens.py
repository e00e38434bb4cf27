"""The tokens of callers on their way to an upstream, with every part real but the upstream."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from random import Random
from string import ascii_letters, digits

import pytest

from gateway.inspection.credentials import caller_tokens
from gateway.model.caller import Credentials, Principal
from gateway.model.decision import Refusal
from tests.requirements import requirement
from tests.unit.harness import URL, Bench, bench, call, message

OWN = ["request/own-token"]
OLD, NEW = ("".join(Random(seed).choices(ascii_letters + digits, k=44)) for seed in (1, 2))
BEARER = (b"authorization", f"Bearer {NEW}".encode())


async def anyone(there: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take each token as one of the anonymous caller."""
    principal = await there.gateway.identities.identify(Credentials("POST", URL), "127.0.0.1")

    async def identify(_credentials: Credentials, _ip: str | None) -> Principal | Refusal:
        return principal

    monkeypatch.setattr(there.gateway.identities, "identify", identify)


@pytest.fixture
async def known(there: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A gateway at which each token is good."""
    await anyone(there, monkeypatch)
    return there


@requirement("invariant/3")
@pytest.mark.parametrize("text", [NEW, " ".join(NEW), NEW[15:]])
async def test_the_callers_own_token_does_not_travel(known: Bench, text: str):
    for body, *headers in (
        (call(text=text),),
        (message("ping", _meta={"note": text}),),
        (call(text="so"), (b"x-note", text.encode())),
        (None, (b"x-note", text.encode())),
    ):
        answer = await known.ask(body, BEARER, *headers)
        assert (answer.status, answer.codes) == (400, OWN)
    assert known.upstream.sent == []
    assert (await known.ask(call(text="so"), BEARER)).status == 200
    assert known.entries("exposed") == []


@requirement("invariant/3", "invariant/7", "invariant/8")
async def test_pieces_of_it_add_up_and_are_on_record(known: Bench):
    third = len(NEW) // 3
    assert (await known.ask(call(text=NEW[:third]), BEARER)).status == 200
    (entry,) = known.entries("exposed")
    assert NEW[:third] not in str(entry)
    for body in (
        call(text=NEW[third:-6]),
        call(parts=[NEW[third : 2 * third]]),
        message("ping", _meta={NEW[third:-6]: 1}),
    ):
        assert (await known.ask(body, BEARER)).codes == OWN
    assert len(known.upstream.sent) == 1


@requirement("invariant/3")
async def test_an_earlier_token_does_not_travel_under_a_later_one(known: Bench):
    assert (await known.ask(call(text="so"), (b"authorization", f"Bearer {OLD}".encode()))).status == 200
    for text in (OLD, "-".join(OLD)):
        assert (await known.ask(call(text=text), BEARER)).codes == OWN
    assert (await known.ask(call(text=OLD[:14]), BEARER)).status == 200
    assert (await known.ask(call(text=OLD[14:40]), BEARER)).codes == OWN


@requirement("invariant/8")
async def test_a_refusal_is_recorded_and_told_without_an_earlier_token(known: Bench):
    await known.ask(call(text="so"), (b"authorization", f"Bearer {OLD}".encode()))
    answer = await known.ask(message("tools/call", name=f"read_{OLD}", arguments={}), BEARER)
    assert answer.codes == OWN
    (entry,) = known.entries("refused")
    assert entry["name"].startswith("fp:seen:")
    assert OLD not in json.dumps(entry)


@requirement("invariant/8")
async def test_arguments_with_a_piece_of_it_are_recorded_as_a_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, more="journal: {arguments: full}\n") as there:
        await anyone(there, monkeypatch)
        for text in ("nothing of note", NEW[:14]):
            assert (await there.ask(call(text=text), BEARER)).status == 200
        assert [entry["arguments"]["mode"] for entry in there.entries("call")] == ["full", "digest"]


async def test_a_caller_without_a_token_sends_what_looks_like_one(known: Bench):
    assert (await known.ask(call(text=NEW))).status == 200


async def test_a_piece_in_an_unknown_task_is_refused(known: Bench):
    answer = await known.ask(call(text=NEW[:14]), BEARER, (b"opagate-task", b"nobody's"))
    assert answer.codes == ["task/unknown"]


async def test_a_long_call_is_looked_through_beside_the_event_loop(known: Bench, monkeypatch: pytest.MonkeyPatch):
    """A call in percent signs may take half a second. Others would wait."""
    read, threads = caller_tokens.read_values, list[str]()

    def noted(body: bytes) -> bytes | None:
        threads.append(threading.current_thread().name.partition("_")[0])
        return read(body)

    monkeypatch.setattr(caller_tokens, "read_values", noted)
    monkeypatch.setattr(caller_tokens, "read_values", noted)
    text = "%61" * 80_000
    for body in (call(path="%61"), call(path=text), message("ping", _meta={"note": text})):
        answer = await known.ask(body, BEARER)
        assert answer.json["result"] == {"content": []}

    assert (threads[0], {*threads[2:]}) == ("MainThread", {"worker"})
