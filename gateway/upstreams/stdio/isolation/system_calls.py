"""The filter of system calls of an isolated server: a program for seccomp. Pure.

A tool server never needs these calls, and past escapes began with them. They are for namespaces, mounts, keys of the kernel,
other processes' memory, and typing into a terminal. One more, io_uring, opens sockets past the filter.
"""

from __future__ import annotations

import struct
from typing import Final, Literal, TypeAlias

Sockets: TypeAlias = Literal["all", "network", "none"]
"""`all`: the network namespace and the mounts bound them. `network`: no Unix sockets. `none`: neither."""

_ARCHITECTURES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Machine → its number for seccomp, and its column below."""
_DENIED: Final = {
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "acct": (163, 89),
    "swapon": (167, 224),
    "reboot": (169, 142),
}
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_IOCTL: Final = (16, 29)
_SOCKET: Final = (41, 198)
_SET_LIMIT: Final = (302, 261)

_NEW_NAMESPACES: Final = 0x7E020000
"""Flags of clone(2) that make a namespace."""
_TERMINAL_INPUT: Final = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX."""
_UNIX, _IP4, _NETLINK, _IP6 = 1, 2, 16, 10
_FAMILIES: Final[dict[Sockets, tuple[int, ...]]] = {
    "all": (_UNIX, _IP4, _IP6, _NETLINK),
    "network": (_IP4, _IP6, _NETLINK),
    "none": (_NETLINK,),
}
_X32: Final = 0x40000000

_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
"""Offsets in what the kernel shows to the filter: the call, the processor, and the low halves of two arguments."""
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_NOT_PERMITTED, _NOT_THERE, _NO_FAMILY = 1, 38, 97


def build_filter(machine: str, sockets: Sockets) -> bytes | None:
    """Return the filter for a machine, `None` for an unknown machine."""
    if machine not in _ARCHITECTURES:
        return None
    architecture, column = _ARCHITECTURES[machine]
    program = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_JUMP_EQUAL, architecture, then=1),
        _step(_RETURN, _REFUSE | _NOT_PERMITTED),
        _step(_LOAD, _NUMBER),
        *([_step(_JUMP_ABOVE, _X32, otherwise=1), _step(_RETURN, _REFUSE | _NOT_PERMITTED)] if column == 0 else []),
    ]
    for numbers in _DENIED.values():
        program += _refuse(numbers[column], _NOT_PERMITTED)
    # The C library then takes clone(2), whose flags this filter can see.
    program += _refuse(_CLONE3[column], _NOT_THERE)
    program += _when(_CLONE[column], _FIRST, [_step(_JUMP_SET, _NEW_NAMESPACES, otherwise=1), _no(_NOT_PERMITTED)])
    asked = [step for each in _TERMINAL_INPUT for step in _refuse(each, _NOT_PERMITTED)]
    program += _when(_IOCTL[column], _SECOND, asked)
    # Without namespaces a server could lower the limits of the gateway. Its own process is 0.
    program += _when(_SET_LIMIT[column], _FIRST, [_step(_JUMP_EQUAL, 0, then=1), _no(_NOT_PERMITTED)])
    families = [step for each in _FAMILIES[sockets] for step in (_step(_JUMP_EQUAL, each, otherwise=1), _yes())]
    program += _when(_SOCKET[column], _FIRST, [*families, _no(_NO_FAMILY)])
    return b"".join([*program, _yes()])


def _refuse(value: int, error: int) -> list[bytes]:
    """Refuse if the loaded word is a value."""
    return [_step(_JUMP_EQUAL, value, otherwise=1), _no(error)]


def _when(number: int, offset: int, steps: list[bytes]) -> list[bytes]:
    """Take steps with an argument of one call, then allow the call."""
    body = [_step(_LOAD, offset), *steps, _yes()]
    return [_step(_JUMP_EQUAL, number, otherwise=len(body)), *body]


def _yes() -> bytes:
    return _step(_RETURN, _ALLOW)


def _no(error: int) -> bytes:
    return _step(_RETURN, _REFUSE | error)


def _step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """Return one instruction of the packet filter."""
    return struct.pack("<HBBI", code, then, otherwise, value)
