"""The command `check-metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aegen_bench import data, environment, weights
from aegen_bench.commands.external import on_machine, watching
from aegen_bench.errors import unknown
from aegen_bench.evaluation import checks, extractors
from aegen_bench.evaluation.scorer import Scorer, real_images
from aegen_bench.study import Study

__all__ = ["check_metrics"]


def check_metrics(dataset: str, protocol: str, count: int, *, device: str, folder: Path | None) -> Iterator[str]:
    """Check every metric of generated images on real images of a dataset, and yield the lines of a Markdown page."""
    place = folder or data.default_folder()
    study = Study("paper", local=Path.cwd(), data=place)
    if protocol not in study.protocols:
        raise unknown("protocol", protocol, study.protocols)
    if dataset not in study.datasets:
        raise unknown("dataset", dataset, study.datasets)
    chosen = study.protocols[protocol]
    if needed := extractors.recipe(chosen.extractor).file(dataset):
        weights.path(needed, place)
    with watching("stopped; nothing was recorded") as show, on_machine(show):
        real = real_images(dataset, study.datasets[dataset].recipe, place)
        scorer = Scorer(dataset, real, [chosen], place, environment.pick_device(device), show)
        found = checks.check(scorer, chosen, count)
    yield f"### {dataset}, {count:,} images a side, features of {chosen.extractor}"
    yield ""
    yield from checks.tables(found)
    yield ""
    yield from checks.rules()
