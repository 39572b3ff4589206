"""Print a table that says which stages are replayed as CUDA graphs, on the emulated device.

python tests/support/replays.py [METHOD ...]

Each stage trains for two epochs of four steps, with its hooks and a change of the learning rate: once with its steps
launched one by one, and once with replays. "Operations" is the number of operations in a captured step; "equal" means
that weights, losses and logs agree bit for bit.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from emulated_cuda import DEVICE, Graph, emulated_cuda
from test_emulated_cuda import DIGITS, METHODS, Notes, essence, fit, made, plain


def lines(name: str) -> list[str]:
    """Return a line of the table for each stage of a method or pair."""
    captured: list[Graph] = []
    end = Graph.capture_end

    def noted(graph: Graph) -> None:
        end(graph)
        captured.append(graph)

    with mock.patch.object(Graph, "capture_end", noted), emulated_cuda():
        model, notes = made(name), Notes()
        found = essence(model, fit(model, DIGITS.to(DEVICE), progress=notes))
    equal = "yes" if found == plain(name) else "NO"
    why = dict(note.removeprefix("stage '").split("': ", 1) for note in notes.told)
    graphs = iter(captured[1::2])  # each stage is captured twice; this takes the second, with the later learning rate
    table = []
    for stage in model.stages():
        if stage.name in why:
            table.append(f"| {name} | {stage.name} | | no: {why[stage.name].rpartition(': ')[2]} | {equal} |")
        else:
            table.append(f"| {name} | {stage.name} | {len(next(graphs).recorded):,} | yes | {equal} |")
    return table


if __name__ == "__main__":
    print("| method | stage | operations | replayed | equal |\n|---|---|---:|---|---|")
    for method in sys.argv[1:] or METHODS:
        for line in lines(method):
            print(line, flush=True)
