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
from aegen_bench.errors import MissingError, UserError
from aegen_bench.files import write_bytes
from aegen_bench.prior import Pair
from aegen_bench.results import Record
from aegen_bench.results.record import TrunkUsed
from aegen_bench.study import catalog, command

__all__ = ["anatomy", "build", "from_record", "read_trunk", "restore", "save"]

TRUNK = "trunk."  # what the names of a pair's state begin with where they are its trunk's


NEEDED = ("baseline", "code", "recon", "precision", "d", "flow_width", "with", "shape", "n_train")
"""What a record's `config` must say for its model to be built again."""


def build(
    config: Mapping[str, Any], entry: catalog.Method, shape: Any, n_train: int, seed: int, data: Path
) -> Baseline:
    """Make an untrained model on the CPU; equal seeds give equal weights. `data` is the data folder.

    Of a pair, `entry` is the prior, with the method of its trunk.
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
    """Read the weights of a pair's trunk from where `record`, of the trunk's trial, has them; say which they are."""
    path, expected = record.weights_path(kept), record.weights_sha256
    if expected is None:
        raise UserError(f"the record of {record.label} does not say which weights are its own: train it again")
    _load(model.trunk, path, expected, record.label)
    return TrunkUsed(key=record.key, weights_sha256=expected)


def restore(folder: Path, kept: Path, data: Path) -> Baseline:
    """Return the trained model of a trial's folder, in eval mode on the CPU. `kept` has the trained weights."""
    record = results.read_record(folder / "record.json")
    return from_record(record, catalog.of_record(record.config, Path.cwd()), kept, data)


def from_record(record: Record, entry: catalog.Method, kept: Path, data: Path) -> Baseline:
    """Return the trained model of a record, in eval mode on the CPU."""
    config, path, below = record.config, record.weights_path(kept), record.trunk_path(kept)
    needed = (*NEEDED, "trunk") if entry.trunk else NEEDED
    if missing := [name for name in needed if config.get(name) is None]:
        raise UserError(f"the record of {record.label} does not say '{missing[0]}': its model cannot be built again")
    for one in (path, below):
        if one is not None and not one.is_file():
            raise MissingError(f"no weights at {one}; to train this trial again: `{_again(record, kept, data)}`")
    trunk = (config["trunk"]["code"], entry.trunk) if entry.trunk else None
    for code, method in ((config["code"], entry), *([trunk] if trunk else [])):
        if code != method.code:
            told = f"was trained with another version of {method.path}: restore it, or run the trial again"
            raise UserError(f"{path} {told}")
    try:
        model = build(config, entry, tuple(config["shape"]), config["n_train"], record.seed, data)
    except UserError:
        raise
    except Exception as error:  # of the method, given arguments that a record says
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{record.row} cannot be built as its record says: {what[:200]}") from error
    try:
        if isinstance(model, Pair):
            if below is None or record.trunk is None:
                raise UserError(f"the record of {record.label} does not say which trunk it has")
            _load(model.trunk, below, record.trunk.weights_sha256, record.label)
            _load(model, path, record.weights_sha256, record.label)
        else:
            _load(model, path, record.weights_sha256, record.label)
    except _OtherWeights as error:
        raise UserError(f"{error}: delete it, and to train it again: `{_again(record, kept, data)}`") from error
    return model.eval()


class _OtherWeights(UserError):
    """A file of weights that is not the one which a record names."""


def _load(model: Baseline, path: Path, expected: str | None, label: str) -> None:
    """Read a file of weights into a model, a pair's own into its prior; its trunk's are in another file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if expected and hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise _OtherWeights(f"{path} holds the weights of another training of {label}")
    try:
        state = load_file(path)
        if isinstance(model, Pair):
            state |= {f"{TRUNK}{name}": value for name, value in model.trunk.state_dict().items()}
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path} does not hold the weights of {label}: {str(error)[:200]}") from error


def save(model: Baseline, folder: Path, key: str) -> str:
    """Keep the state_dict of the trial with this key in a folder and return the sha256 of the file; of a pair without
    its trunk's, which are kept already.
    """
    from safetensors.torch import save as pack

    state = model.state_dict()
    own = {k: v for k, v in state.items() if not (isinstance(model, Pair) and k.startswith(TRUNK))}
    packed = pack({name: v.detach().cpu().contiguous().clone() for name, v in own.items()})
    sha256 = hashlib.sha256(packed).hexdigest()
    write_bytes(folder / f"{key}-{sha256[:8]}.safetensors", packed)
    return sha256


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


def anatomy(model: Baseline) -> tuple[dict[str, int], dict[str, str]]:
    """Parameter counts, in all and by part, and one line on the layers of each part that is a network."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    own = {name: p.numel() for name, p in model.named_parameters(recurse=False)}
    layers = {name: describe(part) for name, part in model.named_children()}
    return {"total": sum(p.numel() for p in model.parameters()), **counts, **own}, {
        k: v for k, v in layers.items() if v
    }
