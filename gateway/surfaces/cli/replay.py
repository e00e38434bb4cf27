"""`opagate policy replay`: recorded sessions tried on a policy, and on another beside it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.text import Text

from gateway.surfaces.cli import loop
from gateway.surfaces.cli.options import ConfigOption, configuration, configuration_path
from gateway.surfaces.cli.policy import policy_settings
from gateway.surfaces.cli.policy_options import GrantsOption, PathOption
from gateway.surfaces.cli.terminal import err, line, out, paint, plain, say, show, table

if TYPE_CHECKING:
    from gateway.config import PolicySettings
    from gateway.inspection.inspector import Inspector
    from gateway.policy.policy import Policy
    from gateway.surfaces.replay import DecisionDifference, StepOutcome, Totals, Trace

_LONG: Final = 2_000
"""Steps from which on a run takes seconds."""


def replay(
    traces: Annotated[list[Path], typer.Argument(metavar="TRACE", help="Files of traces, one JSON object a line.")],
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="POLICY",
            help="Another policy, or other own rules, with the rest as in force, or an archive of `opagate policy build`;"
            " only what it decides otherwise is shown.",
        ),
    ] = None,
    assume: Annotated[
        Literal["refused", "forwarded"],
        typer.Option(
            help="A step that is not allowed ends there (`refused`), or goes on and shows the steps after it (`forwarded`)."
        ),
    ] = "refused",
    summary: Annotated[bool, typer.Option("--summary", help="A table of the reasons in place of the steps.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a step on standard output.")] = False,
    path: PathOption = None,
    grants: GrantsOption = None,
    config: ConfigOption = None,
) -> None:
    """Try recorded sessions on a policy: each step is decided as the gateway would, after what the steps before it did.

    Exit status 1 if a step is not what its trace expects.
    """
    from gateway.config.policy import EmbeddedEngine
    from gateway.policy.trials.comparison import PolicyFiles
    from gateway.surfaces.cli.policy_build import unpacked
    from gateway.surfaces.replay import check
    from gateway.surfaces.replay import replay as replayed

    chosen, inspector = policy_settings(path, grants, config), operator_inspector(config)
    with err.status("Reading the traces") if err.is_terminal else nullcontext():
        steps = sum(check(trace) for trace in traces)
    shown = _OutcomePrinter(as_json=as_json, summary=summary)

    def replaying(policy: Policy) -> AsyncIterator[StepOutcome]:
        return replayed(
            every_trace(traces), policy.decide, assume=assume, inspector=inspector, facts=lambda: policy.facts
        )

    if against is None:
        loop.run(_one(replaying, chosen, shown, steps))
    else:
        # The rest of the section holds for both: the overlay, the keys of signed plans, the limits of tasks.
        with unpacked(against) if against.is_file() else nullcontext(against) as folder:
            files = PolicyFiles.configured(chosen).with_folder(folder)
            other = files.settings(deadline=EmbeddedEngine().deadline, reload=chosen.reload)
            loop.run(_two(replaying, chosen, other, shown, steps))
    shown.finish()
    if shown.totals.unmet:
        raise typer.Exit(1)


class _OutcomePrinter:
    """A printer of outcomes, one at a time."""

    def __init__(self, *, as_json: bool, summary: bool) -> None:
        from gateway.surfaces.replay import Totals

        self._as_json = as_json
        self._summary = summary
        self._differences = 0
        self._compared = False
        self.totals: Totals = Totals()

    def step(self, outcome: StepOutcome) -> None:
        from gateway.surfaces.replay.report import row

        self.totals.add(outcome)
        if self._as_json:
            _line(row(outcome))
        elif not self._summary or not outcome.met:
            _show_step(outcome)

    def difference(self, difference: DecisionDifference) -> None:
        from gateway.surfaces.replay.report import row

        self._differences += 1
        if self._as_json:
            _line({**row(difference.one), "against": row(difference.other)})
        elif not self._summary:
            _show_difference(difference)

    def compared(self, outcome: StepOutcome) -> None:
        self._compared = True
        self.totals.add(outcome)

    def finish(self) -> None:
        if self._as_json:
            return
        if self._summary and self.totals.codes:
            _show_summary(self.totals)
        _show_totals(self.totals, self._differences if self._compared else None)


Replaying = Callable[["Policy"], "AsyncIterator[StepOutcome]"]
"""The outcomes of all traces on a policy."""


async def _one(replaying: Replaying, chosen: PolicySettings, shown: _OutcomePrinter, steps: int) -> None:
    async with AsyncExitStack() as stack:
        policy = await start_policy(stack, chosen)
        with _progress(steps) as advance:
            async for outcome in replaying(policy):
                shown.step(outcome)
                advance()


async def _two(
    replaying: Replaying, chosen: PolicySettings, other: PolicySettings, shown: _OutcomePrinter, steps: int
) -> None:
    from gateway.surfaces.replay import compare

    async with AsyncExitStack() as stack:
        policy, second = await start_policy(stack, chosen), await start_policy(stack, other)
        with _progress(steps) as advance:

            async def counted() -> AsyncIterator[StepOutcome]:
                async for outcome in replaying(policy):
                    shown.compared(outcome)
                    advance()
                    yield outcome

            async for difference in compare(counted(), replaying(second)):
                shown.difference(difference)


def operator_inspector(config: Path | None) -> Inspector | None:
    """Return the inspector of the configuration. Return `None` if the command names none and the folder has none.

    Raises `ConfigurationError`.
    """
    from gateway.surfaces.replay.engine import inspector_of

    is_configured = config is not None or configuration_path(None).exists()
    return inspector_of(configuration(config)) if is_configured else None


def every_trace(paths: Sequence[Path]) -> Iterator[Trace]:
    """Yield the traces of all files, in order. Raises `TraceInvalid`."""
    from gateway.surfaces.replay import read_traces

    for path in paths:
        yield from read_traces(path)


async def start_policy(stack: AsyncExitStack, chosen: PolicySettings) -> Policy:
    """Return a policy for the whole run: a change in between would make the halves of the run incomparable."""
    from datetime import timedelta

    from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
    from gateway.policy.policy import Policy

    still = chosen.model_copy(update={"reload": timedelta(days=3650), "stale_after": None})
    policy = Policy.build(still, supported=frozenset(SUPPORTED_OBLIGATIONS), clock=time.time, is_for_calls=False)
    await policy.start()
    stack.push_async_callback(policy.stop)
    return policy


@contextmanager
def _progress(steps: int) -> Generator[Callable[[], object]]:
    """Give a bar on stderr for a long run at a terminal."""
    if not err.is_terminal or steps < _LONG:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("Replaying", total=steps)
        yield lambda: progress.advance(task)


def _line(value: object) -> None:
    import msgspec

    line(msgspec.json.encode(value, enc_hook=dict).decode())


def _show_step(outcome: StepOutcome) -> None:
    from gateway.surfaces.replay.report import describe_expected, place

    effect = outcome.decision.effect
    text = Text.assemble(
        plain(place(outcome)),
        "  ",
        paint(effect, f"{effect:5}"),
        "  ",
        plain(outcome.tool),
        "  ",
        " ".join(outcome.codes),
    )
    if not outcome.met:
        text.append(f"  expected {describe_expected(outcome)}", style="bold red")
    _print(text)


def _show_difference(difference: DecisionDifference) -> None:
    from gateway.surfaces.replay.report import place

    one, other = difference.one, difference.other
    text = Text.assemble(plain(place(one)), "  ", plain(one.tool), "  ")
    for outcome, joint in ((one, "  →  "), (other, "")):
        effect = outcome.decision.effect
        text.append_text(paint(effect)).append(f" {' '.join(outcome.codes)}{joint}" if outcome.codes else joint)
    _print(text)


def _print(text: Text) -> None:
    """Laying out is slow, and of use on a terminal only."""
    if out.is_terminal:
        say(text)
    else:
        line(text.plain.rstrip())


def _show_summary(totals: Totals) -> None:
    rows = table("effect", "reason", "steps", "traces", "first at", title="Reasons")
    for (effect, code), tally in sorted(totals.codes.items()):
        rows.add_row(paint(effect), code, str(tally.steps), str(tally.traces), plain(tally.first))
    show(rows)


def _show_totals(totals: Totals, differences: int | None) -> None:
    effects = ", ".join(f"{totals.effects[effect]} {effect}" for effect in ("allow", "ask", "deny"))
    out.print(f"{_count(totals.steps, 'step')} in {_count(totals.traces, 'trace')}: {effects}.")
    if differences is not None:
        out.print(f"The other policy decides {differences} of them otherwise.")
    if totals.expected:
        met = totals.expected - totals.unmet
        out.print(paint("fail" if totals.unmet else "ok", f"{met} of {totals.expected} expectations are met."))


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
