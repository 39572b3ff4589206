"""What of a paper's table stands beside our numbers: its numbers where they compare, else its rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aegen_bench.report.cells import Cell, Entry
from aegen_bench.report.published import Published
from aegen_bench.report.table import Value

__all__ = ["Alongside"]


@dataclass(frozen=True)
class Alongside:
    """The paper's quality table number `table`, whose cells hold the numbers called `printed`. `comparable` says that
    protocol and profile are the paper's.
    """

    paper: Published
    table: int
    printed: tuple[str, ...]
    decimals: int
    comparable: bool

    def columns(self, dataset: str, rows: Iterable[str]) -> list[str]:
        """Return the heads of the columns on a dataset; none where the paper has no number of these rows."""
        if not any(self.paper.value(self.table, row, dataset) for row in rows):
            return []
        return ["paper", "difference"] if self.comparable else ["paper's rank"]

    def texts(self, entry: Entry, cell: Cell) -> list[str]:
        """Return a text for each column: the paper's numbers with the paper's digits and ours minus them, or ranks."""
        dataset, row = entry
        theirs = self.paper.value(self.table, row, dataset)
        if not self.comparable:
            ranks = (self.paper.rank(self.table, row, dataset, name) for name in self.printed)
            return [", ".join(str(rank) for rank in ranks if rank is not None)]
        if not theirs:
            return ["", ""]
        text = ", ".join(f"{theirs[name]:.{self.decimals}f}" for name in self.printed)
        spread = f" ± {theirs['std']:.{self.decimals}f}" if "std" in theirs else ""
        cited = "" if self.paper.source(self.table, row) == "rerun" else " (cited)"
        gaps = [ours - theirs[name] for ours, name in zip(cell.mean, self.printed, strict=True)] if cell.n else []
        return [text + spread + cited, ", ".join(f"{gap:+.{self.decimals}f}" for gap in gaps)]

    def values(self, entry: Entry, quantities: Iterable[str]) -> Iterator[Value]:
        """Yield the same for machines."""
        dataset, row = entry
        if not (theirs := self.paper.value(self.table, row, dataset)):
            return
        source = self.paper.source(self.table, row)
        for quantity, name in zip(quantities, self.printed, strict=True):
            if self.comparable:
                yield Value(*entry, quantity, value=theirs[name], std=theirs.get("std"), source=source)
            else:
                rank = self.paper.rank(self.table, row, dataset, name)
                yield Value(*entry, f"paper's rank by {quantity}", value=rank, source=source)

    def notes(self, rows: Iterable[str]) -> list[str]:
        """Return what the columns mean, and where the numbers come from that the paper cites."""
        printed = self.paper.rows(self.table)
        title = f"Table {self.table} of {self.paper.content['meta']['paper']}"
        said = f"paper: {title}; difference: ours minus the paper's."
        if not self.comparable:
            said = (
                f"paper's rank: the row's place among the {len(printed)} rows of {title}, 1 is best; "
                "its numbers apply only to its own protocol and budget, so they are not shown."
            )
        cited: dict[str, list[str]] = {}
        for row in rows:
            if row in printed and (source := self.paper.source(self.table, row)) != "rerun":
                cited.setdefault(self.paper.content["sources"][source], []).append(self.paper.name(row))
        return [said, *(f"The paper's numbers of {', '.join(names)}: {source}." for source, names in cited.items())]
