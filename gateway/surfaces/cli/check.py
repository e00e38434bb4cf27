"""`opagate check`: a trial of a configuration, and the remedies for its faults."""

from __future__ import annotations

from contextlib import nullcontext

import typer

from gateway.surfaces.cli import loop
from gateway.surfaces.cli.options import ConfigOption, JsonOption, configuration, configuration_path
from gateway.surfaces.cli.terminal import emit, err, out, paint, plain, show, table


def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Validate the configuration and reach for everything in it: keys, upstreams, policy, lock file, journal, TLS.

    Nothing is pinned and nothing is called. Exit status 1 if something would keep the gateway from working.
    """
    from gateway.surfaces.cli import checks

    path = configuration_path(config)
    if not path.exists():
        configuration(path)  # says that it is missing, and how to make one
    with err.status("Checking") if err.is_terminal else nullcontext():
        found = loop.run(checks.run(path))
    failed = any(item.state == "fail" for item in found)
    if as_json:
        emit({"configuration": str(path), "ok": not failed, "findings": [checks.as_json(item) for item in found]})
    else:
        rows = table("", "what", "found", title=f"Configuration {path}")
        for item in found:
            text = plain(item.found)
            for line in item.lines:
                text.append("\n  ").append_text(plain(line))
            if item.remedy:
                text.append("\n→ ", style="cyan").append_text(plain(item.remedy))
            rows.add_row(paint(item.state), item.what, text)
        show(rows)
        out.print(_summary([item.state for item in found]))
    if failed:
        raise typer.Exit(1)


def _summary(states: list[str]) -> object:
    failures, warnings = states.count("fail"), states.count("warn")
    if failures:
        return paint("fail", f"{failures} to mend before the gateway works, {warnings} to look at")
    return paint(
        "warn" if warnings else "ok", f"{warnings} to look at; the gateway would start" if warnings else "all is well"
    )
