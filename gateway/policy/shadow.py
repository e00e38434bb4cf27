"""A shadow policy: it decides the calls that the policy in force decides, and its decisions count for nothing.

It runs in a process of its own, with a lower priority. A call leaves its input in a bounded queue, and waits for nothing. What
finds no room, comes late or fails is counted. Only a difference is told of.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
import structlog
from msgspec import Struct

from gateway.base.concurrency.background import Job
from gateway.config import EmbeddedEngine
from gateway.model.errors import PolicyBroken
from gateway.policy.facts import FactBook, join_shadow, read_tables
from gateway.policy.trials.child_process import clean_environment
from gateway.policy.trials.comparison import PolicyFiles
from gateway.policy.trials.shadow_process import LONGEST_LINE, ShadowJob, ShadowLine, ShadowVerdict

if TYPE_CHECKING:
    from gateway.config import PolicySettings
    from gateway.model.decision import Decision
    from gateway.model.wire import JsonObject

log = structlog.get_logger("gateway.shadow")

_QUEUED: Final = 256
_NOTED: Final = 1024
"""Inputs of calls whose decision is not yet recorded."""
_LARGEST: Final = 256 * 1024
"""Bytes of a call's body. The input of a larger one takes too long to write down."""
_SECONDS: Final = 10.0
"""Until the process is given up, and started again."""
_REST: Final = 1.0

ShadowResult: TypeAlias = Literal["agreed", "differed", "failed", "dropped"]


class ShadowDifference(Struct, frozen=True):
    """A call that the shadow policy decides otherwise. `call` is its decision id."""

    call: str
    enforced: ShadowVerdict
    shadow: ShadowVerdict
    name: str
    revision: str


class ShadowStatus(Struct, frozen=True):
    """The state of a shadow policy, with the number of calls by their result since the start."""

    folder: str
    name: str
    revision: str
    problem: str | None
    counts: dict[ShadowResult, int]


class _Question(Struct, frozen=True):
    """A call for the shadow policy. `counted` are the tables of declared facts that its input is from."""

    call: str
    document: JsonObject
    enforced: ShadowVerdict
    counted: frozenset[str]


