"""Take the screenshots of docs/console.md: `python tools/console_shots.py`. It needs Chromium, and Playwright of the tests.

With a folder as argument it saves all pages there, to be looked at.

It starts the gateway of `opagate up`, lets an agent make calls, and opens each page in a window of 390 and of 1600 pixels, light and dark.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
from playwright.sync_api import Browser, Page, sync_playwright

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs/console"
CHROMIUM: Final = "/usr/bin/chromium"
PORT: Final = 18_473
CALLS: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("files", "read_file", {"path": "README.md"}),
    ("tickets", "search_tickets", {"query": "checkout"}),
    ("tickets", "read_ticket", {"ticket": "T-1002"}),
    ("tickets", "comment_ticket", {"ticket": "T-1002", "comment": "Thank you. We are looking into it."}),
    ("tickets", "export_customers", {}),
    ("mail", "send_message", {"to": ["diagnostics@example.net"], "subject": "T-1002", "body": "Here it is."}),
    ("files", "write_file", {"path": "reports/checkout.md", "content": "# Checkout"}),
    ("files", "read_file", {"path": ".env"}),
    ("mail", "send_message", {"to": ["jana@example.com"], "subject": "Checkout", "body": "Two tickets are open."}),
)
DOCUMENTED: Final = ("approval-1600-light", "decision-1600-light", "task-1600-dark")
"""The screenshots in the documentation."""
HELD: Final[tuple[str, str, dict[str, Any]]] = ("files", "delete_file", {"path": "reports/checkout.md"})


@contextmanager
def running(folder: Path) -> Generator[str]:
    """Run `opagate up`, and give the text that it prints."""
    log = folder / "up.log"
    command = [sys.executable, "-m", "gateway", "up", "--port", str(PORT), "--state", str(folder / "state")]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while "Try first" not in log.read_text("utf-8"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"opagate up did not start:\n{log.read_text('utf-8')}")
            time.sleep(0.1)
        yield log.read_text("utf-8")
    finally:
        process.terminate()
        process.wait()


def call(bearer: str, upstream: str, tool: str, arguments: dict[str, Any]) -> None:
    """Make a call as the agent."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"authorization": f"Bearer {bearer}", "accept": "application/json, text/event-stream"}
    httpx2.post(f"http://127.0.0.1:{PORT}/mcp/{upstream}", json=body, headers=headers, timeout=60, trust_env=False)


def log_in(page: Page, link: str) -> None:
    """Log in by a one-time link."""
    page.goto(link)
    page.get_by_role("button").click()
    page.wait_for_url("**/console")


def shoot(browser: Browser, cookies: list[Any], folder: Path, pages: dict[str, str]) -> None:
    """Save each page at each width, light and dark."""
    for width, height in ((1600, 1000), (390, 844)):
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            context.add_cookies(cookies)
            page = context.new_page()
            for name, path in pages.items():
                page.goto(f"http://127.0.0.1:{PORT}{path}")
                page.wait_for_timeout(300)
                shot = f"{name}-{width}-{scheme}"
                if folder != DOCS or shot in DOCUMENTED:
                    page.screenshot(path=folder / f"{shot}.png", full_page=True)
            context.close()


def find_pages(page: Page) -> dict[str, str]:
    """Return the pages to save, by name."""
    page.goto(f"http://127.0.0.1:{PORT}/console/approvals")
    question = page.locator("#questions td a").first.get_attribute("href") or ""
    found = {"overview": "/console", "approvals": "/console/approvals", "approval": question}
    page.goto(f"http://127.0.0.1:{PORT}/console/decisions?effect=deny")
    found |= {
        "decisions": "/console/decisions",
        "tasks": "/console/tasks",
        "agents": "/console/agents",
        "users": "/console/users",
        "search": "/console/search?q=files",
        "tools": "/console/tools",
        "leases": "/console/leases",
        "policy": "/console/policy",
    }
    found["decision"] = page.locator("#decisions td a").first.get_attribute("href") or ""
    found["task"] = page.locator("#decisions td a[aria-label]").first.get_attribute("href") or ""
    return found


def main(folder: Path) -> None:
    """Take all screenshots."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as state, running(Path(state)) as printed, sync_playwright() as playwright:
        clients = json.loads((Path(state) / "state/mcp.json").read_text("utf-8"))
        bearer = clients["mcpServers"]["files"]["headers"]["Authorization"].removeprefix("Bearer ")
        for upstream, tool, arguments in CALLS:
            call(bearer, upstream, tool, arguments)
        threading.Thread(target=call, args=(bearer, *HELD), daemon=True).start()
        link = re.search(r"http://\S+/console/login/link\?token=\S+", printed)
        if link is None:
            raise SystemExit("opagate up printed no link to the console")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context()
        page = context.new_page()
        log_in(page, link[0])
        page.goto(f"http://127.0.0.1:{PORT}/console/approvals")
        page.wait_for_selector("#questions td a", timeout=30_000)
        shoot(browser, context.cookies(), folder, find_pages(page))
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
