"""The task of a request, by the token or the id that it names, or by its caller."""

from __future__ import annotations

import pytest

from gateway.calls.pipeline.context import RequestContext
from gateway.model.caller import AuthMethod, Principal
from gateway.model.content import ResultContent
from gateway.model.decision import Refusal
from gateway.model.task import Task
from gateway.model.wire import Headers, UpstreamRequest
from gateway.wire.protocol.headers import group_headers
from tests.unit.exchanges import new_exchange
from tests.unit.harness import URL, Bench

ADA = Principal("ada", "https://idp.example", AuthMethod.JWT)
EVE = Principal("eve", "https://idp.example", AuthMethod.JWT)
ENDS = 2000.0
DECLARED = Task("task-1", "declared", 1000.0, expires=ENDS)


def found(there: Bench, *named: bytes, by: Principal = ADA, at: float = 1000.0) -> Task | Refusal:
    headers: Headers = tuple((b"opagate-task", name) for name in named)
    trace = there.gateway.tracing.start(group_headers(headers), "test")
    context = RequestContext("d-1", new_exchange("POST", "files", URL, headers), at, 0.0, trace)
    request = UpstreamRequest("POST", headers, by, None)
    return there.gateway.pipeline.preparation.tasks.find_task(context, request, None, at)


def code(outcome: Task | Refusal) -> tuple[int, str]:
    assert isinstance(outcome, Refusal), outcome
    return outcome.status, outcome.reason.code


@pytest.fixture
def declared(there: Bench) -> Bench:
    """A gateway with a declared task of ADA's."""
    there.gateway.history.tasks.open(ADA, DECLARED, ResultContent())
    return there


async def test_without_a_name_it_is_the_implicit_one_of_the_caller(declared: Bench):
    mine, hers = found(declared), found(declared, by=EVE)

    assert isinstance(mine, Task)
    assert isinstance(hers, Task)
    assert (mine.kind, hers.kind) == ("implicit", "implicit")
    assert mine.id != hers.id
    assert found(declared) == mine


async def test_a_declared_one_is_named_by_its_id_or_by_its_token(declared: Bench):
    token = declared.gateway.task_tokens.issue(ADA, DECLARED, 1000.0)

    assert found(declared, b"task-1") == DECLARED
    assert found(declared, token.encode()) == DECLARED


async def test_one_of_another_caller_is_refused_like_one_that_there_is_not(declared: Bench):
    token = declared.gateway.task_tokens.issue(ADA, DECLARED, 1000.0)

    assert code(found(declared, b"task-1", by=EVE)) == code(found(declared, b"task-9")) == (403, "task/unknown")
    assert code(found(declared, token.encode(), by=EVE)) == (403, "task/unknown")


async def test_one_that_is_over_is_refused(declared: Bench):
    token = declared.gateway.task_tokens.issue(ADA, DECLARED, 1000.0)

    assert code(found(declared, b"task-1", at=ENDS)) == (403, "task/expired")
    assert code(found(declared, token.encode(), at=ENDS)) == (403, "task/expired")


async def test_one_that_is_named_in_two_ways_is_refused(declared: Bench):
    assert code(found(declared, b"task-1", b"task-2")) == (403, "task/ambiguous")
    assert found(declared, b"task-1", b"task-1") == DECLARED
