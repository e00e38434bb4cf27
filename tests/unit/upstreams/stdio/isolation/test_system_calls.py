"""The filter of system calls, read as the kernel reads it."""

from __future__ import annotations

import struct

import pytest

from gateway.upstreams.stdio.isolation.system_calls import Sockets, build_filter

ALLOW, REFUSE = 0x7FFF0000, 0x00050000
X86, ARM = 0xC000003E, 0xC00000B7
NEW_USER, NEW_NET, THREAD = 0x10000000, 0x40000000, 0x003D0F00


def decide(program: bytes, number: int, *arguments: int, architecture: int = X86) -> int:
    """Return the error of a system call, 0 if the filter allows it."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    shown = struct.pack("<iIQ6Q", number, architecture, 0, *padded)
    steps = list(struct.iter_unpack("<HBBI", program))
    at, loaded = 0, 0
    while True:
        code, then, otherwise, value = steps[at]
        at += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("<I", shown, value)
        elif code == 0x06:
            return 0 if value == ALLOW else value & ~REFUSE
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
            at += then if holds else otherwise


def filter_of(machine: str = "x86_64", sockets: Sockets = "all") -> bytes:
    found = build_filter(machine, sockets)
    assert found is not None
    return found


@pytest.mark.parametrize("number", [0, 1, 9, 59, 60, 202, 257, 288, 444, 445, 446, 450])
def test_ordinary_calls_pass(number: int):
    assert decide(filter_of(), number) == 0


@pytest.mark.parametrize(
    "number", [272, 308, 165, 155, 101, 310, 425, 321, 248, 250, 429, 442, 304], ids=lambda number: f"call-{number}"
)
def test_calls_of_escapes_are_refused(number: int):
    assert decide(filter_of(), number) == 1


def test_the_other_architecture_and_the_third_one_are_refused():
    assert decide(filter_of(), 0, architecture=0x40000003) == 1
    assert decide(filter_of(), 0x40000000 | 41) == 1
    assert decide(filter_of("aarch64"), 97, architecture=ARM) == 1
    assert decide(filter_of("aarch64"), 63, architecture=ARM) == 0
    assert build_filter("riscv64", "all") is None


def test_a_thread_passes_and_a_namespace_does_not():
    assert decide(filter_of(), 56, THREAD) == 0
    assert [decide(filter_of(), 56, flags) for flags in (NEW_USER, NEW_NET | THREAD)] == [1, 1]
    assert decide(filter_of(), 435) == 38, "the C library then takes the call whose flags can be seen"


def test_a_server_limits_itself_alone():
    assert [decide(filter_of(), 302, process) for process in (0, 1, 4242)] == [0, 1, 1]


def test_typing_into_a_terminal_is_refused_and_asking_for_its_size_is_not():
    assert [decide(filter_of(), 16, 0, request) for request in (0x5412, 0x541C, 0x5413)] == [1, 1, 0]


@pytest.mark.parametrize(("sockets", "open_to"), [("all", {1, 2, 10, 16}), ("network", {2, 10, 16}), ("none", {16})])
def test_sockets_have_the_families_of_the_setting(sockets: Sockets, open_to: set[int]):
    program = filter_of(sockets=sockets)

    assert {family for family in range(64) if decide(program, 41, family) == 0} == open_to
    assert decide(program, 53, 1) == 0, "a pair of sockets reaches nobody else"
