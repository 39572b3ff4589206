"""Tables and claims as the page's template takes them."""

from __future__ import annotations

import re
from typing import Any

from aegen_bench.report.evidence import Evidence
from aegen_bench.report.markdown import LONG
from aegen_bench.report.table import Number, Table

__all__ = ["said", "shown"]

STATES = ("diverged", "failed", "collapsed", "mixed", "no data")


def said(table: Table) -> list[dict[str, Any]]:
    """Return the claims of their table: what the paper says and where, the verdicts that are none of "not tested", and
    the lines with the evidence.
    """
    claims: list[dict[str, Any]] = []
    for says, section, dataset, protocol, verdict, numbers, test in table.rows:
        if says:
            claims.append({"says": says, "section": section, "verdicts": [], "lines": []})
        where = dataset if protocol == "—" else f"{dataset} ({protocol})"
        if verdict != "not tested":
            claims[-1]["verdicts"].append((where, verdict))
        claims[-1]["lines"].append({"where": where, "verdict": verdict, "numbers": numbers, "test": test})
    return claims


def shown(table: Table, evidence: Evidence) -> dict[str, Any]:
    """A table for the template: its lines in groups that sort as one, each cell with what it sorts by and opens."""
    rows = {evidence.name(row) for row in evidence.layout.rows}
    datasets = {evidence.name(dataset) for dataset in evidence.layout.datasets}
    titled = max(
        (name for name in evidence.layout.datasets if table.name.startswith(f"scores-{name}")), key=len, default=""
    )
    prose = [max(map(len, texts), default=0) > LONG for texts in zip(table.columns, *table.rows, strict=True)]
    groups: list[list[list[dict[str, Any]]]] = []
    for line in table.rows:
        row = next((name for text in line if (name := text.removesuffix(" †")) in rows), "")
        fixed = evidence.name(titled) if titled else next((text for text in line if text in datasets), "")
        cells = [
            {"text": text, "parts": [], "value": None, "kind": "prose", "opens": []}
            if long
            else _cell(text, row, column if column in datasets else fixed, named=text.removesuffix(" †") == row)
            for column, text, long in zip(table.columns, line, prose, strict=True)
        ]
        if groups and not line[0]:
            groups[-1].append(cells)  # another stage of the trial, or another dataset of the claim above
        else:
            groups.append([cells])
    heads = [
        {"text": t, "kind": "prose" if prose[i] else "words" * (i in table.words)} for i, t in enumerate(table.columns)
    ]
    for cell in (cell for group in groups for line in group for i, cell in enumerate(line) if i in table.words):
        cell["kind"] = f"{cell['kind']} words".lstrip()
    brief = table.title.partition(". ")[0]
    known = {"name": table.name, "title": table.title, "notes": table.notes, "heads": heads, "groups": groups}
    about = table.about.get("device", "") or evidence.protocol_name(table.about.get("protocol", ""))
    return known | {"brief": brief, "about": about}


def _cell(text: str, row: str, dataset: str, *, named: bool) -> dict[str, Any]:
    """A cell of a row and a dataset opens its trials there; a row's name opens those on every dataset."""
    number = re.match(r"[+-]?\d[\d,]*(\.\d+)?", text)
    state = next((state for state in STATES if state in text), "")
    kind = state.replace(" ", "-") or ("missing" if text == "—" else "")
    shown = row and (dataset or named) and text not in ("—", "no data", "")
    opens = [row, dataset] if shown else []
    value = float(number[0].replace(",", "")) if number else None
    return {"text": text, "parts": _parts(text), "value": value, "kind": kind, "opens": opens}


def _parts(text: str) -> list[tuple[str, bool]]:
    """The pieces of a cell, each with whether it is bold; none where nothing is."""
    if not isinstance(text, Number) or not text.bold:
        return []
    pieces = [(f"{', ' if i else ''}{number}", i in text.bold) for i, number in enumerate(text.numbers)]
    return [*pieces, (f" {text.behind}", False)]
