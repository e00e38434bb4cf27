"""The configuration of Envoy with its MCP filter and RBAC: one fixed rule on the name of the tool, and nothing recorded."""

from __future__ import annotations

import json
from typing import Any, Final

_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters"
_MCP: Final = "envoy.filters.http.mcp"
_MAX_BODY: Final = 8 * 2**20


def configuration(port: int, upstream_port: int) -> str:
    """Return the bootstrap of an Envoy that lets `tools/call` of `echo` pass and refuses calls of other tools."""
    listener = {
        "name": "mcp",
        "address": _address(port),
        "filter_chains": [{"filters": [_filter("network.http_connection_manager", _connection_manager())]}],
    }
    endpoint = {"endpoint": {"address": _address(upstream_port)}}
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})


def _connection_manager() -> dict[str, Any]:
    route = {"match": {"prefix": "/mcp"}, "route": {"cluster": "upstream", "timeout": "60s"}}
    return {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "mcp",
        "generate_request_id": False,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            _filter("http.mcp", {"@type": f"{_FILTERS}.http.mcp.v3.Mcp", **_READ}),
            _filter("http.rbac", {"@type": f"{_FILTERS}.http.rbac.v3.RBAC", "rules": _rules()}),
            _filter("http.router", {"@type": f"{_FILTERS}.http.router.v3.Router", "suppress_envoy_headers": True}),
        ],
    }


_READ: Final = {"traffic_mode": "PASS_THROUGH", "max_request_body_size": _MAX_BODY}


def _rules() -> dict[str, Any]:
    others = [_is(["method"], "tools/call"), {"not_rule": _is(["params", "name"], "echo")}]
    denied = {"permissions": [{"and_rules": {"rules": others}}], "principals": [{"any": True}]}
    return {"action": "DENY", "policies": {"other-tools": denied}}


def _is(path: list[str], value: str) -> dict[str, Any]:
    keys = [{"key": name} for name in path]
    return {"metadata": {"filter": _MCP, "path": keys, "value": {"string_match": {"exact": value}}}}


def _filter(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"envoy.filters.{name}", "typed_config": settings}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
