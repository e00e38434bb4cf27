"""Built-in functions on addresses and networks. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from gateway.policy.plan.operands import text
from gateway.policy.plan.values import EvaluationFailed, Value

_SIZE: Final = re.compile(r"[0-9]{1,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Network:
    """A network: its first address as a number, the bits of its addresses (32 or 128), and the fixed bits among them."""

    first: int
    bits: int
    fixed: int

    @property
    def last(self) -> int:
        return self.first | ((1 << (self.bits - self.fixed)) - 1)

    def has(self, address: int, bits: int) -> bool:
        return bits == self.bits and (address >> (bits - self.fixed)) == (self.first >> (bits - self.fixed))


def cidr_is_valid(value: Value) -> Value:
    return type(value) is str and _network(value) is not None


def cidr_contains(network: Value, other: Value) -> Value:
    """Return whether a network has an address, or a whole network. Addresses of IPv4 in IPv6 count as of IPv4."""
    outer, written = _network(text(network, 1)), text(other, 2)
    if outer is None:
        raise EvaluationFailed("net.cidr_contains: operand 1 is no CIDR")
    address = _address(written)
    if address is not None:
        return outer.has(*_as_v4(*address))
    inner = _network(written)
    if inner is None:
        raise EvaluationFailed("net.cidr_contains: operand 2 is neither an address nor a CIDR")
    if outer.bits == inner.bits == 128:
        return outer.fixed <= inner.fixed and outer.has(inner.first, 128)
    return outer.has(inner.first, inner.bits) and outer.has(inner.last, inner.bits)


def _network(value: str) -> Network | None:
    written, slash, size = value.partition("/")
    found = _address(written)
    if not slash or found is None or not _SIZE.fullmatch(size):
        return None
    address, bits = found
    fixed = int(size)
    if fixed > bits:
        return None
    first = address >> (bits - fixed) << (bits - fixed)
    number, own = _as_v4(first, bits)
    if own != bits:
        return Network(number, own, max(0, fixed - 96))
    return Network(first, bits, fixed)


def _address(value: str) -> tuple[int, int] | None:
    if "%" in value:
        return None
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        return None
    return int(found), found.max_prefixlen


def _as_v4(address: int, bits: int) -> tuple[int, int]:
    return (address & 0xFFFFFFFF, 32) if bits == 128 and address >> 32 == 0xFFFF else (address, bits)
