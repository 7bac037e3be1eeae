"""Plant one fault after another in a copy of the code, and see whether the tests named for it turn red.

    python tests/planted/plant.py                 # all of faults.py
    python tests/planted/plant.py control leak    # those whose name contains a word

The named tests first run on the code as it is, where all must pass. Then each fault is planted alone. It counts as
caught when a test fails; one that no test notices, that breaks the collection of tests or keeps them from ending, or
whose text no longer stands in the code exactly once, is an error.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
MOST_SECONDS = 900
FAILED = 1  # the exit status of pytest when tests ran, and some failed
LATE = -1  # no status of pytest
N_PROCESSES = max(1, min(4, os.cpu_count() or 1))


def misfit(fault: Fault, root: Path = ROOT) -> str | None:
    """Why a fault cannot be planted; None if its text stands exactly once, and the tests named exist."""
    n_found = (root / fault.file).read_text(encoding="utf-8").count(fault.stands)
    if n_found != 1:
        return f"its text stands {n_found} times in {fault.file}"
    for test in fault.tests:
        path, _, name = test.partition("::")
        if f"def {name.partition('[')[0]}(" not in (root / path).read_text(encoding="utf-8"):
            return f"there is no test {test}"
    return None


def copy_of_project(folder: Path) -> Path:
    """What the tests need, in a folder of its own."""
    for name in ("src", "tests", "pyproject.toml", "README.md", "docs", "benchmarks", "examples", "SECURITY.md"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.svg", "*.png"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder


def run_tests(root: Path, tests: Sequence[str]) -> tuple[int, str]:
    """The exit status of pytest, and the end of what it printed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(root / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return LATE, f"they did not end within {MOST_SECONDS} s"
    return done.returncode, "\n".join(done.stdout.splitlines()[-15:])


def verdict(fault: Fault) -> str | None:
    """What is wrong with a fault, or with the tests that should catch it; None if it is caught."""
    if (why := misfit(fault)) is not None:
        return why
    with tempfile.TemporaryDirectory() as folder:
        root = copy_of_project(Path(folder))
        path = root / fault.file
        path.write_text(path.read_text(encoding="utf-8").replace(fault.stands, fault.planted), encoding="utf-8")
        status, output = run_tests(root, fault.tests)
    if status == FAILED:
        return None
    return (
        f"no test notices:\n{output}" if status == 0 else f"the tests do not run (pytest exits with {status}): {output}"
    )


def main(words: Sequence[str]) -> int:
    """Plant all faults, or those of these words; the number that is not caught."""
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    sound = sorted({test for fault in chosen if misfit(fault) is None for test in fault.tests})
    with tempfile.TemporaryDirectory() as folder:
        status, output = run_tests(copy_of_project(Path(folder)), sound)
    if status:
        sys.stdout.write(f"the tests are red before any fault is planted:\n{output}\n")
        return 1
    n_missed = 0
    with concurrent.futures.ThreadPoolExecutor(N_PROCESSES) as pool:
        started = time.monotonic()
        for fault, wrong in zip(chosen, pool.map(verdict, chosen), strict=True):
            n_missed += wrong is not None
            sys.stdout.write(
                f"{'caught' if wrong is None else 'MISSED':7s} {fault.name}{'' if wrong is None else f': {wrong}'}\n"
            )
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} faults, {n_missed} not caught, {time.monotonic() - started:.0f} s\n")
    return min(n_missed, 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
