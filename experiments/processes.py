"""How a process can train faster on a CPU: memory management, and sharing two cores between trials.

Asked 2026-11-27. Verdict: keeping freed memory makes training 1.2 to 1.3 times as fast and was adopted; huge pages add
nothing to it. Two trials side by side on two cores train 1.1 times as many images as one on two threads
(docs/performance.md, Beyond the bare loop).

python experiments/processes.py [--quick] [--sides 28,32,64] [--model vae] [--steps 10] [--rounds 3] [--processor]
                                [--pairs]

Each contender is a separate process with the bare loop of `beyond.py`, in rounds: unchanged, and with the harness's
settings. --processor counts CPU seconds instead of wall-clock time, for busy machines. --pairs compares two processes
side by side, with one thread each, with one process on two threads; this needs two idle cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from beyond import BARE, BATCH, IDEAS, ONEDNN, Loop

sys.path.insert(0, str(Path(__file__).parents[1] / "perf"))  # for contest.py, which the scripts share
from contest import in_turn, machine, options, ratio
from training_loop import LOSSES

from aegen_bench import environment
from aegen_bench.numerics import tuning

HARNESS = "oneDNN and freed memory kept, as the harness"
HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
PROCESSES: dict[str, tuple[str, bool, dict[str, str]]] = {  # the loop, whether freed memory is kept, the environment
    BARE: (BARE, False, {}),
    "freed memory kept": (BARE, True, {}),
    "huge pages by torch": (BARE, False, {"THP_MEM_ALLOC_ENABLE": "1"}),
    "huge pages by malloc": (BARE, False, HUGE),
    HARNESS: (ONEDNN, True, {}),
    "the same with huge pages by torch": (ONEDNN, True, {"THP_MEM_ALLOC_ENABLE": "1"}),
    "the same with huge pages by malloc": (ONEDNN, True, HUGE),
}


def child(args: Any, side: int, name: str, *options: str, threads: int = 1) -> subprocess.Popen[str]:
    env = os.environ | PROCESSES[name][2] | {"OMP_NUM_THREADS": str(threads)}
    asked = ("--sides", str(side), "--model", args.model, "--steps", str(args.steps), *options)
    return subprocess.Popen([sys.executable, __file__, "--child", name, *asked], env=env, stdout=-1, text=True)


def answer(started: subprocess.Popen[str]) -> list[float]:
    """What a process reports: seconds of its steps, page faults per step, peak memory in MB."""
    said, _ = started.communicate()
    if started.returncode:
        sys.exit(f"experiments/processes.py --child ended with {started.returncode}")
    return [float(word) for word in said.split()]


def be_child(args: Any) -> None:
    loop, keep, _ = PROCESSES[args.child]
    clock = time.process_time if args.processor else time.perf_counter
    with tuning.keeping_memory() if keep else contextlib.nullcontext():
        made = Loop(args.model, args.sides[0], IDEAS[loop])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        seconds = made.run(args.steps, clock)
        after = resource.getrusage(resource.RUSAGE_SELF)
    print(seconds, (after.ru_minflt - before) / args.steps, environment.peak_memory(torch.device("cpu")) / 1e6)


def by_rounds(args: Any) -> None:
    print("| side | model | process | ms a step | faster by: median (min, max) | page faults a step | peak, MB |")
    print("|---:|---|---|---:|---:|---:|---:|")
    for side in args.sides:
        latest: dict[str, list[float]] = {}

        def one(name: str, side: int = side, latest: dict[str, list[float]] = latest) -> float:
            latest[name] = answer(child(args, side, name, *["--processor"] * args.processor))
            return latest[name][0]

        names = (BARE, HARNESS) if args.quick else PROCESSES
        taken = in_turn({name: partial(one, name) for name in names}, args.rounds)
        for name, spent in taken.items():
            times = f"{1e3 * statistics.median(spent) / args.steps:.1f} | {ratio(taken[BARE], spent)}"
            faults, peak = latest[name][1:]
            print(f"| {side} | {args.model} | {name} | {times} | {faults:,.0f} | {peak:,.0f} |", flush=True)


def pairs(args: Any) -> None:
    """Compare two trials side by side, with one thread each, with a single trial on two threads, by wall-clock time."""
    print("| side | model | images/s of two trials, a thread each | of one on two threads | side by side / one |")
    print("|---:|---|---:|---:|---:|")
    for side in args.sides:

        def two(side: int = side) -> float:
            return max(answer(started)[0] for started in [child(args, side, HARNESS) for _ in range(2)]) / 2

        def one(side: int = side) -> float:
            return answer(child(args, side, HARNESS, threads=2))[0]

        taken = in_turn({"two": two, "one": one}, args.rounds)
        rates = [f"{BATCH * args.steps / statistics.median(spent):,.0f}" for spent in taken.values()]
        print(f"| {side} | {args.model} | {' | '.join(rates)} | {ratio(taken['one'], taken['two'])} |", flush=True)


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--sides", default="28,32,64")
    parser.add_argument("--model", default="vae", choices=list(LOSSES))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processor", action="store_true", help="count the processor's seconds")
    parser.add_argument("--pairs", action="store_true", help="two processes against two threads")
    parser.add_argument("--child", choices=list(PROCESSES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.sides, args.steps, args.rounds = "28", 2, 1
    args.sides = [int(side) for side in args.sides.split(",")]
    if args.child:
        be_child(args)
        return
    print(f"{machine()}; batch {BATCH}, {args.steps} steps, {args.rounds} rounds{'; CPU time' * args.processor}\n")
    (pairs if args.pairs else by_rounds)(args)


if __name__ == "__main__":
    main()
