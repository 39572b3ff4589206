"""Rows of a quality table that no trial of ours made: images from elsewhere, and the two anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aegen_bench.results import ANCHORS, EXTERNAL

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["invited", "note"]

NAMES = {(ANCHORS, "floor"): "training images (floor)", (ANCHORS, "ceiling"): "noise (ceiling)"}


def invited(others: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the external sets, then the anchors, that were compared with the same real images under the same
    protocols as a frame of one profile; named as they stand in a table.
    """
    kin = frame.loc[frame["protocol"] != "", ["dataset", "protocol", "real"]].drop_duplicates()
    guests = others.merge(kin, on=["dataset", "protocol", "real"])
    guests = guests[guests["profile"].isin([EXTERNAL, ANCHORS]) & ~guests["profile"].isin(frame["profile"])]
    names = [
        NAMES.get((profile, row), f"{row} (external)")
        for profile, row in zip(guests["profile"], guests["row"], strict=True)
    ]
    last = (guests["profile"] == ANCHORS).astype(int) + (guests["row"] == "ceiling")
    return guests.assign(row=names, last=last).sort_values(["last", "row"], kind="stable").drop(columns="last")


def note(rows: list[str]) -> list[str]:
    """Return one sentence a kind of guest."""
    said = []
    if any(row.endswith("(external)") for row in rows):
        said.append("(external): images made elsewhere, scored by `aegen-bench evaluate`; ours under no shared budget.")
    if any(row in NAMES.values() for row in rows):
        said.append("Anchors: as many training images, and uniform noise, in place of generated images.")
    return said
