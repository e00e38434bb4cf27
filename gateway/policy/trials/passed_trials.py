"""Trials that a policy has passed, so that the next start does not repeat them.

A passed trial counts again for the same code, data and bounds, under the same gateway and Python. Its
times are not measured again: the deadline of each answer still bounds a policy that has become slow.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import Final

import msgspec

from gateway.base.concurrency.background import in_thread
from gateway.policy.plan.loading import CodeCache, digest_gateway
from gateway.policy.trials import trial
from gateway.policy.trials.trial import Trial

_PASSED: Final = b"passed"


class PassedTrials:
    """The passed trials of one gateway, in the files of a cache. `try_policy` raises `PolicyBroken` or `PolicyUnavailable`."""

    def __init__(self, cache: CodeCache, try_policy: Callable[[Trial], Awaitable[None]] | None = None) -> None:
        self._cache = cache
        self._try = try_policy

    async def require(self, asked: Trial) -> None:
        """Try a policy, unless it has passed an equal trial. Raise `PolicyBroken` or `PolicyUnavailable`."""
        mark = await in_thread(partial(_mark, asked))
        if await in_thread(partial(self._cache.load_code, mark)) == _PASSED:
            return
        await (self._try or trial.require)(asked)
        await in_thread(partial(self._cache.write, mark, _PASSED))


def _mark(asked: Trial) -> str:
    """Return a digest of everything that decides a trial."""
    found = hashlib.sha256(msgspec.json.encode(asked) + digest_gateway())
    found.update(f"{version('msgspec')} {sys.version}".encode())
    return found.hexdigest()
