from __future__ import annotations

import subprocess
import sys

SLOW_TO_LOAD = ("asyncio", "httptools", "httpx2", "mcp", "regorus", "structlog", "uvicorn")
"""None of them makes a token, and each would be waited for."""


def test_making_a_token_loads_nothing_that_only_a_gateway_needs():
    script = (
        "import sys, gateway.cli, gateway.config\n"
        "from gateway.identity import development\n"
        f"print(*(name for name in {SLOW_TO_LOAD!r} if name in sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == []
