"""The program, as `aegen-bench` and as `python -m aegen_bench`."""

from __future__ import annotations

import sys

from aegen_bench.commands import guardian

__all__ = ["main"]


def main() -> None:
    """The console script: the command, in a process that another one waits for where methods run in it."""
    guardian.watch(sys.argv[1:])
    from aegen_bench import cli

    cli.main()


if __name__ == "__main__":
    main()
