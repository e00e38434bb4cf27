"""Exchanges as the HTTP edge makes them."""

from __future__ import annotations

from typing import Any

from gateway.model.wire import Headers
from gateway.wire.http.exchange import Exchange
from gateway.wire.protocol.headers import group_headers


def new_exchange(
    method: str, upstream: str, url: str, headers: Headers, client_ip: str | None = None, **more: Any
) -> Exchange:
    """Return an exchange with its headers by name."""
    return Exchange(method, upstream, url, headers, group_headers(headers), client_ip, **more)
