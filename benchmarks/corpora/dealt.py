"""The corpora with each task dealt to several agents of one user: what is stopped, and how often people are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.corpora.corpus import BY_HAND, Corpus, Job, run_jobs
from benchmarks.corpora.measure import PLAIN, WITH_BOTH, Measured
from benchmarks.corpora.traces import Deal

AGENTS: Final = 3
"""Agents that take turns."""


def one_agent(_number: int, _upstream: str, _labels: Mapping[str, Any]) -> dict[str, str]:
    """Give each step to one agent, for comparison."""
    return {}


def round_robin(number: int, _upstream: str, _labels: Mapping[str, Any]) -> dict[str, str]:
    """Give the steps to three agents in turn."""
    return {"agent": f"agent-{number % AGENTS}"}


def one_a_system(_number: int, upstream: str, _labels: Mapping[str, Any]) -> dict[str, str]:
    """Give the steps at each upstream to an agent of its own."""
    return {"agent": f"agent-of-{upstream}"}


def reader_and_actor(_number: int, _upstream: str, labels: Mapping[str, Any]) -> dict[str, str]:
    """Give reads to one agent, and all other steps to another."""
    return {"agent": "reader" if labels["effect"] == "read" and not labels["egress"] else "actor"}


def strangers(number: int, _upstream: str, _labels: Mapping[str, Any]) -> dict[str, str]:
    """Give the steps in turn to three agents of three users, who have no job in common."""
    return {"agent": f"agent-{number % AGENTS}", "user": f"user-{number % AGENTS}"}


WAYS: Final[tuple[Deal, ...]] = (one_agent, round_robin, one_a_system, reader_and_actor, strangers)


DAY: Final = 20
"""Tasks of one user in a day."""
TENANT: Final = 0
"""In the place of a number of tasks: each is of a user of its own, after the written texts of all tasks before it."""


def measure_dealt(corpora: Sequence[Corpus], folder: Path) -> str:
    """Return a table of the figures of all corpora, by the way of dealing. The last three ways of each setting are benign tasks alone:
    each of a user of its own, so many of one user, and each of a user of its own in one tenant with texts that return."""
    kinds: list[tuple[Deal | None, int | None]] = [(deal, None) for deal in WAYS]
    kinds += [(None, 1), (None, DAY), (None, TENANT)]
    jobs = [
        Job(corpus, BY_HAND, corpus.tools, setting, deal, day)
        for corpus in corpora
        for setting in dict.fromkeys((corpus.effective(PLAIN), corpus.effective(WITH_BOTH)))
        for deal, day in kinds
    ]
    lines = ["corpus, setting and way | stopped | questions | ratio | denials", "---|---|---|---|---"]
    before: Measured | None = None
    for job, found in zip(jobs, run_jobs(jobs, folder), strict=True):
        before = found if before is None or job.deal is one_agent or job.day == 1 else before
        lines.append(_line(job, found, before))
    return "\n".join(lines)


def _line(job: Job, found: Measured, before: Measured) -> str:
    way = f"{job.day} tasks of one user" if job.day else "users of one tenant"
    way = way if job.deal is None else job.deal.__name__.replace("_", " ")
    attacks = len(found.attacks)
    stopped = f"{attacks - len(found.missed)} of {attacks}" if attacks else ""
    ratio = f"{found.questions / before.questions:.2f}" if before.questions else ""
    return f"{job.corpus.name}, {job.setting.name}, {way} | {stopped} | {found.questions} | {ratio} | {found.denials}"
