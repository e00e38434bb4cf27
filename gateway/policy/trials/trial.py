"""A policy is tried in a process of its own before it is put into force.

An evaluation cannot be interrupted and holds the event loop, so a slow rule would hold up every call. The process has its own
loop, a lower priority, and bounds on its processor time and memory. On Linux it ends with the gateway.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

from gateway.model.errors import PolicyBroken, PolicyUnavailable
from gateway.policy.folder.shadowing import DataSource
from gateway.policy.trials.child_process import ask_process

_PATIENCE: Final = 600
"""Seconds until a trial that gets no processor time is given up."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A policy to be tried: the code of its plan, its data, and the files that the data come from.

    `limit` is the processor time in seconds that one answer may take; `None` is no limit. `places` has the name of a data file
    for people, by `DataFile.name`; the policy judges the data files named there.
    """

    code: bytes
    data: str
    sources: tuple[DataSource, ...] = ()
    limit: float | None = None
    places: dict[str, str] = field(default_factory=dict[str, str])
    seconds: int = 60
    """Processor time of the whole trial."""
    memory: int = 2 * 2**30
    """Bytes that the process may take."""


async def require(trial: Trial) -> None:
    """Try a policy in a process. Raise `PolicyBroken` for a policy that cannot be put into force, and `PolicyUnavailable` if it
    could not be tried."""
    question = msgspec.json.encode(trial)
    try:
        answer = await ask_process(
            "gateway.policy.trials.trial_process", question, seconds=_PATIENCE, work="tries a policy"
        )
    except TimeoutError:
        raise PolicyUnavailable(f"the policy was not tried within {_PATIENCE} s", "free some processor time") from None
    _require_good(trial, _lines(answer.written), answer.status)


def _lines(written: bytes) -> list[dict[str, Any]]:
    """Return the lines that the process wrote; its end may have cut the last."""
    found: list[dict[str, Any]] = []
    for line in written.splitlines():
        with suppress(msgspec.DecodeError):
            found.append(cast("dict[str, Any]", msgspec.json.decode(line)))
    return found


def _require_good(trial: Trial, lines: list[dict[str, Any]], status: int) -> None:
    last = lines[-1] if lines else {}
    if last.get("good") is True:
        return
    if "problem" in last:
        raise PolicyBroken(str(last["problem"]), str(last["remedy"]))
    place = str(last.get("at", "before it began"))
    if status == -signal.SIGXCPU:
        raise PolicyBroken(
            f"the policy took more than {trial.seconds} s of processor time to be tried, and was at {place}",
            "simplify the rule there, or make the data smaller",
        )
    if status == -signal.SIGABRT:
        raise PolicyBroken(
            f"the policy took more than {trial.memory >> 20} MiB of memory to be tried, and was at {place}",
            "simplify the rule there, or make the data smaller",
        )
    raise PolicyBroken(
        f"the process that tried the policy ended with status {status}, and was at {place}",
        "look at the rule there; a process that is killed may have lacked memory; save a file to try again",
    )
