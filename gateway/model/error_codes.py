"""JSON-RPC error codes of JSON-RPC 2.0, of MCP, and of the gateway. Pure. The gateway's own codes lie outside of
-32768..-32000, reserved by the specification (basic/index.mdx, "Error Codes")."""

from __future__ import annotations

from typing import Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603

URL_ELICITATION_REQUIRED: Final = -32042
"""Of 2025-11-25 alone."""

HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022
"""These three are of the stateless era (2026-07-28)."""

REFUSED: Final = -31001
"""The gateway refused the request before policy was asked."""
UPSTREAM_FAILED: Final = -31002
"""The upstream cannot be reached, is late, or gave an answer that is not passed on."""
UNAVAILABLE: Final = -31003
"""A part of the gateway cannot do its work: policy, history, the journal, a key server."""
UNAUTHENTICATED: Final = -31401
"""The caller is not known, or its token lacks a scope."""
DENIED: Final = -31403
"""Policy refused the call."""

OWN: Final = frozenset({REFUSED, UPSTREAM_FAILED, UNAVAILABLE, UNAUTHENTICATED, DENIED})
"""The codes by which a client knows that the gateway speaks. An upstream's error never has one of these."""
