"""Models of trials: built from settings, saved, restored, and described."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from aegen_bench import results, seeding, weights
from aegen_bench.baseline import Baseline
from aegen_bench.blocks.losses import half_sse
from aegen_bench.blocks.nets import Nets, describe
from aegen_bench.blocks.perceptual import PerceptualLoss
from aegen_bench.errors import MissingError, UserError
from aegen_bench.files import write_bytes
from aegen_bench.prior import Pair
from aegen_bench.results import Record
from aegen_bench.results.record import TrunkUsed
from aegen_bench.study import catalog, command

__all__ = ["anatomy", "build", "from_record", "read_trunk", "restore", "save"]

TRUNK = "trunk."  # prefix of the trunk's entries in the state_dict of a pair


NEEDED = ("baseline", "code", "recon", "precision", "d", "flow_width", "with", "shape", "n_train")
"""Entries of a record's `config` that are needed to build its model."""


def build(
    config: Mapping[str, Any], entry: catalog.Method, shape: Any, n_train: int, seed: int, data: Path
) -> Baseline:
    """Return an untrained model on the CPU. Equal seeds give equal weights.

    `data` is the data folder. For a pair, `entry` is the prior, with the method of its trunk.
    """
    recon: Callable[[Tensor, Tensor], Tensor] = half_sse
    precision, compile = config["precision"], config.get("compile", False)
    if config["recon"] == "perceptual":
        network = config["perceptual_net"]
        recon = PerceptualLoss(
            network,
            shape[-1],
            partial(weights.load, network, data),
            precision=config.get("perceptual_precision", "fp32"),
            around=precision,
            compile=compile,
        )
    nets = Nets(shape, config["d"], config["flow_width"], n_train, recon, precision, compile)
    trunk = build(config["trunk"], entry.trunk, shape, n_train, seed, data) if entry.trunk else None
    with seeding.initialising(seed):
        made = catalog.import_class(entry)(nets, **config["with"])
    return made if trunk is None else Pair(trunk, made)


def read_trunk(model: Pair, record: Record, kept: Path) -> TrunkUsed:
    """Load the weights of a pair's trunk, whose trial has `record`, and return which weights these are."""
    path, expected = record.weights_path(kept), record.weights_sha256
    if expected is None:
        raise UserError(f"the record of {record.label} does not state the sha256 of its weights: train it again")
    _load(model.trunk, path, expected, record.label)
    return TrunkUsed(key=record.key, weights_sha256=expected)


def restore(folder: Path, kept: Path, data: Path, root: Path | None = None) -> Baseline:
    """Return the trained model of a trial's folder, in eval mode on the CPU. `kept` is the folder of weights,
    `root` that of results, for hints; by default the one that the trial is in.
    """
    record, where = results.read_record(folder / "record.json"), folder.absolute()
    if root is None and where.parts[-4:] == record.place:
        root = where.parents[3]
    return from_record(record, catalog.of_record(record.config, Path.cwd()), kept, data, root)


def from_record(record: Record, entry: catalog.Method, kept: Path, data: Path, root: Path | None = None) -> Baseline:
    """Return the trained model of a record, in eval mode on the CPU. `root` is the results folder, for hints."""
    config, path, below = record.config, record.weights_path(kept), record.trunk_path(kept)
    needed = (*NEEDED, "trunk") if entry.trunk else NEEDED
    if missing := [name for name in needed if config.get(name) is None]:
        raise UserError(f"the record of {record.label} lacks '{missing[0]}', so its model cannot be built")
    ended = "" if record.status == "ok" else f", since the trial ended as {record.status}"
    for one in (path, below):
        if one is not None and not one.is_file():
            raise MissingError(
                f"no weights at {one}{ended}; to train this trial again: `{_again(record, kept, data, root)}`"
            )
    trunk = (config["trunk"]["code"], entry.trunk) if entry.trunk else None
    for code, method in ((config["code"], entry), *([trunk] if trunk else [])):
        if code != method.code:
            told = f"was trained with another version of {method.path}: restore that version, or run the trial again"
            raise UserError(f"{path} {told}")
    try:
        model = build(config, entry, tuple(config["shape"]), config["n_train"], record.seed, data)
    except UserError:
        raise
    except Exception as error:  # raised by the method for arguments in the record
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{record.row} cannot be built with the settings in its record: {what[:200]}") from error
    try:
        if isinstance(model, Pair):
            if below is None or record.trunk is None:
                raise UserError(f"the record of {record.label} does not state its trunk")
            _load(model.trunk, below, record.trunk.weights_sha256, record.label)
        _load(model, path, record.weights_sha256, record.label)
    except _OtherWeights as error:
        raise UserError(
            f"{error}: delete it and train the trial again: `{_again(record, kept, data, root)}`"
        ) from error
    return model.eval()


class _OtherWeights(UserError):
    """A file of weights is not the one of the record."""


def _load(model: Baseline, path: Path, expected: str | None, label: str) -> None:
    """Load a file of weights into a model. A pair's file has only its prior; the trunk's weights are in another."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    packed = path.read_bytes()
    if expected and hashlib.sha256(packed).hexdigest() != expected:
        raise _OtherWeights(f"{path} contains the weights of another training of {label}")
    try:
        state = load(packed)
        if isinstance(model, Pair):
            state |= {f"{TRUNK}{name}": value for name, value in model.trunk.state_dict().items()}
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path} does not contain the weights of {label}: {str(error)[:200]}") from error


def save(model: Baseline, folder: Path, key: str) -> str:
    """Save the state_dict of the trial with this key to a folder and return the sha256 of the file.

    For a pair, the entries of the trunk are left out, because they have been saved before.
    """
    from safetensors.torch import save as pack

    state = model.state_dict()
    own = {k: v for k, v in state.items() if not (isinstance(model, Pair) and k.startswith(TRUNK))}
    packed = pack({name: v.detach().cpu().contiguous().clone() for name, v in own.items()})
    sha256 = hashlib.sha256(packed).hexdigest()
    write_bytes(folder / f"{key}-{sha256[:8]}.safetensors", packed)
    return sha256


def _again(record: Record, kept: Path, data: Path, root: Path | None) -> str:
    """Return the command that trains the trial of a record again, whatever its outcome, even if it is stale."""
    unfinished = record.status in ("diverged", "timeout")
    return command(
        "run",
        record.profile,
        models=[record.row],
        datasets=[record.dataset],
        seeds=[record.seed],
        flags=[*(["--retry", record.status] if unfinished else ["--retrain"]), "--stale"],
        results=root,
        data=data,
        weights=kept,
    )


def anatomy(model: Baseline) -> tuple[dict[str, int], dict[str, str]]:
    """Return parameter counts, total and by submodule, and one line on the layers of each submodule that has any."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    own = {name: p.numel() for name, p in model.named_parameters(recurse=False)}
    layers = {name: describe(part) for name, part in model.named_children()}
    return {"total": sum(p.numel() for p in model.parameters()), **counts, **own}, {
        k: v for k, v in layers.items() if v
    }
