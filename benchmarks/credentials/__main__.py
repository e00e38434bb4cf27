"""`python -m benchmarks.credentials`: recall, false alarms and milliseconds a text of 4 KB, beside other detectors.

One corpus, generated from a seed: every rule's value in six contexts, sixteen kinds of texts without a credential, and
passwords of twenty generators.
`--write` puts the table into docs/credentials.md. About three minutes, most of them the peers'.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.credentials.corpus import BENIGN, CONTEXTS, Positive, negatives, positives, prose
from benchmarks.credentials.passwords import GENERATORS, rates
from benchmarks.credentials.peers import PEERS, run
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.stream import Scanner

PAGE = Path(__file__).resolve().parents[2] / "docs/credentials.md"
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"
SEED = 20_261_125
EACH_PASSWORD = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    found: list[bool]
    clean: float
    dirty: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.credentials", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/credentials.md")
    parser.add_argument("--each", type=int, default=60, help="texts of each kind without a credential")
    parser.add_argument("--alone", action="store_true", help="without the peers")
    options = parser.parse_args()
    random = Random(SEED)
    rules = ruleset.load()
    detector = Detector(rules, Fingerprints(random.randbytes(32)))
    good = list(positives(rules, random))
    bad = list(negatives(random, options.each))
    texts = [item.text for item in good] + [text for _, text in bad]
    clean, dirty = _page(random), _page(random, good[0].value)
    rows = [_ours(detector, texts, clean, dirty)]
    notes: list[str] = []
    for peer in () if options.alone else PEERS:
        answer = run(peer, texts, [clean, dirty])
        if isinstance(answer, str):
            notes.append(f"{peer.package} {answer}.")
        else:
            found, ms = answer
            rows.append(Row(f"{peer.package.replace('==', ' ')} ({peer.how})", found, median(ms[:20]), median(ms[20:])))
    large = _large(detector, random)
    report = f"{_report(rows, good, bad, notes, large)}\n\n{_passwords(detector)}"
    print(report)
    if options.write:
        page = PAGE.read_text("utf-8")
        PAGE.write_text(
            re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{report}\n{END}", page, flags=re.DOTALL), "utf-8"
        )


def _page(random: Random, value: str = "") -> str:
    """About 4 KB of prose, with one credential in the middle or none."""
    text = "\n".join(prose(random) for _ in range(12))[:4096]
    return f"{text[:2048]} {value} {text[2048:]}"[:4096] if value else text


def _ours(detector: Detector, texts: list[str], clean: str, dirty: str) -> Row:
    found = [bool(detector.inspect({"text": text}, {}).findings) for text in texts]
    return Row(
        "opagate, in every decoding",
        found,
        _ms(lambda: detector.inspect({"text": clean}, {})),
        _ms(lambda: detector.inspect({"text": dirty}, {})),
    )


def _ms(call: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(200):
        begun = time.perf_counter()
        call()
        times.append((time.perf_counter() - begun) * 1_000)
    return median(times)


def _large(detector: Detector, random: Random) -> str:
    """How the parts alone do: the text as it stands, the stream, and the false alarms of a much larger set."""
    page = _page(random).encode()
    as_is = _ms(lambda: detector.hits(page)) * 1_000
    result = b'{"content":[{"type":"text","text":"' + b" ".join(
        _page(random).encode().replace(b"\n", b"\\n") for _ in range(2_440)
    )
    begun = time.perf_counter()
    scanner = Scanner(detector)
    for at in range(0, len(result), 65_536):
        scanner.feed(result[at : at + 65_536])
    scanner.finish()
    speed = len(result) / (time.perf_counter() - begun) / 1e6
    alarms = Counter(kind for kind, text in negatives(random, 1_000) if detector.inspect({"text": text}, {}).findings)
    kinds = ", ".join(f"{kind} {count}" for kind, count in alarms.items()) or "none"
    return (
        f"4 KB as it stands, no decoding: {as_is:.0f} µs. A result of {len(result) / 1e6:.0f} MB in chunks of 64 KB: "
        f"{speed:.0f} MB/s. False alarms among {1_000 * len(BENIGN):,} texts without a credential, in every decoding: "
        f"{sum(alarms.values())} ({kinds})."
    )


def _passwords(detector: Detector) -> str:
    """Return the table of generated passwords: how many are found, and how many of these are known again elsewhere."""
    lines = [
        (
            f"Passwords of {len(GENERATORS)} generators, {EACH_PASSWORD:,} of each. *Elsewhere*: of those found in JSON, known again from a "
            "new task or token of the same caller, and in headers."
        ),
        "",
        '| generator | found in `"password": …` | found in `the password is …` | known again elsewhere |',
        "|---|---|---|---|",
    ]
    for name, shares in rates(detector, Random(SEED), EACH_PASSWORD).items():
        lines.append(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    return "\n".join(lines)


def _report(rows: list[Row], good: list[Positive], bad: list[tuple[str, str]], notes: list[str], large: str) -> str:
    head = (
        f"Measured on {dt.datetime.now(dt.UTC).date()}: {len(good):,} texts with a credential ({len({item.rule for item in good})} formats "
        f"in {len(CONTEXTS)} contexts), {len(bad):,} without ({len(BENIGN)} kinds). Milliseconds: median of one call on 4 KB."
    )
    lines = [
        head,
        "",
        "| detector | recall | false alarms | ms, clean | ms, with one |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        recall = sum(row.found[: len(good)]) / len(good)
        alarms = sum(row.found[len(good) :])
        lines.append(f"| {row.name} | {recall:.1%} | {alarms / len(bad):.1%} | {row.clean:.3f} | {row.dirty:.3f} |")
    lines += [
        "",
        "Recall by context, and the kinds of texts that gave false alarms:",
        "",
        f"| detector | {' | '.join(CONTEXTS)} | false alarms |",
        "|---" * (len(CONTEXTS) + 2) + "|",
    ]
    for row in rows:
        shares = [
            sum(hit for hit, item in zip(row.found, good, strict=False) if item.context == context)
            / sum(item.context == context for item in good)
            for context in CONTEXTS
        ]
        alarms = Counter(kind for hit, (kind, _) in zip(row.found[len(good) :], bad, strict=True) if hit)
        kinds = ", ".join(f"{kind} {count}" for kind, count in alarms.most_common()) or "none"
        lines.append(f"| {row.name.partition(' (')[0]} | {' | '.join(f'{share:.1%}' for share in shares)} | {kinds} |")
    return "\n".join([*lines, "", large, *notes])


if __name__ == "__main__":
    main()
