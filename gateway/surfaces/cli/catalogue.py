"""`opagate catalogue`: the tools of the upstreams, their pins, and the locked packages of stdio servers."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import typer

from gateway.surfaces.cli import loop
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration
from gateway.surfaces.cli.terminal import emit, err, out, paint, plain, say, sentence, show, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.text import Text

    from gateway.config import Configuration, Upstream
    from gateway.config.packages import PackageLock
    from gateway.model.target import LabelCase, Labels, Target
    from gateway.upstreams.catalogue.catalogue import Catalogue, UpstreamStatus
    from gateway.upstreams.catalogue.pins import PinChange


_LAST_LINES: Final = 10
_LINE_LENGTH: Final = 300

app = typer.Typer(invoke_without_command=True)

UpstreamArgument = Annotated[str | None, typer.Argument(metavar="UPSTREAM", help="One upstream in the place of all.")]


@app.callback(epilog="Example: opagate catalogue")
def catalogue(context: typer.Context) -> None:
    """The tools of the upstreams, with labels and pins: list, compare and pin them. Without a command: `show`."""
    if context.invoked_subcommand is None:
        show_tools()


@app.command("show", epilog="Example: opagate catalogue show files")
def show_tools(upstream: UpstreamArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the upstreams' tools with their labels, and the state of all pins. Nothing is pinned by it.

    Exit status 1 if an upstream, or its prompts, could not be listed.
    """
    settings = select_upstream(configuration(config, secrets=True), upstream)
    targets, prompts, resources, instructions, problems = loop.run(_list_targets(settings))
    if as_json:
        shown = {
            "tools": [_as_json(target) for target in targets],
            "prompts": [_prompt_as_json(each) for each in prompts],
            "resources": resources,
        }
        emit({**shown, "instructions": instructions, "problems": problems})
    else:
        _show_tools(targets)
        _show_prompts(prompts)
        _show_states("pinned resource", resources)
        _show_states("instructions of", instructions)
        for name, problem in problems.items():
            sentence(f"upstream {name} could not be listed: {problem}", "see `opagate check`")
    if problems:
        raise typer.Exit(1)


