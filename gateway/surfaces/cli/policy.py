"""`opagate policy`: Rego checked, tested and built with OPA, and evaluated as the gateway does."""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import msgspec
import typer

from gateway.surfaces.cli import loop, opa_commands, policy_cost, policy_facts
from gateway.surfaces.cli.approvers import describe_obligations
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration, configuration_path, select_given
from gateway.surfaces.cli.policy_options import GrantsOption, OverlayOption, PathOption
from gateway.surfaces.cli.terminal import describe_count, describe_revision, emit, out, paint, pairs, show, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config import PolicySettings
    from gateway.model.decision import Decision
    from gateway.model.wire import JsonObject
    from gateway.policy.authoring import PolicyTest
    from gateway.policy.folder.folders import PolicyFolders
    from gateway.surfaces.cli.rego import FolderCheck

app = typer.Typer(
    help="Rules and grants: ask them, try them on the record, propose, check, test, build and push them.",
    no_args_is_help=True,
)


@app.command("init", epilog="Example: opagate policy init overlay")
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    rule: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A worked rule over earlier calls; `all` for all, `list` for names."),
    ] = None,
) -> None:
    """Write an overlay, a folder of own rules beside the policy: one example, or worked rules, with tests and a page."""
    from gateway.surfaces.cli import overlay
    from gateway.surfaces.cli.terminal import err
    from gateway.surfaces.cli.worked_rules import RULES, choose

    if rule == ["list"]:
        names = table("rule", "what")
        for each in RULES:
            names.add_row(each.name, each.title)
        show(names)
        return
    for path in overlay.write(folder, choose(rule or [])):
        err.print(f"wrote {path}", style="green", markup=False)
    out.print("\n[bold]Next[/]")
    rows = pairs()
    rows.add_row(f"  opagate policy test --overlay {folder}", "run its tests")
    rows.add_row(f"  opagate policy check --overlay {folder}", "check it beside the policy")
    rows.add_row(f"  policy: {{overlay: {folder}}}", "in gateway.yaml, to put it into force")
    show(rows)


@app.command("build", epilog="Example: opagate policy build --overlay overlay --sign plan-key.pem")
def build(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="[BUNDLE]", help="Write the policy for an OPA: a new or empty folder, or an archive BUNDLE.tar.gz."
        ),
    ] = None,
    path: PathOption = None,
    grants: GrantsOption = None,
    overlay: OverlayOption = None,
    config: ConfigOption = None,
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY",
            help="Write the compiled rules too, signed by the Ed25519 key in this file; a missing file is made, with a new key.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit with 1 unless the compiled form there is that of the rules."),
    ] = False,
) -> None:
    """Check, test and compile own rules. Needs `opa` on PATH; the result does not.

    With --sign, the compiled rules stand beside the folder, as FOLDER.plan. Gateways with `policy.plan_keys` take them.

    Build again after each change of a rule. Other data, such as grants, may change.

    With BUNDLE, policy, grants and overlay are written for an OPA of your own, which may poll the place of an archive.

    An archive is replaced as a whole. Only a policy that the gateway could put into force is written.
    """
    from gateway.surfaces.cli import policy_build

    places = find_folders(path, grants, overlay, config)
    if check:
        _check_plan(places, sign, config)
        return
    if bundle is None and sign is None:
        raise typer.BadParameter("name a BUNDLE to write for an OPA, or a key with --sign to write the compiled rules")
    if bundle is not None:
        policy = loop.run(policy_build.write_bundle(places, bundle, _limit(path, grants, config)))
        out.print(f"wrote {bundle}, revision {policy.revision}", markup=False)
    if sign is not None:
        built = policy_build.write_plan(places, sign)
        out.print(f"wrote {built.place}: plan {built.digest}", markup=False)
        out.print("policy:", f"  plan_keys: [{built.key}]", sep="\n", markup=False, soft_wrap=True)


def _check_plan(places: PolicyFolders, sign: Path | None, config: Path | None) -> None:
    from gateway.policy.plan import store
    from gateway.policy.plan.store import PlanTrust
    from gateway.surfaces.cli import policy_build

    known = configuration(config).policy.plan_keys if config is not None or configuration_path(None).exists() else ()
    own = () if sign is None else (store.public_text(policy_build.signing_key(sign)),)
    place, digest, difference = policy_build.compare_plan(places, PlanTrust((*known, *own)))
    if difference is not None:
        out.print(f"{place} is not the plan of these rules: {difference}", markup=False)
        raise typer.Exit(1)
    out.print(f"{place} is the plan of these rules, {digest}", markup=False)


