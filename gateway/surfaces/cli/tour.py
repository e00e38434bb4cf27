"""`opagate up --once`: a scripted agent goes through the gateway, and each decision is shown."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
from mcp import MCPError
from rich.text import Text

from gateway.config import keys
from gateway.model.errors import UpstreamUnreachable
from gateway.record.journal import reader
from gateway.surfaces import app
from gateway.surfaces.cli import trial
from gateway.surfaces.cli.terminal import line, out, paint, plain
from gateway.surfaces.demo import agent
from gateway.surfaces.demo.agent import person_at
from gateway.surfaces.demo.thief import UPSTREAM, LentTask, Thief, lease_tour, proof_of

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.record.journal.reader import Verification
    from gateway.surfaces.demo.agent import AttemptResult

_SHOWN: Final = 100
"""Characters of an upstream's answer; a refusal is shown in full."""


class TourForm(StrEnum):
    """Forms of a tour: a line for each step, each step in full, or JSON lines."""

    BRIEF = "brief"
    FULL = "full"
    JSON = "json"


@dataclass(slots=True)
class _TourCounts:
    allowed: int = 0
    refused: int = 0
    unexpected: int = 0


async def run(*, port: int | None, state: Path | None, form: TourForm) -> bool:
    """Return whether every step went as it should, and the journal is whole. Raise `GatewayError` if nothing can start."""
    with tempfile.TemporaryDirectory(prefix="opagate-", ignore_cleanup_errors=True) as folder:
        tally, thief, task = _TourCounts(), Thief(), LentTask()
        lent = trial.LentServer(UPSTREAM, thief.before)
        chosen, kept = port or trial.free_port(), state or Path(folder)
        async with trial.serve_demo(port=chosen, state=kept, lent=lent) as configuration:
            async with _up(configuration), person_at(configuration.control_socket):
                await _walk(configuration, _all_steps(configuration, thief, task), tally, form)
            record = reader.verify(configuration.journal.path, key=keys.read_chain(configuration))
            proof = proof_of(reader.entries(configuration.journal.path), task.id)
        _finish(tally, record, proof, form)
        return tally.unexpected == 0 and record.ok and proof is not None


async def _all_steps(configuration: Configuration, thief: Thief, task: LentTask) -> AsyncIterator[AttemptResult]:
    """Yield the steps of the scripted agent, and then the steps of a lent credential."""
    bearer = trial.make_token(configuration)
    async for step in agent.tour(configuration.base_url, bearer):
        yield step
    async for step in lease_tour(configuration.base_url, bearer, thief, task):
        yield step


