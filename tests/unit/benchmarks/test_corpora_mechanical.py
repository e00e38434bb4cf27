from __future__ import annotations

from typing import Any

from benchmarks.corpora.mechanical import label_mechanically

TOOLS: dict[str, Any] = {"mail": {"audience": "post", "trust": "trusted", "tools": {"send_mail": {"effect": "read"}}}}


def test_a_labelling_trusts_no_upstream_and_reads_no_label_made_by_hand():
    described: dict[str, Any] = {"description": "", "arguments": {"to": {}}}
    suite: dict[str, Any] = {"kind": "suite", "suite": "a", "tools": {"send_mail": described}}

    assert label_mechanically(TOOLS, [suite]) == {
        "mail": {
            "audience": "post",
            "trust": "untrusted",
            "tools": {
                "send_mail": {
                    "effect": "write",
                    "egress": True,
                    "sensitivity": "internal",
                    "roles": {"/to": "destination"},
                }
            },
        }
    }