@app.command("check", epilog="Example: opagate policy check --path rego/")
def check(
    path: PathOption = None,
    grants: GrantsOption = None,
    overlay: OverlayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a policy with OPA, and as the gateway does at load. Needs `opa` on PATH. Regal is asked if it is here.

    Exit status 1 if a check found something.
    """
    from gateway.surfaces.cli import rego

    places = find_folders(path, grants, overlay, config)
    with out.status("Checking the policy") if out.is_terminal else nullcontext(), loop.interruptible():
        found = loop.run(rego.checks(places, _limit(path, grants, config)))
    if as_json:
        emit(
            {
                **_describe_folders(places),
                "ok": not any(item.findings for item in found),
                "checks": [
                    {"name": i.name, "state": i.state, "findings": i.findings, "skipped": i.skipped, "notes": i.notes}
                    for i in found
                ],
            }
        )
    else:
        _show_checks(found, places)
    if any(item.findings for item in found):
        raise typer.Exit(1)


@app.command("test", epilog="Example: opagate policy test --path rego/")
def run_tests(
    path: PathOption = None,
    grants: GrantsOption = None,
    overlay: OverlayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the policy's `test_*` rules in OPA. Needs `opa` on PATH.

    Exit status 1 if a test fails.
    """
    from gateway.surfaces.cli import rego

    places = find_folders(path, grants, overlay, config)
    with loop.interruptible():
        tests = rego.run_tests(rego.suites(places))
    failed = [item.name for item in tests if not item.passed]
    if as_json:
        emit(
            {
                **_describe_folders(places),
                "ok": not failed,
                "failed": failed,
                "tests": [{"name": i.name, "place": i.place, "passed": i.passed} for i in tests],
            }
        )
    else:
        _show_tests(tests)
    if failed:
        raise typer.Exit(1)


@app.command("eval", epilog="Example: opagate policy eval input.json")
def evaluate(
    document: Annotated[
        Path, typer.Argument(metavar="INPUT", help="A policy input as JSON, - for standard input.")
    ] = Path("-"),
    entrypoint: Annotated[
        Literal["decision", "visibility", "leases"], typer.Option(help="The question: one call, a list, or leases.")
    ] = "decision",
    path: PathOption = None,
    grants: GrantsOption = None,
    overlay: OverlayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a policy input with the configured engine.

    Exit status 1 if the call is not allowed, nothing is visible, or no lease stays."""
    settings = policy_settings(path, grants, config, overlay)
    asked = _document(document)
    if entrypoint != "decision":
        with loop.interruptible():
            found = sorted(loop.run(_choose(settings, asked, entrypoint)))
        if as_json:
            emit({"visible" if entrypoint == "visibility" else "keep": found})
        else:
            for name in found:
                out.print(name, markup=False)
        if not found:
            raise typer.Exit(1)
        return
    with loop.interruptible():
        decision = loop.run(_decide(settings, asked))
    if as_json:
        emit(msgspec.to_builtins(decision))
    else:
        _show_decision(decision)
    if not decision.allowed:
        raise typer.Exit(1)


app.command("push", epilog="Example: opagate policy push --config gateway.yaml")(opa_commands.push)
app.command("status", epilog="Example: opagate policy status --json")(opa_commands.status)
app.command("diff", epilog="Example: opagate policy diff --config gateway.yaml")(opa_commands.diff)
app.command("cost", epilog="Example: opagate policy cost sessions.jsonl --json")(policy_cost.cost)
app.command("facts", epilog="Example: opagate policy facts --user ada")(policy_facts.list_facts)


# --- which policy ------------------------------------------------------------------------------------


def policy_settings(
    path: Path | None, grants: Path | None, config: Path | None, overlay: Path | None = None
) -> PolicySettings:
    """Return the policy section of the configuration; without one, the shipped folder."""
    from gateway.config import PolicySettings

    configured = PolicySettings()
    if config is not None or configuration_path(None).exists():
        configured = configuration(config).policy
    if path is not None:
        return PolicySettings(path=path, grants=grants, overlay=overlay)
    return configured.model_copy(update=select_given(grants=grants, overlay=overlay))


def find_folders(path: Path | None, grants: Path | None, overlay: Path | None, config: Path | None) -> PolicyFolders:
    from gateway.policy.folder.folders import PolicyFolders

    found = PolicyFolders.configured(policy_settings(path, grants, config, overlay))
    for folder in (found.policy, found.overlay):
        if folder is not None and not folder.is_dir():
            raise typer.BadParameter(f"there is no policy folder {folder}")
    return found


def _describe_folders(places: PolicyFolders) -> dict[str, str | None]:
    return {"folder": str(places.policy), "overlay": None if places.overlay is None else str(places.overlay)}


def _limit(path: Path | None, grants: Path | None, config: Path | None) -> float:
    """Return the processor time of an answer in seconds: half of the deadline."""
    return policy_settings(path, grants, config).engine.deadline.total_seconds() / 2


def _document(path: Path) -> JsonObject:
    """Raises `PolicyInput`."""
    from gateway.model.errors import PolicyInput

    shown = "on standard input" if str(path) == "-" else path
    try:
        text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        found: object = json.loads(text)
    except OSError as error:
        raise PolicyInput(
            f"the policy input {shown} cannot be read: {error.strerror}", "name a readable file"
        ) from None
    except UnicodeDecodeError:
        raise PolicyInput(f"the policy input {shown} is not UTF-8", "save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise PolicyInput(
            f"the policy input {shown} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            "mend it there; rego/schemas/input.json describes it",
        ) from None
    if not isinstance(found, dict):
        raise PolicyInput(f"the policy input {shown} is not an object", "rego/schemas/input.json describes it")
    return cast("JsonObject", found)


async def _decide(settings: PolicySettings, document: JsonObject) -> Decision:
    from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
    from gateway.policy.policy import Policy

    policy = Policy.build(settings, supported=frozenset(SUPPORTED_OBLIGATIONS), clock=time.time, is_for_calls=False)
    await policy.start()
    try:
        return await policy.decide(document)
    finally:
        await policy.stop()


async def _choose(
    settings: PolicySettings, document: JsonObject, entrypoint: Literal["visibility", "leases"]
) -> frozenset[str]:
    from gateway.policy.policy import Policy

    items = document.get("resources" if entrypoint == "visibility" else "leases")
    asked = frozenset(
        str(item.get("id")) for item in (items if isinstance(items, list) else []) if isinstance(item, dict)
    )
    policy = Policy.build(settings, supported=frozenset(), clock=time.time, is_for_calls=False)
    await policy.start()
    try:
        ask = policy.visible if entrypoint == "visibility" else policy.kept
        return await ask(document, asked)
    finally:
        await policy.stop()


# --- for people --------------------------------------------------------------------------------------


def _show_checks(found: Sequence[FolderCheck], places: PolicyFolders) -> None:
    title = f"Policy {places.policy}" + (f" with {places.overlay}" if places.overlay else "")
    rows = table("", "check", "what", title=title)
    for item in found:
        what = (
            item.skipped or describe_count(len(item.findings), "problem")
            if item.findings or item.skipped
            else f"{item.seconds:.2f} s"
        )
        rows.add_row(paint(item.state), item.name, what)
    show(rows)
    for item in found:
        if item.findings or item.notes:
            out.print(f"{item.name}:", style="bold")
            for sentence in (*item.findings, *item.notes):
                out.print(f"  {sentence}", markup=False)


def _show_tests(tests: Sequence[PolicyTest]) -> None:
    failed = [item for item in tests if not item.passed]
    rows = table("passed", "failed")
    rows.add_row(paint("ok", str(len(tests) - len(failed))), paint("fail" if failed else "", str(len(failed))))
    show(rows)
    for item in failed:
        out.print(paint("fail", "FAIL"), f"{item.place}: {item.name}", markup=False)
    if not tests:
        out.print("There are no tests: no rule test_… in a file *_test.rego.", style="yellow")


def _show_decision(decision: Decision) -> None:
    out.print(paint(decision.effect, decision.effect.upper()), style="bold")
    for reason in decision.reasons:
        rows = pairs()
        rows.add_row("code", paint("fail" if not decision.allowed else "", reason.code))
        rows.add_row("why", reason.message)
        if reason.remedy:
            rows.add_row("remedy", reason.remedy)
        if reason.controls:
            rows.add_row("controls", ", ".join(reason.controls))
        if reason.facts:
            rows.add_row("facts", ", ".join(reason.facts))
        show(rows)
    for line in describe_obligations(decision.obligations):
        out.print(line, markup=False)
    out.print(f"policy {describe_revision(decision.policy.name, decision.policy.revision)}", style="dim", markup=False)
