"""A table as a LaTeX fragment that needs no package but booktabs."""

from __future__ import annotations

from aegen_bench.report.cells import Table

__all__ = ["render"]

_ESCAPES = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "†": r"$\dagger$",
    "\u00d7": r"$\times$",
    "—": "---",
    "\u2013": "--",
    # A bracket after a line's end would be read as its optional argument.
    "[": "{[}",
    "]": "{]}",
}


def render(table: Table) -> str:
    """Return a table environment: caption, tabular, and the notes as small paragraphs below."""
    header, *rows = [" & ".join(map(_escape, line)) + r" \\" for line in [table.columns, *table.rows]]
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{_escape(table.title.split('. ', 1)[-1])}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            header,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            *[rf"\par\footnotesize {_escape(note)}" for note in table.notes],
            r"\end{table}",
            "",
        ]
    )


def _escape(text: str) -> str:
    return "".join(_ESCAPES.get(char, char) for char in " ".join(text.split()))