@asynccontextmanager
async def _up(configuration: Configuration) -> AsyncGenerator[None]:
    """Run the gateway in this process until the block ends. Afterwards its journal is closed."""
    ready = asyncio.Event()
    server = asyncio.create_task(app.run(configuration, on_ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({server, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if server.done():
        # It could not start: the reason is its exception.
        await server
    try:
        yield
    finally:
        if not server.done():
            # As its user would stop it.
            signal.raise_signal(signal.SIGTERM)
        await server


async def _walk(
    configuration: Configuration, steps: AsyncIterator[AttemptResult], tally: _TourCounts, form: TourForm
) -> None:
    if form is not TourForm.JSON:
        out.print(f"[bold]A scripted agent goes through the gateway at {configuration.base_url}[/]")
    try:
        number = 0
        async for step in steps:
            number += 1
            expected = step.outcome == step.attempt.expect
            tally.allowed += step.outcome == "allowed"
            tally.refused += step.outcome == "refused"
            tally.unexpected += not expected
            if form is TourForm.JSON:
                line(json.dumps(_as_json(number, step, expected=expected)))
            elif form is TourForm.FULL:
                _show(number, step, expected=expected)
            else:
                out.print(_in_one_line(number, step, expected=expected))
    except (MCPError, httpx2.HTTPError, ExceptionGroup) as error:
        raise UpstreamUnreachable(
            f"the scripted agent lost the gateway: {type(error).__name__}", "try again; see whether a proxy is set"
        ) from error


def _as_json(number: int, step: AttemptResult, *, expected: bool) -> dict[str, object]:
    attempt = step.attempt
    return {
        "step": number,
        "by": step.attempt.by,
        "upstream": attempt.upstream,
        "tool": attempt.tool,
        "arguments": dict(attempt.arguments),
        "outcome": step.outcome,
        "expected": expected,
        "codes": list(step.codes),
        "decision": step.decision,
        "text": step.text,
    }


def _in_one_line(number: int, step: AttemptResult, *, expected: bool) -> Text:
    """Return a step as a line: its outcome, its target, and the reason codes of a refusal or the point of the step."""
    told = ", ".join(step.codes) if step.codes else step.attempt.why
    if not expected:
        told = f"not as expected: it should have been {step.attempt.expect}"
    return Text.assemble(
        (f"{number:>2}  ", "dim"),
        paint(step.outcome, f"{step.outcome.upper():<8}"),
        f"  {_target(step):<26} ",
        (told, "" if expected else "bold red"),
    )


def _target(step: AttemptResult) -> str:
    attempt = step.attempt
    target = f"{attempt.upstream}/{attempt.tool}" if attempt.tool else f"{attempt.upstream}: list the tools"
    return target if attempt.by == "agent" else f"{target}, {attempt.by}"


def _show(number: int, step: AttemptResult, *, expected: bool) -> None:
    attempt = step.attempt
    what = _target(step)
    out.print()
    out.print(
        Text.assemble(
            (f"{number:>2}  ", "dim"), paint(step.outcome, f"{step.outcome.upper():<8}"), "  ", (what, "bold")
        )
    )
    out.print(Text(f"    {attempt.why}.", style="dim"))
    if step.outcome == "allowed":
        answer = " ".join(step.text.split())
        shown = answer if len(answer) <= _SHOWN else answer[:_SHOWN] + " …"
        out.print(Text("    ").append_text(plain(shown)))
    else:
        for text in step.text.splitlines():
            out.print(Text("    ").append_text(plain(text)))
    if not expected:
        out.print(f"    This is not as expected: it should have been {attempt.expect}.", style="bold red")


def _finish(tally: _TourCounts, record: Verification, proof: dict[str, Any] | None, form: TourForm) -> None:
    if form is TourForm.JSON:
        line(
            json.dumps(
                {
                    "allowed": tally.allowed,
                    "refused": tally.refused,
                    "unexpected": tally.unexpected,
                    "journal": {"ok": record.ok, "entries": record.entries, "head": record.head},
                    "lease": proof,
                }
            )
        )
        return
    out.print(_told_proof(proof))
    passed = f"{tally.allowed} allowed, {tally.refused} refused"
    if form is TourForm.BRIEF and not tally.unexpected and record.ok:
        out.print(paint("ok", f"{passed}, all as expected; the journal of {record.entries} entries verifies"))
        return
    out.print()
    if tally.unexpected:
        out.print(paint("fail", f"{passed}, {tally.unexpected} not as expected"))
    else:
        out.print(paint("ok", f"{passed}, all as expected"))
    journal = f"the journal: {record.entries} entries, head {record.head}"
    out.print(
        paint("ok", f"{journal}, every line follows from the one before")
        if record.ok
        else paint("fail", f"{journal}, {record.problem_count} problems")
    )
    out.print("Keep it running and try it yourself: opagate up", style="dim")


def _told_proof(proof: dict[str, Any] | None) -> Text:
    if proof is None:
        return paint("fail", "the journal has no proof that the lent credential has ended")
    found = proof["proof"]
    return paint("ok", f"{proof['id']} has ended ({proof['cause']}); proof in the journal: {found['detail']}")
