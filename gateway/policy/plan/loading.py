"""Loading of policies: the plan of the rules, and its code from a file or from a compiling process.

The shipped rules come with their plan. Other rules need a plan with a signature that counts, or the OPA program on this machine
(`authoring.py`). A file with code is used if its digest, under a key of the gateway, fits. The digest covers its content, the
plan, the generator and the Python that runs. The code of the shipped plan stands where Python keeps its compiled modules: who
may write there may change the gateway itself. Any other file is as good as none: the code is made again.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import marshal
import os
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import CodeType
from typing import Final, NamedTuple, cast

from gateway.base.concurrency.background import in_thread
from gateway.model.errors import PolicyBroken, PolicyUnavailable
from gateway.policy import authoring
from gateway.policy.folder.bundle import Bundle, Suite
from gateway.policy.opa.program import HOW_TO_GET, find_program, in_killable_thread
from gateway.policy.plan import store
from gateway.policy.plan.compile_process import CODE, PROBLEM, compile_plan
from gateway.policy.plan.program import Program
from gateway.policy.plan.store import PlanTrust, StoredPlan, UntrustedPlan
from gateway.policy.plan.values import read_json
from gateway.policy.trials.child_process import ask_process

_DIGEST: Final = 32
_MOST: Final = 64 * 2**20
_GATEWAY: Final = Path(__file__).parents[2]
_SHIPPED_CODE: Final = (
    Path(__file__).with_name("__pycache__") / f"{store.SHIPPED.stem}.{sys.implementation.cache_tag}.code"
)


class CodeCache:
    """The cache in one folder. Its methods read and write files, and raise nothing."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key

    def load_code(self, mark: str) -> bytes | None:
        """Return the code of a mark, `None` if there is none that can be trusted."""
        try:
            with self._path(mark).open("rb") as file:
                content = file.read(_MOST)
        except OSError:
            return None
        code = content[_DIGEST:]
        if not hmac.compare_digest(content[:_DIGEST], self._digest(mark, code)):
            return None
        return code

    def write(self, mark: str, code: bytes) -> None:
        """Keep the code of a mark, and nothing else."""
        path = self._path(mark)
        fresh = path.with_name(f".{secrets.token_hex(8)}")
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(self._digest(mark, code) + code)
            fresh.replace(path)
            for other in self._folder.iterdir():
                if other != path:
                    other.unlink()

    def _path(self, mark: str) -> Path:
        return self._folder / f"{mark[:32]}.code"

    def _digest(self, mark: str, code: bytes) -> bytes:
        return hmac.digest(self._key, mark.encode() + b"\0" + code, "sha256")


def is_shipped(mark_: str) -> bool:
    """Return whether a mark is that of the shipped plan."""
    return mark_ == _shipped_mark()


def load_shipped(mark_: str) -> bytes | None:
    """Return the code of the shipped plan, `None` for another mark, or if there is none yet."""
    try:
        content = _SHIPPED_CODE.read_bytes()
    except OSError:
        return None
    head = mark_.encode() + b"\n"
    return content[len(head) :] if content.startswith(head) else None


def write_shipped(mark_: str, code: bytes) -> None:
    """Keep the code of the shipped plan for the next start, where Python may write its compiled modules."""
    if sys.dont_write_bytecode:
        return
    fresh = _SHIPPED_CODE.with_name(f".{secrets.token_hex(8)}")
    with suppress(OSError):
        _SHIPPED_CODE.parent.mkdir(exist_ok=True)
        fresh.write_bytes(mark_.encode() + b"\n" + code)
        fresh.replace(_SHIPPED_CODE)


@cache
def _shipped_mark() -> str:
    return mark_plan(bytes(store.read_shipped().plan))


@cache
def digest_gateway() -> bytes:
    """Return a digest of the gateway's own code. The code stays the same while the gateway runs."""
    found = hashlib.sha256()
    for path in sorted(_GATEWAY.rglob("*.py")):
        found.update(path.read_bytes())
    return found.digest()


def mark_plan(plan: bytes) -> str:
    """Return a digest of a plan, of this package, which turns plans into Python, and of the running Python."""
    found = hashlib.sha256(plan)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    found.update(importlib.util.MAGIC_NUMBER + sys.version.encode())
    return found.hexdigest()


