"""Table 2 of one profile: the networks, as the trained models themselves describe their layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aegen_bench.report.cells import Layout
from aegen_bench.report.table import Table, Value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["architecture"]

Network = tuple[str, str, int | None]  # part, layers, parameters
Entry = tuple[str, str, str]  # profile, dataset, row


def architecture(frame: pd.DataFrame, layout: Layout, name: str) -> Table:
    """Return Table 2, a line for each network of its own: a part of a model, with the rows that have it."""
    known: Mapping[Entry, Mapping[str, tuple[str, int | None]]] = frame.attrs.get("layers", {})
    entries = [
        (dataset, row) for dataset in layout.datasets for row in layout.rows if (layout.profile, dataset, row) in known
    ]
    owners: dict[Network, dict[str, list[str]]] = {}
    values = []
    for dataset, row in entries:
        for part, (layers, size) in known[layout.profile, dataset, row].items():
            owners.setdefault((part, layers, size), {}).setdefault(dataset, []).append(row)
            values.append(Value(dataset, row, "layers", stage=part, value=size, text=layers))
    parts = list(dict.fromkeys(part for part, _, _ in owners))
    everyone = {dataset: [row for other, row in entries if other == dataset] for dataset, _ in entries}
    rows = []
    for network in sorted(owners, key=lambda network: parts.index(network[0])):
        for datasets, models in _alike(owners[network], everyone):
            part, layers, size = network
            where = ", ".join(map(layout.published.name, datasets))
            who = "; ".join(map(layout.published.name, models)) if models else "all"
            rows.append([part.replace("_", " "), where, _folded(layers), "" if size is None else f"{size:,}", who])
    notes = [
        "A line for each network that differs from the others, from the records of trained models; 4x4 Conv64: 64 "
        "kernels of 4x4 at stride 2, BN: batch norm, FC: fully connected. Parameters count what is trained.",
    ]
    columns = ["Network", "Dataset", "Layers", "parameters", "Models"]
    title = f"Table 2. Networks. Profile {layout.profile}"
    return Table(name, title, columns, rows, notes, values, {"profile": layout.profile}, words=(0, 1, 2, 4))


def _alike(rows: Mapping[str, list[str]], everyone: Mapping[str, list[str]]) -> list[tuple[list[str], list[str]]]:
    """Join the datasets on which the same rows have a network: [(datasets, rows)]; no rows mean all of them."""
    joined: dict[tuple[str, ...], list[str]] = {}
    for dataset, mine in rows.items():
        joined.setdefault(() if len(mine) > 1 and mine == everyone[dataset] else tuple(mine), []).append(dataset)
    return [(datasets, list(mine)) for mine, datasets in joined.items()]


def _folded(layers: str) -> str:
    """`FC8, ReLU, FC8, ReLU` -> `2 x (FC8, ReLU)`: what only repeats a part of itself is written once."""
    each = layers.split(", ")
    for period in range(1, len(each) // 2 + 1):
        times, rest = divmod(len(each), period)
        if not rest and each == each[:period] * times:
            return f"{times} x ({', '.join(each[:period])})"
    return layers
