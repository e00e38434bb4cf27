"""`opagate schema`: JSON Schemas of the files that people write."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gateway.surfaces.cli.terminal import emit


class Document(StrEnum):
    """The documents with a schema."""

    CONFIG = "config"
    GRANTS = "grants"
    LABELS = "labels"


def schema(
    document: Annotated[
        Document, typer.Argument(help="`config`: gateway.yaml; `labels`: its part `upstreams.NAME.tools`.")
    ],
) -> None:
    """Print a JSON Schema, for editors and for checks before a deployment.

    An editor with the YAML language server reads it by a comment: `# yaml-language-server: $schema=gateway.schema.json`.
    `opagate check` says more: a schema knows no rule between two settings.
    """
    from gateway.config.schema import SCHEMAS

    emit(SCHEMAS[document.value]())
