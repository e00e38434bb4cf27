from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SCRIPT = """
from pathlib import Path
from gateway.policy import bundle
from gateway.policy.embedded import Embedded
from gateway.policy.folders import find_shipped

engine = Embedded(bundle.read_folder(find_shipped()), deadline=60.0)
print(Path("/proc/self/smaps_rollup").read_text())
"""


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(), reason="the system gives them as it likes"
)
def test_a_policy_takes_no_huge_pages_which_it_would_not_fill():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)

    fields = dict(line.split(":", 1) for line in done.stdout.splitlines()[1:] if ":" in line)
    assert fields["AnonHugePages"].split() == ["0", "kB"]