class ShadowPolicy:
    """The way to the process of a shadow policy. `note` and `confirm` never wait and never raise."""

    def __init__(
        self,
        settings: PolicySettings,
        *,
        supported: frozenset[str],
        on_difference: Callable[[ShadowDifference], None],
        on_result: Callable[[ShadowResult], None],
    ) -> None:
        """Take the settings, which name the folder of the shadow policy."""
        self._supported = tuple(sorted(supported))
        self._job = self._describe_job(settings)
        self._renewal = asyncio.Event()
        self._on_difference = on_difference
        self._on_result = on_result
        self._noted: dict[str, _Question] = {}
        self._queue: deque[_Question] = deque()
        self._filled = asyncio.Event()
        self._is_told = asyncio.Event()
        self._answer: asyncio.Future[ShadowVerdict | None] | None = None
        self._news = ShadowLine(problem="it is not loaded yet")
        self._facts: Mapping[str, Any] | None = None
        self._needed: frozenset[str] = frozenset()
        self._joined: tuple[FactBook, Mapping[str, Any] | None, FactBook] | None = None
        self._counts: dict[ShadowResult, int] = {"agreed": 0, "differed": 0, "failed": 0, "dropped": 0}
        self._work: Job | None = None

    def start(self) -> None:
        """Begin to decide."""
        self._work = Job.begin_repeating(self._run, "asks the shadow policy")

    async def stop(self) -> None:
        """End the process. Open questions stay without an answer."""
        if self._work is not None:
            await self._work.stop()

    def adopt(self, settings: PolicySettings) -> None:
        """Decide with other limits of tasks from now on, in a new process."""
        self._job = self._describe_job(settings)
        self._renewal.set()

    def _describe_job(self, settings: PolicySettings) -> ShadowJob:
        engine = settings.engine if isinstance(settings.engine, EmbeddedEngine) else EmbeddedEngine()
        seconds = settings.reload.total_seconds(), engine.deadline.total_seconds()
        return ShadowJob(PolicyFiles.configured(settings), str(settings.shadow), self._supported, *seconds)

    def status(self) -> ShadowStatus:
        """Return the state for people."""
        news = self._news
        return ShadowStatus(self._job.folder, news.name, news.revision, news.problem, dict(self._counts))

    def join_facts(self, book: FactBook) -> FactBook:
        """Return the facts in force and the shadow policy's own in one book."""
        known, facts = self._joined, self._facts
        if known is None or known[0] is not book or known[1] is not facts:
            known = self._joined = book, facts, self._join(book, facts)
        return known[2]

    def _join(self, book: FactBook, facts: Mapping[str, Any] | None) -> FactBook:
        try:
            return book if facts is None else join_shadow(book, facts)
        except PolicyBroken as error:
            self._take_news(ShadowLine(problem=f"{error.message}; {error.remedy}"))
            return book

    def note(
        self, call: str, document: JsonObject, decision: Decision, *, size: int, counted: frozenset[str] = frozenset()
    ) -> None:
        """Keep the input of a call and the policy's decision on it, until the decision is recorded. `size` is of the body.

        `counted` are the tables of declared facts that the input is from.
        """
        if decision.undecided:
            return
        if size > _LARGEST:
            self._count("dropped")
            return
        if len(self._noted) >= _NOTED:
            # A call that ended without a decision has left its input here.
            self._noted.pop(next(iter(self._noted)))
            self._count("dropped")
        codes = tuple(reason.code for reason in decision.reasons)
        obligations = tuple(sorted(each.id for each in decision.obligations))
        enforced = ShadowVerdict(decision.effect, codes, obligations)
        self._noted[call] = _Question(call, document, enforced, counted)

    def confirm(self, call: str) -> None:
        """Ask the shadow policy about a call whose decision is on record, in spare time."""
        question = self._noted.pop(call, None)
        if question is None:
            return
        if len(self._queue) >= _QUEUED:
            self._count("dropped")
            return
        self._queue.append(question)
        self._filled.set()

    async def _run(self) -> None:
        """Run the process until it ends or answers too late, and rest before the next one."""
        try:
            process = await self._start_process()
        except OSError as error:
            self._take_news(ShadowLine(problem=f"its process cannot be started: {error.strerror}"))
            await asyncio.sleep(_REST)
            return
        assert process.stdin is not None  # noqa: S101 - a pipe
        assert process.stdout is not None  # noqa: S101 - a pipe
        self._is_told.clear()
        self._renewal.clear()
        renewed = asyncio.create_task(self._renewal.wait())
        works = {asyncio.create_task(self._read(process.stdout)), asyncio.create_task(self._ask(process.stdin))}
        try:
            done, _ = await asyncio.wait({*works, renewed}, return_when=asyncio.FIRST_COMPLETED)
            if renewed in done:
                return
            self._take_news(ShadowLine(problem="its process ended, or took too long for an answer"))
        finally:
            renewed.cancel()
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await asyncio.sleep(_REST)

    async def _start_process(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "gateway.policy.trials.shadow_process"),
            env=clean_environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LONGEST_LINE,
        )

    async def _read(self, stdout: asyncio.StreamReader) -> None:
        """Read the lines of the process until its end."""
        while line := await stdout.readline():
            found = msgspec.json.decode(line, type=ShadowLine)
            if not found.answers:
                self._take_news(found)
            elif self._answer is not None and not self._answer.done():
                self._answer.set_result(found.verdict)

    async def _ask(self, stdin: asyncio.StreamWriter) -> None:
        """Put the job and then all questions to the process, one after another. Ends when it is late or gone."""
        stdin.write(msgspec.json.encode(self._job) + b"\n")
        await self._is_told.wait()
        while True:
            await self._filled.wait()
            if not self._queue:
                self._filled.clear()
                continue
            question = self._queue.popleft()
            try:
                verdict = await self._put(stdin, question)
            except BaseException:
                # Late, gone, or stopped: the question has no answer.
                self._count("failed")
                raise
            self._judge(question, verdict)

    async def _put(self, stdin: asyncio.StreamWriter, question: _Question) -> ShadowVerdict | None:
        if not self._news.revision:
            return None
        try:
            line = msgspec.json.encode(question.document, enc_hook=dict)
        except (TypeError, ValueError):
            return None
        self._answer = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(_SECONDS):
            stdin.write(line + b"\n")
            await stdin.drain()
            return await self._answer

    def _judge(self, question: _Question, verdict: ShadowVerdict | None) -> None:
        if verdict is not None and not self._needed <= question.counted:
            # The input lacks a fact that the policy began to declare after the call.
            self._count("dropped")
        elif verdict is None:
            self._count("failed")
        elif verdict == question.enforced:
            self._count("agreed")
        else:
            self._count("differed")
            told = ShadowDifference(question.call, question.enforced, verdict, self._news.name, self._news.revision)
            self._on_difference(told)

    def _take_news(self, news: ShadowLine) -> None:
        """Note the state of the shadow policy, and log a change."""
        if news.problem is not None and news.problem != self._news.problem:
            log.error("policy.shadow-broken", folder=self._job.folder, problem=news.problem, in_force=news.revision)
        elif news.problem is None:
            log.info("policy.shadow-loaded", folder=self._job.folder, name=news.name, revision=news.revision)
        self._news = news
        if news.facts is not None and news.facts != self._facts:
            self._facts, self._needed = news.facts, read_tables(news.facts)
        self._is_told.set()

    def _count(self, result: ShadowResult) -> None:
        self._counts[result] += 1
        self._on_result(result)
        if result == "dropped" and self._counts[result] == 1:
            log.warning("policy.shadow-dropped", folder=self._job.folder)
