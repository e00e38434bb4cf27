"""Pieces of credentials on their way to an upstream, with every part real but the upstream; and a long day without any."""

from __future__ import annotations

import asyncio
import logging
import string
from collections.abc import Iterator, Sequence
from random import Random

import pytest

from benchmarks.credentials.corpus import negatives
from benchmarks.credentials.examples import example
from gateway.base.json.walk import leaves
from gateway.history.exposure import Exposures
from gateway.history.fold import apply
from gateway.history.new_events import touch_of
from gateway.history.state import TaskState
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.origins import KnownOrigins, complete_content
from gateway.model.call import Call
from gateway.model.caller import Credentials, Principal
from gateway.model.content import CallContent, Sighting
from gateway.model.target import Target
from gateway.model.task import Task
from tests.requirements import requirement
from tests.unit.harness import URL, Bench, Held, bench, call, message
from tests.unit.history.made_events import make_exposed

FIGURES = logging.getLogger("figures")
KEY = "k7Qz-93mW-2tRx-8bLn"
FIRST, SECOND = KEY[:9], KEY[9:]
THERE = ["credential-chain/presentation", "approval/unavailable"]
OUTSIDE = ["credential-chain/outside-arguments"]


async def shown(there: Bench) -> None:
    """Another system has shown the caller a password."""
    found = await there.gateway.identities.identify(Credentials("POST", URL), "127.0.0.1")
    assert isinstance(found, Principal)
    of = there.gateway.inspector.detector.fingerprints
    there.gateway.credential_chain.origins.note(found.job, "t", "crm", of.of(KEY), of.shingles(KEY))


@requirement("history/credentials", "invariant/9")
async def test_the_second_half_is_refused_while_the_first_is_under_way(tmp_path_factory: pytest.TempPathFactory):
    held = Held()
    async with bench(tmp_path_factory.mktemp("held"), held) as there:
        await shown(there)
        first = asyncio.create_task(there.ask(call(text=FIRST)))
        await held.arrived.wait()
        second, third = await asyncio.gather(
            there.ask(call(text=SECOND)), there.ask(message("ping", _meta={"note": SECOND}))
        )
        held.proceed.set()
        assert (second.codes, third.codes) == (THERE, OUTSIDE)
        assert "isError" not in (await first).json["result"]
        assert len(held.sent) == 1


@requirement("history/credentials", "invariant/9")
async def test_of_two_halves_at_once_one_arrives_at_most(there: Bench):
    await shown(there)
    bodies = [
        call(text=FIRST),
        call(text=SECOND),
        message("ping", _meta={"a": FIRST}),
        message("ping", _meta={"a": SECOND}),
    ]
    await asyncio.gather(*map(there.ask, bodies * 3))
    sent = b"".join(request.message.body for request in there.upstream.sent if request.message is not None)
    assert not (FIRST.encode() in sent and SECOND.encode() in sent)


@requirement("history/elsewhere", "invariant/7", "invariant/8")
async def test_a_piece_beside_arguments_is_on_record_before_it_is_sent(there: Bench):
    await shown(there)
    recorded: list[int] = []
    there.upstream.on_send = lambda _: recorded.append(len(there.entries("exposed")))
    assert (await there.ask(message("ping", _meta={"a": FIRST}))).status == 200
    assert (await there.ask(None, (b"x-note", SECOND.encode()))).codes == OUTSIDE
    assert (await there.ask(call(text="so"), (b"x-note", SECOND.encode()))).codes == OUTSIDE
    assert (await there.ask(call(text=SECOND))).codes == THERE
    assert (recorded, len(there.entries("exposed"))) == ([1], 1)
    assert not any(part in str(there.entries("exposed")) for part in (FIRST, SECOND))


async def test_pieces_of_an_unknown_task_are_refused(there: Bench):
    await shown(there)
    answer = await there.ask(message("ping", _meta={"a": FIRST}), (b"opagate-task", b"nobody's"))
    assert answer.codes == ["task/unknown"]
    assert there.upstream.sent == []


@requirement("invariant/8")
async def test_arguments_with_a_piece_are_recorded_as_a_digest(tmp_path_factory: pytest.TempPathFactory):
    async with bench(tmp_path_factory.mktemp("full"), more="journal: {arguments: full}\n") as there:
        await shown(there)
        await there.ask(call(text="nothing of note"))
        await there.ask(call(text=FIRST))
        modes = [entry["arguments"]["mode"] for entry in there.entries("call")]
        assert modes == ["full", "digest"]


# --- a long day ----------------------------------------------------------------------------------------

KEYED = Fingerprints(b"k" * 32)
DETECTOR = Detector(ruleset.load(), KEYED)
BILLING = Target("tool", "billing", "use", "billing")
NAMES = [
    "Northwind",
    "production",
    "the orders service",
    "kubernetes",
    "eu-west-1",
    "corp-sql.database.windows.net",
    "app_orders",
    "Initial Catalog",
    "Persist Security Info=False",
    "Encrypt=True",
    "tcp:corp-sql",
    "core.windows.net",
    "corpreports",
    "DefaultEndpointsProtocol=https",
    "AccountName",
    "EndpointSuffix=core.windows.net",
    "https://hooks.slack.com/services",
    "T024BE7LD",
    "B04KXYZ12",
    "discord.com/api/webhooks",
    "118273645537284",
    "db.corp.example:5432/orders",
    "correct",
    "horse",
    "battery",
    "staple",
    "staple the pages",
    "118273645537",
    "4471928374652",
    "1182736455",
    "user=ada",
    "theme=dark",
    "orders-service",
    "orders-db",
    "acme.corp.example/api/v2",
    "ghp_",
    "glpat-",
    "sk_live_",
    "xoxb-",
    "AKIA",
    "Bearer",
]
"""Words, names of hosts, identifiers and prefixes that stand in credentials too."""