_PATIENCE: Final = 120
"""Seconds for a process that compiles."""
_SMALL: Final = 64 * 2**10
"""Bytes of a plan that takes less time than the start of a process."""
_KEPT: Final = 4
"""Codes and plans that are kept where no cache keeps them: a change of grants alone compiles nothing."""
_QUICK: Final = 1
"""The preset of LZMA for files of this machine: a fourteenth of the time of the smallest form, and 4 % larger."""
_CODES: Final[dict[str, bytes]] = {}
_PLANS: Final[dict[str, bytes]] = {}
NO_TRUST: Final = PlanTrust()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A compiled policy: its program, the code of the program for another process, and the digest of its plan in hex."""

    program: Program
    code: bytes
    digest: str


class PlanCaches(NamedTuple):
    """Files below the state folder: the code of a plan, and the plan of rules that were judged on this machine."""

    code: CodeCache
    judged: CodeCache


class Plans:
    """Compiled policies. Without caches each start compiles anew. `trust` says which plans in files count."""

    def __init__(self, caches: PlanCaches | None = None, trust: PlanTrust = NO_TRUST) -> None:
        self._caches = caches
        self._trust = trust

    async def load(self, policy: Bundle, folders: Sequence[Path] = (), suites: Sequence[Suite] = ()) -> Loaded:
        """Return the compiled form of a policy. `folders` are its folders, with plans beside them; `suites` its tests.

        Tests beside the shipped rules run where there is an OPA, since the data may be own. Raise `PolicyBroken`.
        """
        stored, reason = await in_thread(partial(find_plan, policy, folders, self._trust))
        if stored is None or (_can_run(suites) and stored.rules == (await in_thread(store.read_shipped)).rules):
            stored = await self._judge(policy, suites, reason, stored)
        if folders:
            # The facts may have changed without the rules.
            await in_thread(partial(authoring.require_known_facts, policy, bytes(stored.plan)))
        return await self.load_plan(bytes(stored.plan), policy.data)

    async def _judge(
        self, policy: Bundle, suites: Sequence[Suite], reason: str, judged: StoredPlan | None
    ) -> StoredPlan:
        """Return the plan of rules that OPA has checked and tested, now or before. `judged` needs no further check."""
        rules = store.digest(policy.modules)
        mark = await in_thread(partial(_mark_judged, rules, suites))
        kept = _PLANS.get(mark)
        if kept is None and self._caches is not None:
            kept = await in_thread(partial(self._caches.judged.load_code, mark))
        if kept is not None:
            return store.unpack(kept, "the plan in the state folder")
        if find_program() is None:
            raise PolicyBroken(
                f"{reason}, and there is no `opa` on PATH to compile the rules", f"{SIGN}; or {HOW_TO_GET}"
            )
        if judged is None and rules in _PLANS:
            judged = store.unpack(_PLANS[rules], "the plan in memory")
        stored = await in_killable_thread(partial(authoring.judge, policy, suites, judged))
        packed = await in_thread(partial(store.pack, stored, preset=_QUICK))
        for name in (rules, mark):
            _keep(_PLANS, name, packed)
        if self._caches is not None:
            await in_thread(partial(self._caches.judged.write, mark, packed))
        return stored

    async def load_plan(self, plan: bytes, data: str) -> Loaded:
        """Return the compiled form of a plan with its data, for a caller that trusts the plan. Raise `PolicyBroken`."""
        code = await self._code(plan)
        decoded = cast("CodeType", marshal.loads(code))  # noqa: S302 - from a process that this one started, or its cache
        return Loaded(Program(decoded, read_json(data)), code, store.digest_of(plan))

    async def _code(self, plan: bytes) -> bytes:
        mark = mark_plan(plan)
        code = _CODES.get(mark) or await in_thread(partial(load_shipped, mark))
        if code is None and self._caches is not None:
            code = await in_thread(partial(self._caches.code.load_code, mark))
        if code is not None:
            return code
        code = marshal.dumps(compile_plan(plan)) if len(plan) < _SMALL else await _compile_in_process(plan)
        await in_thread(partial(self._write, mark, code))
        return code

    def _write(self, mark: str, code: bytes) -> None:
        if is_shipped(mark):
            write_shipped(mark, code)
        if self._caches is None:
            _keep(_CODES, mark, code)
        else:
            self._caches.code.write(mark, code)


def _can_run(suites: Sequence[Suite]) -> bool:
    """Return whether there are tests, and an OPA to run them."""
    return any(suite.policy.tests for suite in suites) and find_program() is not None


def _mark_judged(rules: str, suites: Sequence[Suite]) -> str:
    return store.digest_judged(rules, suites, digest_gateway())


def remember(plan: bytes, code: CodeType) -> None:
    """Keep the code of a plan for this process."""
    _keep(_CODES, mark_plan(plan), marshal.dumps(code))


def _keep(kept: dict[str, bytes], mark: str, content: bytes) -> None:
    kept[mark] = content
    while len(kept) > _KEPT:
        del kept[next(iter(kept))]


def find_plan(policy: Bundle, folders: Sequence[Path], trust: PlanTrust) -> tuple[StoredPlan | None, str]:
    """Return the plan of a policy, or the reason why none is used. Raise `PolicyBroken` for a file that is no plan."""
    rules, reason = store.digest(policy.modules), "no compiled form fits the rules"
    shipped = store.read_shipped()
    if shipped.rules == rules:
        return shipped, ""
    for place in map(store.beside, folders):
        try:
            found = store.find(rules, place, trust)
        except UntrustedPlan as error:
            reason = f"{place} {error}, so it is left out"
            continue
        if found is not None:
            return found, ""
    return None, reason


SIGN: Final = "run `opagate policy build --sign KEY` where OPA is, and name the key's public half in policy.plan_keys"


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
