"""Findings about packages that the commands of stdio servers fetch and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.approval_checks import ApprovalFinding
from gateway.config.packages import find_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Configuration


def look(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield a warning for each package without an exact version."""
    for name, upstream in settings.upstreams.items():
        for package in find_packages(upstream.command or ()):
            if (problem := package.describe_problem()) is not None:
                yield ApprovalFinding(f"upstream {name}: {problem}", package.describe_remedy(), is_warning=True)
