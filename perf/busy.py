"""The speed of training and sampling on a busy machine, by how idle threads wait.

python perf/busy.py [--quick] [--busy 0,2,4] [--rounds 5] [--steps 100] [--settings "as torch is,as shipped,one thread"]

`--busy` is the number of other processes that compute meanwhile. Each measurement runs in a separate process, since
OpenMP reads its environment when torch is imported, and the settings take turns within a round. Prints medians over
rounds for GLF at 28 px, in images/s, and the ratio of each setting to the first one. On an idle machine, `as shipped`
should be within 2% of `as torch is`.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

import torch
from contest import build, in_turn, machine, made_up, nets, options, ratio, seconds

from aegen_bench import environment
from aegen_bench.numerics import tuning
from aegen_bench.training.history import History
from aegen_bench.training.loop import train
from aegen_bench.training.schedule import StagePlan
from aegen_bench.trial import sampling

SETTINGS = {
    "as torch is": {},
    "as shipped": {"GOMP_SPINCOUNT": "10000"},
    "sleeps at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spins 1000": {"GOMP_SPINCOUNT": "1000"},
    "one thread": {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"},
}
OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
KINDS = ("training", "sampling")


def measure(steps: int) -> dict[str, float]:
    """Return the seconds for `steps` batches of 64, in training and in sampling, in this process."""
    made, device = nets(28, 64 * steps), torch.device("cpu")
    model, images, history = build("glf", made), made_up(made), History()
    with environment.exact(), tuning.keeping_memory():
        train(build("glf", made), images[:640], plan(), seed=0, history=History())  # warms up
        train(model, images, plan(), seed=0, history=history)
        spent = seconds(lambda: sampling.generate(model, len(images), seed=0, draw=0, device=device))
    return {"training": history.seconds["train"], "sampling": spent}


def plan() -> dict[str, StagePlan]:
    return {"train": StagePlan(epochs=1, batch=64, lr=1e-3)}


def apart(setting: str, steps: int) -> dict[str, float]:
    """Return the same from a separate process with the environment of a setting."""
    env = {name: value for name, value in os.environ.items() if name not in OURS} | SETTINGS[setting]
    call = [sys.executable, __file__, "--steps", str(steps), "--measure"]
    told: dict[str, float] = json.loads(subprocess.run(call, env=env, capture_output=True, check=True).stdout)
    return told


def spin() -> None:
    while True:
        pass


@contextlib.contextmanager
def other_work(count: int) -> Iterator[None]:
    """Context in which `count` other processes compute."""
    others = [multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(count)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.kill()


def main() -> int:
    parser = options(__doc__ or "")
    parser.add_argument("--busy", default="0,2,4")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--settings", default=",".join(["as torch is", "as shipped", "one thread"]))
    parser.add_argument("--measure", action="store_true", help="one measurement, here and now")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.steps)))
        return 0
    names = asked.settings.split(",")
    rounds, steps, loads = (
        (1, 10, [0, 1])
        if asked.quick
        else (
            asked.rounds,
            asked.steps,
            [int(count) for count in asked.busy.split(",")],
        )
    )
    print(f"{machine()}; GLF, 28 px, {steps} batches of 64")
    print(f"| other processes | threads | {' | '.join(f'{kind}, images/s | ratio' for kind in KINDS)} |")
    print("|---|---|" + "---:|" * 2 * len(KINDS))
    for count in loads:
        taken: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in names} for kind in KINDS}

        def contender(name: str, into: dict[str, dict[str, list[float]]]) -> float:
            told = apart(name, steps)
            for kind in KINDS:
                into[kind][name].append(told[kind])
            return told["training"]

        with other_work(count):
            in_turn({name: (lambda name=name, into=taken: contender(name, into)) for name in names}, rounds)
        for name in names:
            cells = []
            for kind in KINDS:
                spent, first = taken[kind][name][1:], taken[kind][names[0]][1:]  # the first round warms up
                cells += [f"{64 * steps / statistics.median(spent):,.0f}", ratio(first, spent)]
            print(f"| {count} | {name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
