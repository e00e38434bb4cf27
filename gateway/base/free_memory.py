"""Memory that the C library keeps for later, given back to the system.

Loading a policy and starting take some 10 MB for a moment. glibc would keep most of them.
"""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Give free memory back. Does nothing where the C library has no `malloc_trim`."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
