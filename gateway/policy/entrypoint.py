"""The questions to a policy."""

from __future__ import annotations

from typing import Literal, TypeAlias

Entrypoint: TypeAlias = Literal["decision", "visibility", "leases", "explanation"]
"""The questions. A policy may lack the last two: without `leases`, each new revision ends all leases."""
