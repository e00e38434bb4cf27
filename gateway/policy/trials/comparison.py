"""A comparison of two policies on the same inputs, in a process of its own.

The process has its own loop, a lower priority, and bounds on its processor time and memory, as that of a trial. A policy is put into
force by no comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct

from gateway.model.errors import PolicyBroken, PolicyUnavailable
from gateway.policy.trials.child_process import ask_process

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.model.wire import JsonObject

PATIENCE: Final = 120.0
"""Seconds until a comparison that gets no processor time is given up."""


class PolicyFiles(Struct, frozen=True):
    """The files of a policy. `limits` are the operator's numbers for limits of tasks, by their names. `plan_keys` are the
    public keys whose signatures on compiled rules count."""

    path: str | None = None
    grants: str | None = None
    overlay: str | None = None
    limits: dict[str, dict[str, int]] = {}
    plan_keys: tuple[str, ...] = ()


class ComparisonJob(Struct, frozen=True):
    """Two policies and the inputs. `supported` has the obligations that the gateway carries out. `seconds` bounds the processor time, and `memory` the bytes of the process."""

    first: PolicyFiles
    second: PolicyFiles
    inputs: tuple[msgspec.Raw, ...]
    supported: tuple[str, ...]
    seconds: int = 60
    memory: int = 2 * 2**30


class ComparedVerdict(NamedTuple):
    """The effect and the codes of a decision."""

    effect: str
    codes: tuple[str, ...]


class Compared(Struct, frozen=True):
    """The answers of both policies to each input, and their revisions. With a `problem`, a policy could not be loaded."""

    revisions: tuple[str, str] = ("", "")
    answers: tuple[tuple[ComparedVerdict, ComparedVerdict], ...] = ()
    problem: str | None = None
    remedy: str = ""


async def compare(
    first: PolicyFiles, second: PolicyFiles, inputs: Sequence[JsonObject], supported: Collection[str]
) -> Compared:
    """Ask two policies about the same inputs. Raises `PolicyBroken` and `PolicyUnavailable`."""
    encoded = tuple(msgspec.Raw(msgspec.json.encode(one)) for one in inputs)
    job = ComparisonJob(first, second, encoded, tuple(supported))
    question, module = msgspec.json.encode(job), "gateway.policy.trials.comparison_process"
    try:
        answer = await ask_process(module, question, seconds=PATIENCE, work="compares policies")
    except TimeoutError:
        raise PolicyUnavailable(f"the comparison took more than {PATIENCE:.0f} s", "compare fewer decisions") from None
    try:
        compared = msgspec.json.decode(answer.written, type=Compared)
    except msgspec.MsgspecError:
        raise PolicyUnavailable(
            f"the process that compares policies ended with status {answer.status}",
            "look at the rules of the candidate: they take too long or too much memory",
        ) from None
    if compared.problem is not None:
        raise PolicyBroken(compared.problem, compared.remedy)
    if len(compared.answers) != len(inputs):
        raise PolicyUnavailable("the process that compares policies left answers out", "try again")
    return compared
