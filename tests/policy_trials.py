"""Remembers which policies have passed their trial, so that tests do not try the same policy for each gateway."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.policy.trials.trial import Trial


class Passed(Protocol):
    """The digests of trials that passed."""

    def __contains__(self, digest: object, /) -> bool: ...
    def add(self, digest: str, /) -> None: ...


class PassedInFolder:
    """Digests as empty files, which gateways of one test worker share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, digest: object, /) -> bool:
        return (self._folder / str(digest)).exists()

    def add(self, digest: str, /) -> None:
        (self._folder / digest).touch()


class RememberedTrials:
    """Stands in the place of the module `trial`. `attempt` tries a policy that is new."""

    def __init__(self, passed: Passed, attempt: Callable[[Trial], Awaitable[None]]) -> None:
        self._passed = passed
        self._attempt = attempt

    async def require(self, trial: Trial) -> None:
        """Try a policy unless the same content has passed. Raise `PolicyError`."""
        digest = digest_of(trial)
        if digest not in self._passed:
            await self._attempt(trial)
            self._passed.add(digest)


def digest_of(trial: Trial) -> str:
    """Return a digest of the content that a trial judges; the names of files on this machine are left out."""
    contents = (hashlib.sha256(trial.code).hexdigest(), trial.data, [(one.at, one.value) for one in trial.sources])
    bounds = (trial.limit, trial.seconds, trial.memory)
    return hashlib.sha256(msgspec.json.encode((contents, bounds, sorted(trial.places)))).hexdigest()
