"""The entry point of `aegen-bench` and of `python -m aegen_bench`."""

from __future__ import annotations

import sys

from aegen_bench.commands import guardian

__all__ = ["main"]


def main() -> None:
    """Run the command line; commands that run methods work in a child process, which this one waits for."""
    guardian.watch(sys.argv[1:])
    from aegen_bench import cli

    cli.main()


if __name__ == "__main__":
    main()
