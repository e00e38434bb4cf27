"""`opagate policy push`, `status` and `diff`: the configured policy and an OPA administered over HTTP."""

from __future__ import annotations

import difflib
import json
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.surfaces.cli import loop
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration, select_given
from gateway.surfaces.cli.policy_options import GrantsOption, OverlayOption, PathOption
from gateway.surfaces.cli.terminal import describe_count, emit, out, paint, pairs, show

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import PolicySettings
    from gateway.policy.folder.bundle import Bundle
    from gateway.policy.folder.folders import PolicyFolders
    from gateway.policy.opa.contents import Difference, HeldModule, Pushed
    from gateway.surfaces.cli.opa_admin import OpaAdmin

_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(frozen=True, slots=True)
class State:
    """The policy in an OPA beside the configured policy. `held` are the modules in OPA, without the gates of a push
    under way."""

    policy: Bundle
    held: tuple[HeldModule, ...]
    pushed: Pushed
    difference: Difference
    bundles: tuple[str, ...]
    is_gated: bool

    @property
    def agrees(self) -> bool:
        """Return whether OPA has the configured policy, and no other rules in its packages."""
        is_pushed = bool(self.bundles) or self.pushed.revision == self.policy.revision
        return is_pushed and not self.difference and not self.pushed.pushing and not self.is_gated