@app.command("diff", epilog="Example: opagate catalogue diff || echo changed")
def diff(upstream: UpstreamArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show how tools, prompts, pinned resources and instructions differ from their pins. Exit status 1 if one differs.

    An upstream without any pins has no differences.
    """
    settings = select_upstream(configuration(config, secrets=True), upstream)
    changes, problems = loop.run(_find_changes(settings))
    if as_json:
        emit({"changes": [_change_as_json(change) for change in changes], "problems": problems})
    else:
        for change in changes:
            _show_change(change)
        if not changes and not problems:
            out.print(paint("ok", "ok: every listed definition is the pinned one, or its upstream has no pins yet"))
    require_listed(problems)
    if any(change.kind != "unpinned" for change in changes):
        raise typer.Exit(1)


@app.command("pin", epilog="Example: opagate catalogue pin tickets/search_tickets")
def pin(
    what: Annotated[
        str | None, typer.Argument(metavar="UPSTREAM[/NAME]", help="The definitions to trust. Without it: all.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    packages: Annotated[
        bool, typer.Option("--packages/--no-packages", help="Lock the packages of npx and uvx servers, or unlock them.")
    ] = True,
    config: ConfigOption = None,
) -> None:
    """Trust the current definitions: show the differences, ask, and write the lock file.

    Packages that npx, uvx and the like run for a server come first: their versions and digests, and those of all dependencies. With UPSTREAM/NAME they stay as they are.

    UPSTREAM/skill://name/SKILL.md names a resource. Tools and prompts of one name go together. UPSTREAM/instructions names the instructions of an upstream.

    A name pins again even an unchanged definition, since a running gateway may have seen another one.

    A running gateway follows the lock file.
    """
    upstream, _, name = (what or "").partition("/")
    settings = select_upstream(configuration(config, secrets=True), upstream or None)
    if not name:
        _pin_packages(settings, yes=yes, keep=packages)
    loop.run(_pin(settings, name or None, yes=yes))


# --- what the commands do ----------------------------------------------------------------------------


class StandardError:
    """The last lines on the standard error of each upstream's last program."""

    def __init__(self) -> None:
        self._written: dict[str, tuple[object, deque[str]]] = {}

    def take(self, event: Mapping[str, object]) -> None:
        """Take in an event of the log."""
        upstream, pid = str(event.get("upstream")), event.get("pid")
        if event["event"] == "upstream.started":
            self._written[upstream] = pid, deque(maxlen=_LAST_LINES)
        elif event["event"] == "upstream.stderr" and self._written[upstream][0] == pid:
            self._written[upstream][1].append(_shorten(str(event["line"])))

    def lines(self, upstream: str) -> tuple[str, ...]:
        return tuple(self._written[upstream][1]) if upstream in self._written else ()


def _shorten(text: str) -> str:
    return text if len(text) <= _LINE_LENGTH else f"{text[:_LINE_LENGTH]}…"


class OpenedCatalogue(NamedTuple):
    """A catalogue after one listing. `written` are the last lines of the upstreams' programs on standard error."""

    catalogue: Catalogue
    written: StandardError

    def problems(self) -> dict[str, str]:
        """Return why an upstream or its prompts could not be listed, by name."""
        return {
            status.upstream: self._problem(status)
            for status in self.catalogue.status()
            if not status.listed or status.unlisted is not None
        }

    def _problem(self, status: UpstreamStatus) -> str:
        """Return the listing's problem, with the last lines of a failed program."""
        lines = () if status.listed else self.written.lines(status.upstream)
        return "\n    ".join((status.error or status.unlisted or "unknown", *lines))


@asynccontextmanager
async def open_catalogue(settings: Configuration) -> AsyncGenerator[OpenedCatalogue]:
    """Give the catalogue of these upstreams, listed once. Listing pins nothing, even with `catalogue.trust`."""
    import asyncio

    from gateway.record.telemetry import logs
    from gateway.surfaces import app as composition
    from gateway.surfaces.app.signed_listings import sign_listings
    from gateway.upstreams.catalogue.catalogue import Catalogue

    written = StandardError()
    logs.configure("console", "critical")
    logs.collect(written.take)
    transports = composition.upstream_transports(settings, time.time)
    signed = sign_listings(settings, transports, time.time)
    try:
        locked = settings.catalogue.model_copy(update={"trust": "locked"})
        listed = Catalogue(settings.upstreams, locked, signed, clock=time.time)
        with err.status("Listing the upstreams") if err.is_terminal else nullcontext():
            await listed.refresh()
        yield OpenedCatalogue(listed, written)
    finally:
        await asyncio.gather(*(transport.aclose() for transport in transports.values()))


def targets_of(listed: Catalogue, type: Literal["tool", "prompt"]) -> Iterator[Target]:  # noqa: A002 - the field's own name
    """Yield every tool, or prompt, of an upstream's lists."""
    for status in listed.status():
        for subject, name in status.states:
            if subject == type:
                yield listed.target(status.upstream, type, name)


class _Listed(NamedTuple):
    """The definitions of the upstreams. `resources` and `instructions` have the states of their pins by name."""

    tools: list[Target]
    prompts: list[Target]
    resources: dict[str, str]
    instructions: dict[str, str]
    problems: dict[str, str]


async def _list_targets(settings: Configuration) -> _Listed:
    async with open_catalogue(settings) as there:
        listed = there.catalogue
        states = [
            (status.upstream, *key, pin.value) for status in listed.status() for key, pin in status.states.items()
        ]
        return _Listed(
            list(targets_of(listed, "tool")),
            list(targets_of(listed, "prompt")),
            {f"{upstream}/{name}": pin for upstream, subject, name, pin in states if subject == "resource"},
            {upstream: pin for upstream, subject, _, pin in states if subject == "instructions"},
            there.problems(),
        )


async def _find_changes(settings: Configuration) -> tuple[tuple[PinChange, ...], dict[str, str]]:
    async with open_catalogue(settings) as there:
        return there.catalogue.changes(), there.problems()


async def _pin(settings: Configuration, name: str | None, *, yes: bool) -> None:
    async with open_catalogue(settings) as there:
        listed, problems = there.catalogue, there.problems()
        changes = [change for change in listed.changes() if name in {None, change.name}]
        upstreams = {change.upstream for change in changes}
        if not changes:
            require_listed(problems)
            _require_known(name, listed)
            if name is None:
                out.print(paint("ok", "ok: everything is pinned as it is"))
                return
            upstreams = settings.upstreams.keys()
            out.print(plain(f"{name} is listed as it is pinned"))
        for change in changes:
            _show_change(change)
        if not yes and not _has_agreed(len(changes)):
            raise typer.Abort
        for upstream in sorted(upstreams):
            await listed.pin(upstream, name)
            out.print(paint("ok", f"pinned {upstream}{'/' + name if name else ''} in {settings.catalogue.lock}"))
        require_listed(problems)


def _require_known(name: str | None, listed: Catalogue) -> None:
    names = sorted({each for status in listed.status() for _, each in status.states})
    if name is not None and name not in names:
        raise typer.BadParameter(f"there is no {name!r}; the upstream lists: {', '.join(names) or 'nothing'}")


def _has_agreed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise typer.BadParameter("standard input is no terminal to ask on; add --yes")
    what = f"{count} definition{'s' if count > 1 else ''} as shown" if count else "it again"
    return typer.confirm(f"Trust {what}?", err=True)


def select_upstream(settings: Configuration, upstream: str | None) -> Configuration:
    """Return the configuration with this upstream alone: no other server starts."""
    if upstream is None:
        return settings
    if upstream not in settings.upstreams:
        known = ", ".join(sorted(settings.upstreams)) or "none"
        raise typer.BadParameter(f"there is no upstream {upstream!r}; configured are: {known}")
    return settings.model_copy(update={"upstreams": {upstream: settings.upstreams[upstream]}})


def require_listed(problems: dict[str, str]) -> None:
    """Raise the error of an upstream without a list: no answer about such an upstream is possible."""
    from gateway.model.errors import UpstreamUnreachable

    if problems:
        raise UpstreamUnreachable(
            "; ".join(f"upstream {name} could not be listed: {problem}" for name, problem in problems.items()),
            "see `opagate check`",
        )


# --- for people --------------------------------------------------------------------------------------


def _show_tools(targets: Sequence[Target]) -> None:
    from gateway.inspection.label_cases import label_variants

    rows = table("tool, roles of arguments", "effect", "egress", "sensitivity", "pin")
    for target in targets:
        labels = target.labels
        shown = plain(f"{target.upstream}/{target.name}")
        for pointer, role in labels.roles.items():
            shown.append(f"\n  {pointer} {role.value}", style="dim")
        rows.add_row(shown, *_shown_labels(labels), paint(str(target.pin.value) if target.pin else ""))
        for number, variant in enumerate(label_variants(target)[1:]):
            rows.add_row(plain(f"  cases[{number}]"), *_shown_labels(variant.labels), "")
    if targets:
        show(rows)
    else:
        out.print("No tools.", style="yellow")


def _shown_labels(labels: Labels) -> tuple[str, str, str]:
    egress = "sandbox" if labels.in_sandbox else "yes" if labels.egress else "no"
    return labels.effect.value, egress, labels.sensitivity.value


def _show_prompts(prompts: Sequence[Target]) -> None:
    rows = table("prompt", "pin")
    for prompt in prompts:
        rows.add_row(plain(f"{prompt.upstream}/{prompt.name}"), paint(prompt.pin.value if prompt.pin else ""))
    if prompts:
        show(rows)


def _show_states(heading: str, states: Mapping[str, str]) -> None:
    rows = table(heading, "pin")
    for name, pin in states.items():
        rows.add_row(plain(name), paint(pin))
    if states:
        show(rows)


def _show_change(change: PinChange) -> None:
    from gateway.upstreams.catalogue.pins import UnpinnableDefinition
    from gateway.upstreams.catalogue.pins import diff as difference

    say(paint(change.kind), f" {change.subject} {change.upstream}/{change.name}", style="bold")
    if isinstance(change.new, UnpinnableDefinition):
        say(f"  it cannot be pinned: {change.new.problem}", style="red")
        return
    for text in difference(change.old, change.new).splitlines():
        say(_colour(text))


def _colour(text: str) -> Text:
    """Return a line of a diff in its colour. `pins.diff` has spelled hidden characters out."""
    from rich.text import Text

    mark = text[2:3] if text.startswith("  ") else ""
    return Text(f"  {text}", style={"+": "green", "-": "red", "@": "cyan"}.get(mark, ""))


def _as_json(target: Target) -> dict[str, Any]:
    from gateway.inspection.label_cases import label_variants

    labels, variants = target.labels, label_variants(target)[1:]
    return {
        "id": target.id,
        "upstream": target.upstream,
        "tool": target.name,
        "audience": target.audience,
        "trust": target.trust,
        "effect": labels.effect,
        "egress": labels.egress,
        "sensitivity": labels.sensitivity,
        "roles": dict(labels.roles),
        "sandbox": labels.in_sandbox,
        "cases": [_case_as_json(case, variant.labels) for case, variant in zip(labels.cases, variants, strict=True)],
        "pin": target.pin,
    }


def _case_as_json(case: LabelCase, labels: Labels) -> dict[str, Any]:
    return {
        "when": {
            pointer: {**condition.tests, **({"optional": True} if condition.optional else {})}
            for pointer, condition in case.when.items()
        },
        "arguments": None if case.arguments is None else sorted(case.arguments),
        "effect": labels.effect,
        "egress": labels.egress,
        "sensitivity": labels.sensitivity,
        "roles": dict(labels.roles),
        "sandbox": labels.in_sandbox,
    }


def _prompt_as_json(target: Target) -> dict[str, Any]:
    return {"id": target.id, "upstream": target.upstream, "prompt": target.name, "pin": target.pin}


def _change_as_json(change: PinChange) -> dict[str, Any]:
    from gateway.upstreams.catalogue.pins import UnpinnableDefinition

    unreadable = isinstance(change.new, UnpinnableDefinition)
    return {
        "kind": change.kind,
        "upstream": change.upstream,
        "subject": change.subject,
        "name": change.name,
        "old": change.old.digest if change.old else None,
        "new": None if change.new is None or isinstance(change.new, UnpinnableDefinition) else change.new.digest,
        "problem": change.new.problem if unreadable and isinstance(change.new, UnpinnableDefinition) else None,
    }


def _pin_packages(settings: Configuration, *, yes: bool, keep: bool) -> None:
    """Show how the packages of each server differ from the locked ones, ask, and write the lock file. Without `keep`, unlock
    them."""
    from gateway.upstreams.catalogue import lockfile

    before = lockfile.load(settings.catalogue.lock).packages
    for name, upstream in settings.upstreams.items():
        found = _resolve(name, upstream) if keep else None
        if found == before.get(name) or (keep and found is None and name not in before):
            continue
        for line in _differences(before.get(name), found):
            say(line)
        if not yes and not _has_agreed_to_packages(name):
            raise typer.Abort
        lockfile.amend(settings.catalogue.lock, lambda lock, name=name, found=found: lock.with_packages(name, found))
        done = "locked" if found is not None else "unlocked"
        out.print(paint("ok", f"{done} the packages of {name} in {settings.catalogue.lock}"))


def _resolve(name: str, upstream: Upstream) -> PackageLock | None:
    """Return the packages of a server as its registry has them now; `None` for a server whose packages cannot be locked."""
    from gateway.config.packages import find_lockable, find_packages
    from gateway.model.errors import ConfigurationError
    from gateway.upstreams.stdio.isolation.locked import resolve

    command = upstream.command or ()
    lockable = find_lockable(command) if upstream.isolation.kind != "account" else None
    if lockable is None:
        if packages := find_packages(command):
            why = "isolation: account" if upstream.isolation.kind == "account" else f"the words of {packages[0].runner}"
            sentence(f"packages of {name} cannot be locked, because of {why}", "docs/isolation.md says which can")
        return None
    try:
        with err.status(f"Asking for the packages of {name}") if err.is_terminal else nullcontext():
            return resolve(lockable, {**os.environ, **upstream.own_variables})
    except ConfigurationError as error:
        raise ConfigurationError(f"packages of upstream {name}: {error.message}", error.remedy) from None


def _differences(old: PackageLock | None, new: PackageLock | None) -> Iterator[str]:
    """Yield a line for each package of another version or other files."""
    before, after = ({} if lock is None else lock.list_versions() for lock in (old, new))
    for package in sorted({*before, *after}):
        if before.get(package) != after.get(package):
            yield f"  {package} {_change(before, after, package)}"
    if before == after:
        yield "  The same versions have other digests or other dependencies."


def _change(before: Mapping[str, str], after: Mapping[str, str], package: str) -> str:
    if package not in before:
        return after[package]
    return f"{before[package]} → {after.get(package, 'none')}"


def _has_agreed_to_packages(name: str) -> bool:
    if not sys.stdin.isatty():
        raise typer.BadParameter("standard input is no terminal to ask on; add --yes")
    return typer.confirm(f"Trust these packages of {name}?", err=True)
