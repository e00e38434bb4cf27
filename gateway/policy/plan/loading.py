"""Loading of compiled policies: the plan of the rules, and its code from the cache or from a compiling process."""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Final, cast

from gateway.background import in_thread
from gateway.errors import PolicyBroken, PolicyUnavailable
from gateway.policy.bundle import Bundle
from gateway.policy.child_process import ask_process
from gateway.policy.plan import code_cache, store
from gateway.policy.plan.code_cache import CodeCache
from gateway.policy.plan.compile_process import CODE, PROBLEM
from gateway.policy.plan.program import Program
from gateway.policy.plan.signatures import PlanTrust, UntrustedPlan
from gateway.policy.plan.store import StoredPlan
from gateway.policy.plan.values import read_json

_PATIENCE: Final = 120
"""Seconds for a process that compiles."""
_KEPT: Final = 4
"""Codes that are kept where no cache keeps them: a change of grants alone compiles nothing."""
_CODES: Final[dict[str, bytes]] = {}
NO_TRUST: Final = PlanTrust()

UNFIT: Final = "no compiled form fits the rules in force, so regorus evaluates them, at half the speed; `opagate policy compile` makes it"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A compiled policy. `reason` says in one sentence why there is none."""

    program: Program | None
    reason: str = ""
    code: bytes = b""
    """The code of the program, for another process of this gateway."""
    digest: str = ""
    """The digest of the plan in hex."""


_SIGN: Final = "compile with `opagate policy compile` on this machine, or with `--sign` where you build"


class Plans:
    """Compiled policies. `cache` keeps their code; without it each start compiles anew. `trust` says which plans in files count."""

    def __init__(self, cache: CodeCache | None = None, trust: PlanTrust = NO_TRUST) -> None:
        self._cache = cache
        self._trust = trust

    async def load(self, policy: Bundle, folders: Sequence[Path]) -> Loaded:
        """Return the compiled form of a policy. `folders` are its folders, with plans beside them."""
        try:
            stored, reason = await in_thread(partial(find_plan, policy, folders, self._trust))
            if stored is None:
                return Loaded(None, reason)
            plan = bytes(stored.plan)
            code = await self._code(plan)
        except PolicyBroken as error:
            return Loaded(None, f"{error.message}; {error.remedy}; regorus evaluates the rules")
        decoded = cast("CodeType", marshal.loads(code))  # noqa: S302 - from a process that this one started, or its cache
        program = Program(decoded, read_json(policy.data))
        return Loaded(program, code=code, digest=store.digest_of(plan))

    async def _code(self, plan: bytes) -> bytes:
        mark = code_cache.mark(plan)
        code = _CODES.get(mark)
        if code is None and self._cache is not None:
            code = await in_thread(partial(self._cache.load_code, mark))
        if code is not None:
            return code
        code = await _compile_in_process(plan)
        if self._cache is None:
            _remember(mark, code)
        else:
            await in_thread(partial(self._cache.write, mark, code))
        return code


def remember(plan: bytes, code: CodeType) -> None:
    """Keep the code of a plan for this process."""
    _remember(code_cache.mark(plan), marshal.dumps(code))


def _remember(mark: str, code: bytes) -> None:
    _CODES[mark] = code
    while len(_CODES) > _KEPT:
        del _CODES[next(iter(_CODES))]


def find_plan(policy: Bundle, folders: Sequence[Path], trust: PlanTrust) -> tuple[StoredPlan | None, str]:
    """Return the plan of a policy, or the reason why none is used. Raise `PolicyBroken` for a file that is no plan."""
    rules, reason = store.digest(policy.modules), UNFIT
    shipped = store.read_shipped()
    if shipped.rules == rules:
        return shipped, ""
    for place in map(store.beside, folders):
        try:
            found = store.find(rules, place, trust)
        except UntrustedPlan as error:
            reason = f"{place} {error}, so it is left out, and regorus evaluates the rules; {_SIGN}"
            continue
        if found is not None:
            return found, ""
    return None, reason


async def _compile_in_process(plan: bytes) -> bytes:
    """Return the code of a plan, made by a process. Raise `PolicyBroken`."""
    try:
        answer, status = await ask_process(
            "gateway.policy.plan.compile_process", plan, seconds=_PATIENCE, work="compiles a policy"
        )
    except TimeoutError:
        raise PolicyBroken(f"the policy was not compiled within {_PATIENCE} s", _ROOM) from None
    except PolicyUnavailable as error:
        raise PolicyBroken(error.message, error.remedy) from None
    if answer.startswith(PROBLEM):
        message, _, remedy = answer.removeprefix(PROBLEM).decode().partition("\n")
        raise PolicyBroken(message, remedy)
    if status != 0 or not answer.startswith(CODE):
        raise PolicyBroken(f"the process that compiles a policy ended with status {status}", _ROOM)
    return answer.removeprefix(CODE)


_ROOM: Final = "allow the gateway one more process, and 200 MB of memory for it"