def push(
    path: PathOption = None,
    grants: GrantsOption = None,
    overlay: OverlayOption = None,
    config: ConfigOption = None,
    take_over: Annotated[bool, typer.Option("--take-over", help="End a push that was killed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put the policy, its grants and its overlay into the configured OPA.

    Only a policy that the gateway could put into force is pushed. If OPA refuses it, OPA keeps the policy before.

    Modules of an earlier push that are gone are deleted. Other packages and data stay as they are.
    """
    from gateway.surfaces.cli import rego

    settings = _settings(path, grants, overlay, config)
    policy = loop.run(rego.loadable(_folders(settings), settings.engine.deadline.total_seconds() / 2))
    with _admin(settings) as admin, out.status("Pushing the policy") if out.is_terminal else nullcontext():
        from gateway.surfaces.cli import opa_push

        at = datetime.now(UTC).isoformat(timespec="seconds")
        changes = opa_push.push(admin, policy, name=secrets.token_hex(8), at=at, take_over=take_over)
    modules = [change for change in changes if isinstance(change, opa_push.ModuleChange)]
    deleted = sum(change.text is None for change in modules)
    found = {
        "revision": policy.revision,
        "modules": len(modules) - deleted,
        "deleted": deleted,
        "data": len(changes) - len(modules),
    }
    if as_json:
        emit(found)
    elif not changes:
        out.print(f"OPA has revision {policy.revision} as it is here", markup=False)
    else:
        written = f"{describe_count(len(modules) - deleted, 'module')} and {describe_count(len(changes) - len(modules), 'data root')} written"
        out.print(
            f"pushed revision {policy.revision}: {written}, {describe_count(deleted, 'module')} deleted", markup=False
        )


def status(
    path: PathOption = None,
    grants: GrantsOption = None,
    overlay: OverlayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the revision in the configured OPA with the policy here. Exit status 1 if they differ."""
    settings = _settings(path, grants, overlay, config)
    with _admin(settings) as admin:
        state, version = _state(admin, settings), admin.version()
    if as_json:
        emit(
            {
                "opa": {
                    "version": version,
                    "revision": state.pushed.revision or None,
                    "pushed_at": state.pushed.at or None,
                    "pushing": state.pushed.pushing or None,
                    "bundles": state.bundles,
                },
                "revision": state.policy.revision,
                "agrees": state.agrees,
                "missing": state.difference.missing,
                "foreign": state.difference.foreign,
                "data": state.difference.data,
            }
        )
    else:
        _show_status(state, version)
    if not state.agrees:
        raise typer.Exit(1)


def diff(
    path: PathOption = None,
    grants: GrantsOption = None,
    overlay: OverlayOption = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Calls that `policy.shadow` decides otherwise since a time, or 24h ago."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a push would change in the configured OPA, or with --since what the shadow policy would change.

    Exit status 1 if there is a difference.
    """
    from gateway.policy.opa import contents as opa_contents

    if since is not None:
        from gateway.surfaces.cli.policy_shadow import diff_since

        if path or grants or overlay:
            raise typer.BadParameter("--since is about the policies of the running gateway: leave the folders out")
        diff_since(configuration(config), since, as_json=as_json)
        return

    settings = _settings(path, grants, overlay, config)
    with _admin(settings) as admin:
        state = _state(admin, settings)
        found = _module_texts(state)
        wanted = opa_contents.pieces(state.policy.decoded_data(), state.held)
        for name in state.difference.data:
            place = tuple(name.split("/"))
            found.append((f"data/{name}", _as_text(admin.value(place)), _as_text(wanted[place])))
    lines = {name: list(_unified_diff(name, old, new)) for name, old, new in found}
    if as_json:
        emit(
            {
                "agrees": state.agrees,
                "changes": [{"name": name, "diff": "\n".join(diff)} for name, diff in lines.items()],
            }
        )
    else:
        for line in (line for diff in lines.values() for line in diff):
            out.print(line, style=_COLOURS.get(line[:1], ""), markup=False)
    if not state.agrees:
        raise typer.Exit(1)


# --- the policy and the OPA ----------------------------------------------------------------------------


def _settings(path: Path | None, grants: Path | None, overlay: Path | None, config: Path | None) -> PolicySettings:
    """Return the policy section of the configuration, with the given folders. Raise `ConfigurationError`."""
    from gateway.model.errors import ConfigurationError

    section = configuration(config).policy
    if section.engine.kind != "opa":
        raise ConfigurationError(
            "policy.engine is embedded: there is no OPA to administer",
            'set policy.engine to {kind: opa, url: "https://…"}, or leave it so: the gateway loads the folder by itself',
        )
    return section.model_copy(update=select_given(path=path, grants=grants, overlay=overlay))


def _folders(settings: PolicySettings) -> PolicyFolders:
    from gateway.policy.folder.folders import PolicyFolders

    return PolicyFolders.configured(settings)


@contextmanager
def _admin(settings: PolicySettings) -> Generator[OpaAdmin]:
    """Give the OPA of the configuration. Raise `ConfigurationError` without the library for OPA."""
    from gateway.config import OpaEngine
    from gateway.model.errors import ConfigurationError

    try:
        from gateway.surfaces.cli.opa_admin import OpaAdmin
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the Python package {error.name} is missing, which this command needs",
            "pip install 'opagate[opa]'; in a clone: .venv/bin/pip install --require-hashes -r requirements/opa.txt",
        ) from None
    assert isinstance(settings.engine, OpaEngine)  # noqa: S101 - `_settings` has looked
    admin = OpaAdmin(settings.engine)
    try:
        yield admin
    finally:
        admin.close()


def _state(admin: OpaAdmin, settings: PolicySettings) -> State:
    from gateway.policy.folder import folders
    from gateway.surfaces.cli.opa_push import is_gate

    policy = folders.read_policy(_folders(settings))
    everything = admin.modules()
    held = tuple(module for module in everything if not is_gate(module))
    return State(
        policy,
        held,
        admin.pushed(),
        admin.difference(policy, held),
        tuple(sorted(admin.bundles())),
        is_gated=len(held) < len(everything),
    )


# --- for people --------------------------------------------------------------------------------------


def _show_status(state: State, version: str) -> None:
    rows = pairs()
    rows.add_row("OPA", version or "of unknown version")
    if state.bundles:
        rows.add_row("its policy", f"from {', '.join(state.bundles)}")
    elif state.pushed.revision:
        rows.add_row("its policy", f"revision {state.pushed.revision}, pushed {state.pushed.at}")
    else:
        rows.add_row("its policy", "was not pushed")
    rows.add_row("the policy here", f"revision {state.policy.revision}")
    if state.pushed.pushing or state.is_gated:
        rows.add_row(
            "push",
            f"of revision {state.pushed.pushing} has not ended; OPA refuses every call until then. `--take-over` ends one that was killed",
        )
    if state.difference:
        rows.add_row("difference", state.difference.sentence())
    rows.add_row("", paint("ok", "they agree") if state.agrees else paint("fail", "they differ"))
    show(rows)
    if not state.agrees and not state.bundles:
        out.print("`opagate policy diff` shows the differences, `opagate policy push` ends them.", markup=False)


def _module_texts(state: State) -> list[tuple[str, str, str]]:
    """Return the differing modules: their names, their texts in OPA, and their texts here."""
    from gateway.policy.opa.contents import PREFIX

    texts = dict(state.policy.modules)
    held = {module.id: module.text for module in state.held}
    found: list[tuple[str, str, str]] = []
    before: set[str] = set()
    for name in state.difference.missing:
        there = [item for item in held if item == f"{PREFIX}{name}" or item.endswith(f"/{name}")]
        before.update(there[:1])
        found.append((name, held[there[0]] if there else "", texts[name]))
    gone = (name for name in state.difference.foreign if name not in before)
    return found + [(name.removeprefix(PREFIX), held[name], "") for name in gone]


def _as_text(value: object) -> str:
    from gateway.policy import verdict

    return "" if value == verdict.UNDEFINED else json.dumps(value, indent=2, sort_keys=True) + "\n"


def _unified_diff(name: str, old: str, new: str) -> Sequence[str]:
    lines: dict[str, Any] = {"fromfile": f"OPA/{name}", "tofile": f"here/{name}", "lineterm": ""}
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), **lines))
