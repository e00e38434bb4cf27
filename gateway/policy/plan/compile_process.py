"""The process that compiles a plan: it reads the plan from standard input, and writes code or a problem.

Compiling takes half a second and 100 MB, so a process of its own does it.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
from types import CodeType
from typing import Final

from gateway.model.errors import PolicyBroken
from gateway.policy.plan import generator, intermediate
from gateway.policy.plan.program import FILE

CODE: Final = b"code\n"
PROBLEM: Final = b"problem\n"
_NICENESS: Final = 5


def compile_plan(plan: bytes) -> CodeType:
    """Return the code of a plan. Raise `PolicyBroken`."""
    written = generator.module(intermediate.read_plan(plan))
    try:
        return compile(written, FILE, "exec", dont_inherit=True, optimize=2)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise PolicyBroken(f"the policy cannot be compiled: {error}", intermediate.REMEDY) from None


def main() -> None:
    """Compile the plan on standard input."""
    os.nice(_NICENESS)
    gc.disable()  # the trees have no circles, and the collector would take a fifth of the time
    try:
        answer = CODE + marshal.dumps(compile_plan(sys.stdin.buffer.read()))
    except PolicyBroken as error:
        answer = PROBLEM + f"{error.message}\n{error.remedy}".encode()
    sys.stdout.buffer.write(answer)


if __name__ == "__main__":
    main()
