"""The findings of the command `doctor`: what is installed, what is missing and how to get it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from aegen_bench import weights
from aegen_bench.data import Recipe, fetch_command, missing, to_fetch
from aegen_bench.environment import native_bf16
from aegen_bench.errors import UserError

__all__ = ["Finding", "lines", "report"]


class Finding(NamedTuple):
    """One line of the report. If `ok` is False, something is missing or broken, and `detail` says what to do."""

    what: str
    ok: bool
    detail: str


def lines(datasets: Mapping[str, Recipe], folder: Path) -> Iterator[str]:
    """Yield one line per finding, and at the end one command that downloads everything that can be downloaded."""
    findings = report(datasets, folder)
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        _, name = [*finding.what.split(" ", 1), ""][:2]
        told = finding.detail.removeprefix(f"{name}: ")
        yield f"{'ok     ' if finding.ok else 'missing'}  {finding.what:<{width}}  {told}"
    hints = {finding.what.partition(" ")[2]: finding.detail for finding in findings if not finding.ok}
    if fetched := to_fetch(hints):
        yield f"all of it: `{fetch_command(fetched, folder)}`"


def report(datasets: Mapping[str, Recipe], folder: Path) -> list[Finding]:
    """Check datasets, weights and the machine. Weights are verified by sha256; images are not read."""
    found = [_dataset(name, recipe, folder) for name, recipe in datasets.items()]
    found += [_weights(name, folder) for name in weights.FILES]
    return [*found, Finding("python", True, platform.python_version()), *_torch(), _bf16(), _disk(folder)]


def _dataset(name: str, recipe: Recipe, folder: Path) -> Finding:
    hint = missing(name, recipe, folder)
    return Finding(f"dataset {name}", hint is None, hint or "ready")


def _weights(name: str, folder: Path) -> Finding:
    try:
        return Finding(f"weights {name}", True, str(weights.path(name, folder)))
    except UserError as error:
        return Finding(f"weights {name}", False, str(error))


def _torch() -> list[Finding]:
    try:
        import torch
        import torchvision
    except Exception as error:  # mismatched builds fail in many ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return [Finding("torch", False, f"torch and torchvision do not import together: {reason}")]
    found = [Finding("torch", True, torch.__version__), Finding("torchvision", True, torchvision.__version__)]
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [*found, Finding("cuda", True, ", ".join(devices) or "no device, training runs on the CPU")]


def _bf16() -> Finding:
    detail = {True: "native", False: "emulated, far slower than fp32: use fp32", None: "unknown"}
    return Finding("bf16 on the CPU", True, detail[native_bf16()])


def _disk(folder: Path) -> Finding:
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free / 1e9
    # CelebA takes about 5 GB with its archive; every other set of the paper takes less than 1.
    return Finding("disk", free >= 1, f"{free:.1f} GB free in {folder}")
