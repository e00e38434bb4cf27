"""The table and the picture of one run."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from benchmarks.gateway.load import Load, Sample


@dataclass(frozen=True, slots=True)
class Measured:
    """One target under one load in one round."""

    target: str
    load: Load
    sample: Sample
    cpu_seconds: float

    @property
    def calls(self) -> int:
        return len(self.sample.latencies)

    @property
    def per_second(self) -> float:
        return self.calls / self.sample.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.calls / self.cpu_seconds if self.cpu_seconds else 0.0


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(measured: list[Measured], baseline: str = "direct") -> str:
    """One row a target and load; medians over the rounds, added latency paired round by round."""
    lines = [
        "| target | connections | calls/s | calls/s per core | p50 ms | p99 ms | added p50 ms |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for target in dict.fromkeys(item.target for item in measured):
        for load in dict.fromkeys(item.load for item in measured):
            runs = _runs(measured, target, load)
            base = _runs(measured, baseline, load)
            p50 = [percentile(run.sample.latencies, 0.5) for run in runs]
            p99 = [percentile(run.sample.latencies, 0.99) for run in runs]
            added = [mine - percentile(other.sample.latencies, 0.5) for mine, other in zip(p50, base, strict=True)]
            lines.append(
                f"| {target} | {load} | {statistics.median(r.per_second for r in runs):,.0f} "
                f"| {statistics.median(r.per_cpu_second for r in runs):,.0f} | {statistics.median(p50) * 1000:.2f} "
                f"| {statistics.median(p99) * 1000:.2f} "
                f"| {'–' if target == baseline else f'{statistics.median(added) * 1000:.2f}'} |"
            )
    return "\n".join(lines)


def ratios(measured: list[Measured], mine: str, peers: tuple[str, ...], load: Load) -> str:
    """Calls per second and core of `mine` over each peer's, round by round."""
    lines: list[str] = []
    for peer in peers:
        theirs = _runs(measured, peer, load)
        if theirs:
            pairs = zip(_runs(measured, mine, load), theirs, strict=True)
            quotients = [a.per_cpu_second / b.per_cpu_second for a, b in pairs]
            lines.append(
                f"{mine} / {peer} at {load} connections: {statistics.median(quotients):.2f}"
                f" (from {min(quotients):.2f} to {max(quotients):.2f})"
            )
    return "\n".join(lines)


def cost_between(measured: list[Measured], mine: str, without: str, load: Load) -> str:
    """Return the CPU time that a call of `mine` costs more than a call of `without`, round by round."""
    pairs = zip(_runs(measured, mine, load), _runs(measured, without, load), strict=False)
    costs = [(1 / a.per_cpu_second - 1 / b.per_cpu_second) * 1_000_000 for a, b in pairs]
    if not costs:
        return ""
    found = f"{statistics.median(costs):.0f} µs (from {min(costs):.0f} to {max(costs):.0f})"
    return f"A decision in its place ({mine} without {without}) at {load} connections: {found}"


def _runs(measured: list[Measured], target: str, load: Load) -> list[Measured]:
    return [item for item in measured if item.target == target and item.load == load]


COLOURS = ("#64748b", "#a855f7", "#0d9488", "#2563eb", "#d97706", "#dc2626")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 760, 360, 60, 50, 50


def picture(measured: list[Measured], load: Load) -> str:
    """An SVG of the latency distribution: the share of calls (up to 99.9 %) answered within a time (logarithmic)."""
    series = {
        target: [t for run in _runs(measured, target, load) for t in run.sample.latencies]
        for target in dict.fromkeys(item.target for item in measured)
    }
    low = min(percentile(values, 0.001) for values in series.values()) * 1000
    high = max(percentile(values, 0.999) for values in series.values()) * 1000
    many = f"{load} connection{'' if load == Load(1) else 's'}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">Share of calls answered within a time, {many}</text>',
        *_axes(low, high),
    ]
    for index, (target, values) in enumerate(series.items()):
        points = " ".join(_point(share, percentile(values, share) * 1000, low, high) for share in _shares())
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<rect x="{WIDTH - 190}" y="{TOP + 150 + index * 18}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - 172}" y="{TOP + 160 + index * 18}">{target}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _shares() -> list[float]:
    return [step / 200 for step in range(200)] + [0.999]


def _x(milliseconds: float, low: float, high: float) -> float:
    span = math.log10(high / low) or 1.0
    return LEFT + (WIDTH - LEFT - 20) * math.log10(max(milliseconds, low) / low) / span


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def _point(share: float, milliseconds: float, low: float, high: float) -> str:
    return f"{_x(min(milliseconds, high), low, high):.1f},{_y(share):.1f}"


def _axes(low: float, high: float) -> list[str]:
    parts: list[str] = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<line x1="{LEFT}" y1="{_y(share)}" x2="{WIDTH - 20}" y2="{_y(share)}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{_y(share) + 4}" text-anchor="end">{share:.0%}</text>')
    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if low <= tick <= high:
            x = _x(tick, low, high)
            parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#e2e8f0"/>')
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g} ms</text>')
    return parts
