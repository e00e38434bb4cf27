"""Votes signed by a passkey of Chromium's virtual authenticator, and the same votes verified from the journal."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from gateway.authority.approvals.signed_votes import SignedVotes
from gateway.model.errors import GatewayError
from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.wire import entries
from tests.gateway_process import free_port, gateway_process
from tests.interaction.console.browsing import CHROMIUM, LONG, There, assert_accessible, settings
from tests.servers.serving import ROOT, ServerProcess

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")

GRANTS = """
upstreams:
  echo:
    - {id: all, agents: [ann], issuers: ["*"], tools: [echo], effects: [read], approval: {assurance: passkey}}
"""


@pytest.fixture
async def there(echo_server: ServerProcess, browser: Browser, tmp_path: Path) -> AsyncGenerator[There]:
    port = free_port()
    text = settings(tmp_path, echo_server, public_url=f"http://localhost:{port}")
    (tmp_path / "grants.yaml").write_text(GRANTS, "utf-8")
    async with gateway_process(text, tmp_path, port=port) as gateway:
        yield There(replace(gateway, origin=f"http://localhost:{port}"), browser)


async def ask_gateway(there: There, do: str, **fields: Any) -> Any:
    with connect_to_gateway(there.gateway.folder / "state/control.sock") as socket:
        return await asyncio.to_thread(lambda: socket.ask(do, **fields))


async def add_authenticator(page: Page, *, verifies: bool = True) -> None:
    """Give the page's browser an authenticator."""
    session: Any = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": verifies,
        "automaticPresenceSimulation": True,
    }
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


async def register(there: There, page: Page) -> None:
    invited = await ask_gateway(there, "passkeys/invite", person="developer", issuer="local")
    await page.goto(f"{there.gateway.origin}/console/passkeys")
    await page.get_by_label("Code of the invitation").fill(invited["code"])
    await page.get_by_label("Name of the passkey").fill("laptop")
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_role("status")).to_contain_text("The passkey is registered", timeout=LONG)


async def open_question(there: There, page: Page) -> str:
    await page.goto(f"{there.gateway.origin}/console/approvals")
    await page.locator("#questions td a").first.click(timeout=LONG)
    await expect(page.get_by_role("button", name="Deny", exact=True)).to_be_visible(timeout=LONG)
    return page.url.rpartition("/")[2]


async def test_a_passkey_signs_the_vote_and_the_journal_proves_it(there: There, node_modules: Path):
    async with there.page() as page:
        await there.log_in(page)
        await add_authenticator(page)
        await register(there, page)
        axe = (node_modules / "axe-core/axe.min.js").read_text("utf-8")
        await assert_accessible(page, axe, "the page of passkeys")
        held = there.ask(text="hello")
        identifier = await open_question(there, page)

        shown = await ask_gateway(there, "approvals/show", id=identifier)
        with pytest.raises(GatewayError, match="signed with a passkey"):
            await ask_gateway(there, "approvals/vote", id=identifier, answer="approve", shown=shown["shown"])
        await page.get_by_role("button", name="Approve").click()

        assert (await held).text == "hello"
    votes = SignedVotes()
    recorded = entries(there.gateway.folder)
    for entry in recorded:
        votes.add(entry)
    assert (votes.verified, votes.problems) == (1, [])
    (vote,) = [entry["vote"] for entry in recorded if "vote" in entry]
    assert vote["person"]["assurance"] == "passkey"
    (listed,) = (await ask_gateway(there, "passkeys/list"))["passkeys"]
    assert (listed["person"], listed["count"] >= 1) == ("developer", True)
    told = await asyncio.to_thread(run, there.gateway.folder, "approvals", "verify")
    assert "1 signed vote verified, 0 problems" in told
    assert listed["id"][:12] in await asyncio.to_thread(run, there.gateway.folder, "approvals", "passkeys", "list")


def run(folder: Path, *words: str) -> str:
    """Run a command in the gateway's folder, and return what it prints."""
    command = [sys.executable, "-m", "gateway", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


async def test_a_session_without_the_passkey_answers_nothing(there: There):
    """A login that somebody took over can neither vote, nor register a passkey without an invitation."""
    async with there.page() as page:
        await there.log_in(page)
        await add_authenticator(page)
        held = there.ask(text="x")
        identifier = await open_question(there, page)
        await expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        await page.get_by_role("button", name="Deny", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("registered after the question was asked", timeout=LONG)

        form = page.locator("form[data-passkey]")
        csrf = await form.locator("[name=csrf]").get_attribute("value")
        shown = await form.locator("[name=shown]").get_attribute("value")
        fields = {"csrf": csrf or "", "shown": shown or "", "answer": "approve"}
        for signature in ("", "{}", json.dumps({"id": "x", "response": {}})):
            url = f"{there.gateway.origin}/console/approvals/{identifier}/vote"
            answer = await page.request.post(
                url, form={**fields, "signature": signature}, headers={"origin": there.gateway.origin}
            )
            assert answer.status == 409
            assert "vote/passkey" in await answer.text()

        await page.goto(f"{there.gateway.origin}/console/passkeys")
        await page.get_by_label("Code of the invitation").fill("0" * 30)
        await page.get_by_role("button", name="Register").click()
        await expect(page.get_by_role("alert")).to_contain_text("No invitation with this code", timeout=LONG)
        # A passkey of now signs nothing on the question that is open already.
        await register(there, page)
        await open_question(there, page)
        await expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        held.cancel()


async def test_an_authenticator_that_does_not_verify_its_person_registers_nothing(there: There):
    async with there.page() as page:
        await there.log_in(page)
        await add_authenticator(page, verifies=False)
        invited = await ask_gateway(there, "passkeys/invite", person="developer", issuer="local")
        await page.goto(f"{there.gateway.origin}/console/passkeys")
        await page.get_by_label("Code of the invitation").fill(invited["code"])
        await page.get_by_role("button", name="Register").click()
        await expect(page.get_by_role("alert")).to_contain_text("The passkey did not answer", timeout=LONG)

    assert (await ask_gateway(there, "passkeys/list"))["passkeys"] == []


async def test_a_removed_passkey_signs_no_later_vote(there: There):
    async with there.page() as page:
        await there.log_in(page)
        await add_authenticator(page)
        await register(there, page)
        held = there.ask(text="x")
        await open_question(there, page)
        (listed,) = (await ask_gateway(there, "passkeys/list"))["passkeys"]
        await ask_gateway(there, "passkeys/remove", id=listed["id"])
        await page.get_by_role("button", name="Approve").click()

        await expect(page.get_by_role("alert")).to_contain_text("was removed", timeout=LONG)
        held.cancel()
