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


def main() -> None:
    """Become the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - a program of the operator, without a shell


if __name__ == "__main__":
    main()
