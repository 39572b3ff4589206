"""Commands on mutated results: each bad file is named or harmless, and the good ones are reported as before.

By default there are a few dozen mutations; `AEGEN_BENCH_MUTATIONS=3000 pytest -s tests/results/test_mutations.py` makes
3000 and prints a table of the inputs by kind and outcome.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mutations
import pytest
import records
from conftest import Bench, Ended

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("AEGEN_BENCH_MUTATIONS", "48"))
BATCH = 16 if COUNT < 1000 else 100  # trials in one results folder
GOOD = "674.1"
COMMANDS = {
    "report": ["report", "--format", "markdown,latex,csv,json,html"],
    "figures": ["report", "--figures", "all", "--profile", "lite"],
    "list": ["list", "trials", "--profile", "lite"],
    "clean": ["clean", "--yes"],
    "merge": ["merge", "results", "--results", "merged"],
}


def lay(bench: Bench, seeds: int) -> list[Path]:
    """Write trials to mutate, seeds of one row, and a trial of another that stays as it is; return their folders."""
    root = bench.folder / "results"
    made = [records.make(row="vae", seed=seed) for seed in range(seeds)] + [records.make(row="glf")]
    folders = [path.parent for path in records.put(root, *made)]
    for folder in folders:
        records.put_artefacts(folder, probes=True)
    return folders


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 24 else None


def require_harmless(name: str, ended: Ended, told: list[str]) -> None:
    said = f"{name} after {told}:\n{ended.err[-2000:]}"
    assert ended.code in (0, 1, 2), said
    assert "Traceback" not in ended.err + ended.out and "Aborted" not in ended.err, said
    assert "\x1b" not in ended.out, said


OUTCOMES: Counter[tuple[str, str]] = Counter()


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Print the number of inputs by kind and outcome at the end."""
    yield
    for (kind, outcome), number in sorted(OUTCOMES.items()):
        print(f"{kind:10} {outcome:10} {number:6}")


@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_a_mutated_file_is_named_or_harmless_and_the_rest_is_reported(bench: Bench, batch: int) -> None:
    chance = random.Random(batch)
    *mutants, well = lay(bench, min(BATCH, COUNT - batch * BATCH))
    told, kinds = [], []
    for folder in mutants:
        kinds.append(chance.choice(list(mutations.KINDS)))
        told.append(f"{kinds[-1]}: {mutations.mutate(chance, kinds[-1], folder)}")
    before = {path: content(path) for folder in mutants for path in folder.iterdir()}
    ended = {}
    for name, command in COMMANDS.items():
        if name != "figures" or batch % 8 == 0:
            ended[name] = bench(*command)
            require_harmless(name, ended[name], told)
    ended["sample"] = bench("sample", "vae", "--dataset", "fashion", "--profile", "lite", "--out", "images")
    require_harmless("sample", ended["sample"], told)
    assert ended["report"].code == 0 and GOOD in ended["report"].out, ended["report"].err
    assert {path: content(path) for folder in mutants for path in folder.iterdir()} == before, (
        "a command changed a file"
    )
    assert not (bench.folder.parent / "victim").exists() and not Path("/tmp/victim").exists()
    shown = ended["report"].out + ended["report"].err + (bench.folder / "results/tables/lite/report.html").read_text()
    for kind, folder in zip(kinds, mutants, strict=True):
        name = mutations.KINDS[kind][0]
        OUTCOMES[kind, "named" if f"{folder.name}/{name}" in shown else "harmless"] += 1
    assert well.is_dir()
    shutil.rmtree(bench.folder)
