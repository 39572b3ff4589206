"""What a record says, of a trial or of images from elsewhere; docs/results-format.md describes each field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegen_bench.results.store import SCHEMA

if TYPE_CHECKING:
    from aegen_bench.evaluation import Protocol, Scores

__all__ = ["blank", "evaluated", "weights_path"]


def blank(
    profile: str,
    dataset: str,
    row: str,
    seed: int,
    *,
    key: str,
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a record of status `ok` that nothing has been measured for yet."""
    return {
        "schema": SCHEMA,
        "key": key,
        "profile": profile,
        "dataset": dataset,
        "row": row,
        "seed": seed,
        "status": "ok",
        "reason": "",
        "metrics": {},
        "stages": {},
        "seconds": {},
        "peak_memory": None,
        "parameters": {},
        "layers": {},
        "facts": {},
        "config": dict(config),
        "environment": dict(environment),
        "collapsed": False,
    }


def evaluated(protocol: Protocol, scores: Scores, real_sha256: str, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands under the protocol's id: each metric with the commit and device that computed it."""
    about = {
        "name": protocol.name,
        "extractor": protocol.extractor,
        "describe": protocol.describe(),
        "real_sha256": real_sha256,
    }
    commit, version = environment["git"].get("commit", ""), environment["aegen_bench"]
    by = {"device": environment["device"], "commit": commit, "aegen_bench": version}
    settings = {name: {**of_metric, "by": by} for name, of_metric in scores.settings.items()}
    return {**scores.entry(), "settings": {"protocol": about} | settings}


def weights_path(record: Mapping[str, Any], folder: Path) -> Path:
    """Return where a record's weights are kept: under its key and their content, so that those of another training of
    the same key (of another profile, on another machine) are not in their place. Older files have the key alone.
    """
    key, sha256 = record["key"], record.get("weights_sha256", "")
    named, old = folder / f"{key}-{sha256[:8]}.safetensors", folder / f"{key}.safetensors"
    return named if sha256 and (named.is_file() or not old.is_file()) else old
