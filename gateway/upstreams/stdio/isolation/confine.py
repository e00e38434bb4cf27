"""Launcher of one isolated server: it limits itself, gives up rights, and becomes the server.

Run as a program of its own, with the standard library alone: `confine.py OPTION VALUE… -- COMMAND…`. Inside a sandbox the
gateway's Python runs it before the server's first instruction. `read PATH`, `write PATH` and `port N` are for Landlock, and
`filter HEX` is for seccomp. `list PATH` permits to list folders, also below (Landlock). `limit NAME:N` limits a resource. `beside N` permits N processes beside the account's present
ones. `most N` bounds the processes of a namespace. `user UID:GID` changes the account. `tied yes` ends with the parent.
`set NAME=VALUE` sets a variable of the server alone.
"""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import struct
import sys

# Each start of a server waits for these imports: typing, signal and contextlib would double them.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

UNKNOWN_COMMAND: Final = 127

_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""System calls of Landlock, with the same numbers on all processors."""
_ASK_VERSION: Final = 1
_BENEATH, _PORT = 1, 2
_SET_DEATH_SIGNAL, _SET_FILTER, _NO_NEW_PRIVILEGES = 1, 22, 38
_FILTER_MODE: Final = 2
_RESERVED_NUMBERS: Final = 300
_CAPABILITY_VERSION: Final = 0x20080522
_KILL, _PIPE, _TERMINATE, _FILE_SIZE = 9, 13, 15, 25
"""Signals."""
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER = 1, 2, 4, 8
_DEVICES: Final = 1 << 6 | 1 << 11
"""Making of character and block devices. No server may do that anywhere."""
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_KNOWN_BITS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
"""Version of Landlock → number of rights on files; later versions have 16."""
_ON_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL
_CONNECT: Final = 2
_PORTS_SINCE, _SCOPES_SINCE = 4, 6
_ALL_SCOPES: Final = 3
"""Abstract Unix sockets, and signals, to processes outside."""
_LIMITS: Final = {
    "memory": resource.RLIMIT_DATA,
    "processes": resource.RLIMIT_NPROC,
    "files": resource.RLIMIT_NOFILE,
}


class _Filter(ctypes.Structure):
    """A program of seccomp, as the kernel takes it."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def main(arguments: list[str]) -> int:
    end = arguments.index("--")
    options: dict[str, list[str]] = {}
    for name, value in zip(arguments[0:end:2], arguments[1:end:2], strict=True):
        options.setdefault(name, []).append(value)
    command = arguments[end + 1 :]
    # Behind the fence Python can import nothing more, and its own search of a program would.
    program = find_program(command[0])
    confine(options)
    for each in options.get("set", []):
        name, _, value = each.partition("=")
        os.environ[name] = value
    try:
        os.execv(program, command)  # noqa: S606 - the configured command, without a shell
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    return UNKNOWN_COMMAND


def find_program(name: str) -> str:
    """Return the path of a program in the folders of `PATH`."""
    folders = [] if "/" in name else os.environ.get("PATH", os.defpath).split(":")
    found = (f"{folder}/{name}" for folder in folders)
    return next((path for path in found if os.path.isfile(path) and os.access(path, os.X_OK)), name)  # noqa: PTH113 - no path objects here


def confine(options: dict[str, list[str]]) -> None:
    """Limit this process and its later children. Raise `OSError` if any part fails: the server then never runs."""
    for number in (_PIPE, _TERMINATE, _FILE_SIZE):
        _LIBRARY.signal(number, None)
    for number in options.get("most", []):
        bound_processes(int(number))
    limit(options.get("limit", []), options.get("beside", []))
    for user in options.get("user", []):
        become(*map(int, user.split(":")))
    control(_NO_NEW_PRIVILEGES, 1)
    drop_capabilities()
    if "tied" in options:
        control(_SET_DEATH_SIGNAL, _KILL)
    if "read" in options:
        fence(options)
    for program in options.get("filter", []):
        install(bytes.fromhex(program))


