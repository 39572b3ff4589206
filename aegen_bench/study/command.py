"""Command lines for hints, complete with folders, so that users can paste them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from aegen_bench.data import default_folder

__all__ = ["asked_as", "check_command", "command"]


def asked_as(name: str) -> tuple[str, list[str]]:
    """Split the name of a profile in results into profile and settings: 'lite+draws=2' -> 'lite', ['draws=2']."""
    from urllib.parse import unquote

    profile, *settings = name.split("+")
    return profile, [unquote(text) for text in settings]


def command(
    verb: str,
    profile: str,
    *,
    models: Iterable[str] = (),
    datasets: Iterable[str] = (),
    seeds: Sequence[int] = (),
    flags: Iterable[str] = (),
    results: Path | None = None,
    data: Path | None = None,
    weights: Path | None = None,
) -> str:
    """Return a command line, quoted for a shell: `aegen-bench run --profile lite --models glf --seeds 0, --stale`.

    `profile` is its name in results, which may contain settings for `--set`. Default folders are left out.

    >>> command("run", "lite+draws=2", models=["glf"], seeds=[0, 2], flags=["--stale"])
    'aegen-bench run --profile lite --set draws=2 --models glf --seeds 0,2 --stale'
    """
    named, settings = asked_as(profile)
    words = ["aegen-bench", *verb.split(), "--profile", named]
    for text in settings:
        words += ["--set", text]
    for option, names in (("--models", list(models)), ("--datasets", list(datasets))):
        words += [option, ",".join(names)] if names else []
    if seeds:
        words += ["--seeds", ",".join(map(str, seeds)) + "," * (len(seeds) == 1)]
    folder = data or default_folder()
    words += _unless("--results", results, Path("results"))
    words += _unless("--data", data, default_folder())
    words += _unless("--weights", weights, folder / "weights")
    return shlex.join([*words, *flags])


def check_command(row: str, data: Path | None) -> str:
    """Return the command line that says what in a row breaks the contract of methods."""
    return shlex.join(["aegen-bench", "check", row, *_unless("--data", data, default_folder())])


def _unless(option: str, place: Path | None, default: Path) -> list[str]:
    return [option, str(place)] if place is not None and place != default else []
