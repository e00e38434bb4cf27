"""The start of a program that ends with the gateway, as a script: `python -I -S program_process.py PROGRAM ARGUMENT…`.

Linux kills the program once the thread of the gateway that waits for it is gone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
"""From prctl(2)."""
CANNOT_RUN: Final = 127
"""The exit status if the program cannot be started, as shells have it. The reason is on standard error."""


def main() -> None:
    """Become the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - a program of the operator, without a shell
    except OSError as error:
        sys.stderr.write(str(error.strerror))
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