def limit(limits: list[str], beside: list[str]) -> None:
    """Set the limits of resources, for good."""
    wanted = {"core": (resource.RLIMIT_CORE, 0)}
    for each in limits:
        name, _, value = each.partition(":")
        wanted[name] = (_LIMITS[name], int(value))
    for value in beside:
        wanted["processes"] = (resource.RLIMIT_NPROC, int(value) + count_tasks(os.getuid()))
    for kind, value in wanted.values():
        _, highest = resource.getrlimit(kind)
        chosen = value if highest == resource.RLIM_INFINITY else min(value, highest)
        resource.setrlimit(kind, (chosen, chosen))


def bound_processes(most: int) -> None:
    """Bound the numbers of processes in this PID namespace: root's account has no other limit (Linux 6.14)."""
    place = b"/tmp"
    _require(_LIBRARY.mount(b"proc", place, b"proc", 0, None))
    try:
        descriptor = os.open(place + b"/sys/kernel/pid_max", os.O_WRONLY)
        # After the first round the kernel gives out no number below this again.
        os.write(descriptor, str(_RESERVED_NUMBERS + most).encode())
        os.close(descriptor)
    finally:
        _require(_LIBRARY.umount2(place, 0))


def count_tasks(user: int) -> int:
    """Return the number of threads of an account."""
    found = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - no path objects before the start of a server
        try:
            if name.isdecimal() and os.stat(f"/proc/{name}").st_uid == user:  # noqa: PTH116
                found += len(os.listdir(f"/proc/{name}/task"))  # noqa: PTH208
        except OSError:
            continue  # It has ended.
    return found


def become(user: int, group: int) -> None:
    """Take another account, without a way back."""
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


# --- the kernel ----------------------------------------------------------------------------------------

_LIBRARY: Final = ctypes.CDLL(None, use_errno=True)


def control(option: int, value: int) -> None:
    _require(_LIBRARY.prctl(option, value, 0, 0, 0))


def call(number: int, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call without a function of its own."""
    given = [each if each is None or isinstance(each, ctypes.Array) else ctypes.c_long(each) for each in arguments]
    return _LIBRARY.syscall(ctypes.c_long(number), *given)


def drop_capabilities() -> None:
    """Give up all capabilities. Without new privileges, root's account gets none back from a program."""
    head = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION, 0), 8)
    _require(_LIBRARY.capset(head, ctypes.create_string_buffer(24)))


def find_version() -> int:
    """Return the version of Landlock, 0 without Landlock."""
    return max(0, call(_CREATE, None, 0, _ASK_VERSION))


def fence(options: dict[str, list[str]]) -> None:
    """Deny all files but these, all signals and abstract sockets to others, and, with ports, other TCP ports."""
    version, ports = find_version(), [int(port) for port in options.get("port", [])]
    if version == 0:
        return
    rights = (1 << _KNOWN_BITS.get(version, 16)) - 1
    handled = struct.pack("<Q", rights)
    if version >= _PORTS_SINCE:
        handled += struct.pack("<Q", _CONNECT if ports else 0)
    if version >= _SCOPES_SINCE:
        handled += struct.pack("<Q", _ALL_SCOPES)
    attributes = ctypes.create_string_buffer(handled, len(handled))
    rules = _require(call(_CREATE, attributes, len(handled), 0))
    for path in options["read"]:
        allow(rules, path, rights & (_EXECUTE | _READ_FILE | _READ_FOLDER))
    for path in options.get("list", []):
        allow(rules, path, rights & _READ_FOLDER)
    for path in options.get("write", []):
        allow(rules, path, rights & ~_DEVICES)
    for port in ports:
        rule = ctypes.create_string_buffer(struct.pack("<QQ", _CONNECT, port), 16)
        _require(call(_ADD, rules, _PORT, rule, 0))
    _require(call(_RESTRICT, rules, 0))
    os.close(rules)


def allow(rules: int, path: str, rights: int) -> None:
    """Allow rights on a file, or below a folder. A missing path is no right."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= _ON_FILES
    rule = ctypes.create_string_buffer(struct.pack("<Qi", rights, descriptor), 12)
    _require(call(_ADD, rules, _BENEATH, rule, 0))
    os.close(descriptor)


def install(program: bytes) -> None:
    """Install a filter of system calls."""
    wanted = _Filter(len(program) // 8, program)
    _require(_LIBRARY.prctl(_SET_FILTER, _FILTER_MODE, ctypes.byref(wanted), 0, 0))


def _require(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
