"""Findings about packages: each that may change is named with its upstream and its remedy."""

from __future__ import annotations

import json
from pathlib import Path

from gateway import config
from gateway.surfaces.cli.upstream_checks import look_at_packages as look

UPSTREAMS = {
    "files": ["npx", "-y", "@acme/files"],
    "git": ["uvx", "mcp-server-git==2025.8.1"],
    "web": ["sh", "-c", "exec uvx --with extra fetch==1.0"],
    "own": ["python", "-m", "server"],
}


def test_each_package_without_an_exact_version_is_a_warning():
    upstreams = {name: {"command": command, "audience": name} for name, command in UPSTREAMS.items()}
    found = list(look(config.parse(json.dumps({"upstreams": upstreams}), base=Path())))

    assert [(one.found, one.remedy) for one in found if not one.is_warning] == [
        (
            "upstream git: no digest of mcp-server-git is locked, nor a version of its dependencies",
            "opagate catalogue pin git",
        )
    ]
    assert [(one.found, one.remedy) for one in found if one.is_warning] == [
        (
            "upstream files: npx runs @acme/files in whatever version there is",
            "name the version that you looked at, such as @acme/files@1.2.3, or: opagate catalogue pin files",
        ),
        (
            "upstream web: uvx runs extra in whatever version there is",
            "name the version that you looked at, such as extra==1.2.3",
        ),
    ]