def random_text(chance: Random, size: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(chance.choices(letters, k=size))


def credentials(chance: Random) -> list[str]:
    """Those that a caller may have been shown: of each format, passwords, numbers, and texts with a secret in them."""
    made = [example(rule.example, Random(rule.id)) for rule in DETECTOR.ruleset.rules if "{" in rule.example]
    made += [random_text(chance, 10 + number % 15) for number in range(60)]
    made += [random_text(chance, 24 + number % 40, "0123456789abcdef") for number in range(40)]
    made += [random_text(chance, 12 + number % 12, string.digits) for number in range(20)]
    server = "Server=tcp:corp-sql.database.windows.net,1433;Initial Catalog=orders;Persist Security Info=False"
    account = "DefaultEndpointsProtocol=https;EndpointSuffix=core.windows.net;AccountName=corpreports"
    return [
        *made,
        f"{server};User ID=app_orders;Password=x8Kd9-Qw2Lm;Encrypt=True",
        f"{account};AccountKey={random_text(chance, 86)}==",
        f"https://hooks.slack.com/services/T024BE7LD/B04KXYZ12/{random_text(chance, 24)}",
        f"https://discord.com/api/webhooks/118273645537284/{random_text(chance, 68)}",
        f"xoxb-118273645537-4471928374652-{random_text(chance, 24)}",
        f"1182736455:AAE{random_text(chance, 32)}",
        f"session=abc; user=ada; path=/; theme=dark; id={random_text(chance, 20)}",
        f"acme.corp.example/api/v2/token/{random_text(chance, 12)}",
        "correct-horse-battery-staple",
        "orders-service-2f9a-kq71",
    ]


def texts(chance: Random, count: int) -> Iterator[str]:
    """What an agent says to a system in a day: texts full of identifiers, with names that come again and again."""
    pool = [text for _, text in negatives(chance, count // 16)]
    for number in range(count):
        told = chance.choice(pool) if number % 2 else pool[number % len(pool)]
        yield f"{told[:600]} see {chance.choice(NAMES)} and {chance.choice(NAMES)}: {told[600:1200]}"


class Mine:
    """A task of ada's job."""

    job = "ada"

    def __init__(self, task: str = "t") -> None:
        self.task = Task(task, "implicit", 0.0)


def completed(values: Sequence[str], said: Iterator[str]) -> tuple[list[str], int]:
    """The credentials that one system seems to have got in the end, and how many grams were counted."""
    known = {KEYED.of(value): value for value in values}
    index = CredentialIndex({name: KEYED.shingles(value) for name, value in known.items()})
    exposures, state, found = Exposures(), TaskState(), list[str]()
    for text in said:
        pieces = DETECTOR.inspect({"text": text}, {}, index, new=False).pieces
        content = CallContent(pieces=tuple(piece._replace(shown_by="crm") for piece in pieces))
        content = exposures.complete(Mine(), state, BILLING, content)
        found += [known[item.fingerprint] for item in content.sightings]
        apply(state, make_exposed(touch_of(BILLING), content.exposed))
    return found, sum(map(len, state.exposed.values()))


@requirement("history/credentials")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_long_day_of_honest_work_adds_up_to_no_credential(seed: int):
    chance = Random(seed)
    values = credentials(chance)
    found, counted = completed(values, texts(chance, 1_500))
    FIGURES.info("1,500 calls, %d credentials known: %d completed, %d grams counted", len(values), len(found), counted)
    assert found == []


@requirement("history/credentials")
def test_fifty_agents_of_one_user_meet_no_credential_of_each_other_by_chance():
    chance, known, exposures, found = Random(4), KnownOrigins(), Exposures(), list[Sighting]()
    values = credentials(chance)
    tasks = [f"agent-{number}" for number in range(50)]
    for number, value in enumerate(values):
        known.note("ada", tasks[number % 50], "crm", KEYED.of(value), KEYED.shingles(value))
    shown, states = known.of("ada"), {task: TaskState() for task in tasks}
    assert shown is not None
    for number, text in enumerate(texts(chance, 1_000)):
        task = tasks[number % 50]
        asked = Call("tools/call", BILLING, {"text": text})
        content = complete_content(CallContent(), asked, shown, task, DETECTOR, walked=leaves(asked.arguments))
        content = exposures.complete(Mine(task), states[task], BILLING, content)
        event = make_exposed(touch_of(BILLING), content.exposed)
        exposures.follow("ada", task, apply(states[task], event), event)
        found += content.sightings
    FIGURES.info("1,000 calls of 50 agents, %d credentials known: %d found", len(values), len(found))
    assert found == []


def test_the_same_day_with_pieces_among_the_work_adds_up():
    chance = Random(3)
    values = credentials(chance)
    pieces = [KEY[at : at + 9] for at in (0, 9)]
    said = [*texts(chance, 100), pieces[0], *texts(chance, 100), f"so {pieces[1]}", *texts(chance, 100)]
    assert completed([*values, KEY], iter(said))[0] == [KEY]
