"""`opagate init schema`, and the schemas of the files that people write."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from gateway.surfaces.cli.terminal import emit


class Document(StrEnum):
    """The documents with a schema."""

    CONFIG = "config"
    FACTS = "facts"
    GRANTS = "grants"
    LABELS = "labels"


def describe_document(document: Document) -> dict[str, Any]:
    """Return the schema of a document."""
    from gateway.config.schema import describe_configuration, describe_grants, describe_labels
    from gateway.policy.facts import describe_facts

    match document:
        case Document.CONFIG:
            return describe_configuration()
        case Document.FACTS:
            return describe_facts()
        case Document.GRANTS:
            return describe_grants()
        case Document.LABELS:
            return describe_labels()


def schema(
    document: Annotated[
        Document,
        typer.Argument(
            help="`config`: gateway.yaml; `facts`: the facts.yaml of an overlay; `labels`: the file of its setting `labels`."
        ),
    ],
) -> None:
    """Print a JSON Schema, for editors and for checks before a deployment.

    An editor with the YAML language server reads it by a comment: `# yaml-language-server: $schema=gateway.schema.json`.

    `opagate check` and `opagate policy check` say more: a schema knows no rule between two settings.
    """
    emit(describe_document(document))
