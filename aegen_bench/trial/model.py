"""A baseline as a model: built from its settings, its weights kept and restored, its parts counted."""

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
from aegen_bench.errors import MissingError, UserError, unknown
from aegen_bench.files import write_bytes
from aegen_bench.results import Record
from aegen_bench.study import catalog, command

__all__ = ["anatomy", "build", "from_record", "restore", "save"]


NEEDED = ("baseline", "code", "recon", "precision", "d", "flow_width", "with", "shape", "n_train")
"""What a record's `config` must say for its model to be built again."""


def build(
    config: Mapping[str, Any], entry: catalog.Method, shape: Any, n_train: int, seed: int, data: Path
) -> Baseline:
    """Make an untrained baseline on the CPU; equal seeds give equal weights. `data` is the data folder."""
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
    with seeding.initialising(seed):
        return catalog.import_class(entry)(nets, **config["with"])  # type: ignore[no-any-return]


def restore(folder: Path, kept: Path, data: Path) -> Baseline:
    """Return the trained baseline of a trial's folder, in eval mode on the CPU. `kept` has the trained weights."""
    record = results.read_record(folder / "record.json")
    name, entries = record.config.get("baseline", ""), catalog.find(Path.cwd())
    if name not in entries:
        raise unknown("model", name, entries)
    return from_record(record, entries[name], kept, data)


def from_record(record: Record, entry: catalog.Method, kept: Path, data: Path) -> Baseline:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config, path = record.config, record.weights_path(kept)
    if missing := [name for name in NEEDED if config.get(name) is None]:
        raise UserError(f"the record of {record.label} does not say '{missing[0]}': its model cannot be built again")
    if not path.is_file():
        raise MissingError(f"no weights at {path}; to train this trial again: {_again(record, kept, data)}")
    if config["code"] != entry.code:
        raise UserError(f"{path} was trained with another version of {entry.path}: restore it, or run the trial again")
    expected = record.weights_sha256
    if expected and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        told = "holds the weights of another training of this trial: delete it, and to train it again"
        raise UserError(f"{path} {told}: {_again(record, kept, data)}")
    try:
        model = build(config, entry, tuple(config["shape"]), config["n_train"], record.seed, data)
    except UserError:
        raise
    except Exception as error:  # of the method, given arguments that a record says
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{record.row} cannot be built as its record says: {what[:200]}") from error
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the weights of {record.row}: {str(error)[:200]}") from error
    return model.eval()


def _again(record: Record, kept: Path, data: Path) -> str:
    """The command that trains the trial of a record again; a results folder that is not the default is the user's to
    add.
    """
    return command(
        "run",
        record.profile,
        models=[record.row],
        datasets=[record.dataset],
        seeds=[record.seed],
        flags=["--retrain"],
        data=data,
        weights=kept,
    )


def save(model: Baseline, folder: Path, key: str) -> str:
    """Keep the state_dict of the trial with this key in a folder and return the sha256 of the file."""
    from safetensors.torch import save as pack

    packed = pack({name: v.detach().cpu().contiguous().clone() for name, v in model.state_dict().items()})
    sha256 = hashlib.sha256(packed).hexdigest()
    write_bytes(folder / f"{key}-{sha256[:8]}.safetensors", packed)
    return sha256


def anatomy(model: Baseline) -> tuple[dict[str, int], dict[str, str]]:
    """Parameter counts, in all and by part, and one line on the layers of each part that is a network."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    own = {name: p.numel() for name, p in model.named_parameters(recurse=False)}
    layers = {name: describe(part) for name, part in model.named_children()}
    return {"total": sum(p.numel() for p in model.parameters()), **counts, **own}, {
        k: v for k, v in layers.items() if v
    }
