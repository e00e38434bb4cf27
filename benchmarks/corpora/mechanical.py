"""A second labelling, by the gateway's own proposals: the labels of an operator who wrote none. No upstream is trusted. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.corpora.installed import Recording
from benchmarks.corpora.traces import Catalogue
from gateway.upstreams.labelling.proposals import Proposal, propose_labels


def label_mechanically(tools: Catalogue, recordings: Iterable[Recording]) -> dict[str, Any]:
    """Return a catalogue with the same upstreams and tools, none trusted, and labels as proposed."""
    described: dict[str, Any] = {}
    for item in recordings:
        if item["kind"] == "suite":
            described |= item["tools"]
    return {
        upstream: {
            "audience": site["audience"],
            "trust": "untrusted",
            "tools": {
                name: as_labels(proposal)
                for name, proposal in propose_labels(
                    [_as_listed(tool, described[tool]) for tool in site["tools"]]
                ).items()
            },
        }
        for upstream, site in tools.items()
    }


def _as_listed(name: str, described: Any) -> Any:
    """Return a recorded tool as its server would list it."""
    schema = {"type": "object", "properties": described["arguments"]}
    return {"name": name, "description": described["description"], "inputSchema": schema}


def as_labels(proposal: Proposal) -> dict[str, Any]:
    """Return a proposal as labels in a configuration."""
    return {
        "effect": proposal.effect.value.value,
        "egress": proposal.egress.value,
        "sensitivity": proposal.sensitivity.value.value,
        "roles": {pointer: found.role.value for pointer, found in proposal.roles.items()},
    }
