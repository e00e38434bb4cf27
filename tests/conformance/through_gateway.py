"""`tests.conformance.client` with a gateway in between, which this starts before the server that it is given.

Run: `python -m tests.conformance.through_gateway FOLDER URL`. The configuration and the log stay in FOLDER.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.conformance.client import run
from tests.gateway_process import gateway_process, open_config, open_policy


async def main(folder: Path, url: str) -> None:
    config = open_config(open_policy(folder), {"server": url})
    async with gateway_process(config, folder, by_command=True) as gateway:
        await run(gateway.mcp("server"))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
