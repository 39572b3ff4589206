"""What the tables of quality share: what they measure, under which protocol, and the signs of rows and entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aegen_bench.errors import UserError
from aegen_bench.report.cells import Layout

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DAGGER", "Measure", "marked", "other_images_note", "single_protocol", "stale_note"]

DAGGER = "†: trained on the network that scores it here, so never bold, ranked or tested."


@dataclass(frozen=True)
class Measure:
    """What a quality table shows: our numbers, the paper's names of them, and the metric whose failure they share."""

    title: str
    metrics: tuple[str, ...]
    printed: tuple[str, ...]
    family: str
    decimals: int  # the paper's

    @property
    def sign(self) -> int:
        """1 where lower is better, -1 where higher is."""
        return 1 if self.family == "fd" else -1

    @staticmethod
    def of(table: int, extractor: str) -> Measure:
        if table == 3:
            features = "" if extractor == "inception" else f" on {extractor} features"
            title = f"PRD as F8 (recall), F1/8 (precision){features}, higher is better"
            return Measure(title, ("f8", "f1_8"), ("f8", "f1_8"), "prd", 3)
        gans = ", beside the GANs that the paper cites" if table == 4 else ""
        if extractor == "inception":
            return Measure(f"FID, lower is better{gans}", ("fid",), ("mean",), "fd", 1)
        return Measure(f"FD ({extractor}), lower is better{gans}", ("fd",), ("mean",), "fd", 1)


def single_protocol(frame: pd.DataFrame, table: str) -> tuple[str, dict[str, Any]]:
    """Return the only protocol id of a frame and what is known of it; UserError when there are several, whose numbers
    do not compare.
    """
    ids = sorted(set(frame["protocol"].unique()) - {""})
    if len(ids) > 1:
        raise UserError(
            f"table {table} cannot mix the protocols {' and '.join(ids)}: choose one with --protocol ID, "
            "or run again so that all trials are evaluated under one"
        )
    return (ids[0], frame.attrs.get("protocols", {}).get(ids[0], {})) if ids else ("", {})


def marked(frame: pd.DataFrame, layout: Layout, extractor: str) -> set[str]:
    """Return the rows trained on the network that scores them (†)."""
    dagger = frame.attrs.get("dagger", {})
    return {row for row in layout.rows if extractor in dagger.get((layout.profile, row), [])}


def stale_note(layout: Layout, rows: Sequence[str]) -> list[str]:
    """Return what ‡ means, where one of the rows has it."""
    said = "‡: stale, trained by code, settings or images that have changed since;"
    return [f"{said} `aegen-bench run --stale` trains it again."] if any(row in rows for _, row in layout.stale) else []


def other_images_note(frame: pd.DataFrame, layout: Layout) -> list[str]:
    """Return a warning where trials on one dataset were compared with different real images."""
    known = frame.loc[frame["real"] != "", ["dataset", "real"]].drop_duplicates()
    torn = [layout.published.name(name) for name in known.loc[known.duplicated("dataset"), "dataset"].unique()]
    said = f"Not comparable: on {', '.join(torn)} the trials were scored against different real images."
    return [said + " Keep the results of each set of images in a folder of their own (`--results`)."] if torn else []
