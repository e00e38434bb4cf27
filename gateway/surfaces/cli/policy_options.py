"""The options of the commands about a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PathOption = Annotated[
    Path | None,
    typer.Option(
        "--path",
        metavar="FOLDER",
        help="A policy folder. Without it: the configured one, or the one that ships with opagate.",
    ),
]
GrantsOption = Annotated[
    Path | None,
    typer.Option("--grants", metavar="FILE", help="A grants file, or a folder of them, in place of the folder's own."),
]

OverlayOption = Annotated[
    Path | None, typer.Option("--overlay", metavar="FOLDER", help="A folder of own rules beside the policy.")
]
