"""Checks on a GPU: is everything correct, how fast is it, where does the time go? (`make gpu-check`)

python perf/gpu.py [--quick] [--rehearse] [--only methods,speed] [--seconds 470] [--out gpu.json]

The sections are ordered by importance. Each runs in a separate process with its own time limit, so that a crash or hang
affects only that section. Every number is printed immediately as a line of JSON, and appended to --out. Networks have
random weights and images are random, so nothing is downloaded. --rehearse runs everything on an emulated device, where
times are meaningless; --quick uses tiny sizes.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest import ROOT, build, made_up, nets, options, seconds
from torch import Tensor

Facts = Iterator[dict[str, Any]]
DEVICE = torch.device("cuda", 0)
METHODS = sorted(path.stem for path in (ROOT / "baselines").glob("*.py"))
FAULTS = {  # rows that fail, to see whether the next trial still works
    "asserts": "self.decoder(torch.ones(8, 4, device=x.device)[torch.full((1,), 99, device=x.device)]).mean()",
    "demands": "torch.empty(2**50, device=x.device).mean()",
}
SOURCE = """
import torch
from aegen_bench.baseline import Baseline

class Faulty(Baseline):
    def __init__(self, nets):
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(4), nets.decoder(4)

    def step(self, x, index):
        yield "model", {"loss": self.recon(self.decoder(self.encoder(x)), x) + FAULT}

    def decode(self, z):
        return self.decoder(z)
"""


# ---- correct -------------------------------------------------------------------------------------


def machine(quick: bool) -> Facts:
    """Describe the machine and its software."""
    properties = torch.cuda.get_device_properties(DEVICE)
    yield {"name": properties.name, "bytes": properties.total_memory, "torch": torch.__version__}
    yield {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "gpus": torch.cuda.device_count()}
    yield clocks()


def clocks() -> dict[str, Any]:
    asked = "driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        call = ["nvidia-smi", "-i", "0", f"--query-gpu={asked}", "--format=csv,noheader"]
        return dict(
            zip(asked.split(","), subprocess.check_output(call, text=True, timeout=10).split(", "), strict=True)
        )
    return {"nvidia-smi": "is not there"}


def some(quick: bool) -> list[str]:
    return ["glf"] if quick else METHODS


def digits(n: int = 64) -> Any:
    made = nets(8, n)
    return made, made_up(made)


def trained(row: str, *, steps: int = 20, streamed: bool = False, stop: int = 0, **how: Any) -> Any:
    """Train all stages of a method on random images, and return the model and what two equal trainings must share.
    With `stop`, the first stage is stopped after so many steps and resumed from its checkpoint.
    """
    from aegen_bench.errors import Stopped
    from aegen_bench.training import loop
    from aegen_bench.training.checkpoint import Checkpoints
    from aegen_bench.training.history import History
    from aegen_bench.training.schedule import StagePlan
    from aegen_bench.training.stopping import Interrupts

    made, images = digits()
    plan = StagePlan(steps=steps, batch=16, lr=1e-3, lr_at=((steps // 2, 0.5),))
    done = [0]

    class Stopping(Interrupts):
        def due(self, *, epoch_over: bool = False) -> bool:
            done[0] += not epoch_over
            return done[0] == stop and not epoch_over

        def go_on(self, spent: float, where: str) -> None:
            raise Stopped(15)

    def once(**more: Any) -> Any:
        model, history = build(row, made).to(DEVICE), History()
        where = images if streamed else images.to(DEVICE)
        plans = {stage.name: plan for stage in model.stages()}
        loop.train(model, where, plans, seed=0, history=history, **how, **more)
        return model, (state(model), [(e["terms"], e["logs"]) for e in history.epochs])

    if not stop:
        return once()
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(Stopped):
            once(checkpoints=Checkpoints(Path(folder), {}, Stopping()))
        return once(resume=Checkpoints(Path(folder)).read())


def state(model: Any) -> list[list[float]]:
    return [value.double().flatten().tolist() for value in model.state_dict().values()]


def methods(quick: bool) -> Facts:
    """Run every method on the device: stages with hooks, extraction, fit, codes, samples. No step may synchronise."""
    from aegen_bench.training import loop
    from aegen_bench.trial import sampling

    step = loop.take_step

    def without_waiting(*args: Any) -> None:
        torch.cuda.set_sync_debug_mode("error")
        step(*args)
        torch.cuda.set_sync_debug_mode("default")

    loop.take_step = without_waiting
    for row in some(quick):
        fine: dict[str, Any] = {"method": row}
        try:
            model, (weights, _) = trained(row, steps=3, graphs=False)
            sampling.encode(model, digits()[1].numpy(), seed=0, device=DEVICE)
            sampling.generate(model, 16, seed=0, draw=0, device=DEVICE)
            fine["ok"] = all(math.isfinite(v) for values in weights for v in values)
        except Exception as error:
            fine |= {"ok": False, "error": " ".join(str(error).split())[:300]}
            torch.cuda.set_sync_debug_mode("default")
        yield fine


def equality(quick: bool) -> Facts:
    """Compare plain steps, bit for bit, with replayed, repeated, streamed and resumed ones."""
    told: list[str] = []
    from aegen_bench.progress import Progress

    class Notes(Progress):
        def note(self, text: str) -> None:
            told.append(text)

    train = partial(trained, steps=8 if quick else 20)
    for row in some(quick):
        told.clear()
        _, eager = train(row, graphs=False)
        _, replayed = train(row, progress=Notes())
        facts = {"method": row, "not captured": list(told)}
        yield facts | {"replayed": eager == replayed, "repeated": eager == train(row, graphs=False)[1]}
        if row in ("glf", "glann", "vampprior", "vqvae_ar"):
            yield {"method": row, "resumed": train(row, stop=7)[1] == replayed}
        if row in ("glf", "glo"):
            yield {"method": row, "streamed": train(row, streamed=True)[1] == replayed}


def deterministic(quick: bool) -> Facts:
    """Report which methods use operations that torch calls nondeterministic."""
    import warnings

    for row in some(quick):
        torch.use_deterministic_algorithms(True, warn_only=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trained(row, steps=2, graphs=False)
        torch.use_deterministic_algorithms(False)
        found = {str(w.message).split(" does not have")[0] for w in caught if "deterministic" in str(w.message)}
        yield {"method": row, "nondeterministic": sorted(found)}


def against_cpu(quick: bool) -> Facts:
    """Compare losses of equal weights, inverted flows and features with the CPU, and check that TF32 is off."""
    from aegen_bench import environment, seeding
    from aegen_bench.blocks.execution import tf32
    from aegen_bench.evaluation.extractors.inception import Inception, network
    from aegen_bench.numerics.pixels import as_float

    with environment.exact():
        n = 64 if quick else 4096
        a, b = (torch.randn(n, n, generator=seeding.stream(0, name)) for name in "ab")
        right = a.double() @ b.double()
        for name, on in (("fp32", False), ("tf32", True)):
            with tf32(on):
                product = (a.to(DEVICE) @ b.to(DEVICE)).cpu().double()
            yield {"product": n, "precision": name, "relative error": float((product - right).norm() / right.norm())}
        made, images = digits()
        for row in some(quick):
            losses = []
            for device in (torch.device("cpu"), DEVICE):
                model = build(row, made).to(device).eval()
                model.randn = model.rand = lambda *s, d=device: torch.full(s, 0.3, device=d)
                model.randint = lambda high, *s, d=device: torch.zeros(s, dtype=torch.long, device=d)
                with torch.no_grad():
                    stage = next(stage for stage in model.stages() if stage.data == "images")
                    x, index = as_float(images[:16].to(device)), torch.arange(16, device=device)
                    _, terms = next(iter(stage.step(x, index)))
                losses.append(float(sum(terms.values())))
            yield {"method": row, "loss": losses, "relative difference": abs(losses[1] / losses[0] - 1)}
        flow = nets(28, 8).flow().to(DEVICE).eval()
        z = torch.randn(256, 20, device=DEVICE, generator=seeding.stream(0, "z", device=DEVICE))
        with torch.no_grad():
            e, _ = flow(z)
            yield {"flow": "undone to", "difference": float((flow.inverse(e) - z).abs().max())}
            with seeding.initialising(0):
                inception = Inception(network()).eval()
            few = made_up(nets(32, 1 if quick else 50))
            here = inception(few)
            there = inception.to(DEVICE)(few.to(DEVICE)).cpu()
        yield {"inception": len(few), "relative difference": float((there - here).norm() / here.norm())}


def command(folder: Path, rows: str, *more: str) -> tuple[str, dict[str, Any]]:
    """Run rows of a tiny study in this process, and return its output and the records by row."""
    import yaml

    from aegen_bench import cli

    for row, fault in FAULTS.items():
        (folder / "baselines").mkdir(exist_ok=True)
        (folder / "baselines" / f"{row}.py").write_text(SOURCE.replace("FAULT", fault))
    profile = {"models": ["glf"], "datasets": ["digits"], "seeds": 1, "protocols": ["tiny"], "train_images": 256}
    plan = {"stages": {"*": {"epochs": 2, "batch": 64, "lr_at": {}}}}
    protocol = {"extractor": "random_conv", "count": 64, "metrics": ["fd"]}
    (folder / "benchmarks.yaml").write_text(
        yaml.safe_dump({"protocols": {"tiny": protocol}, "profiles": {"tiny": profile | plan}})
    )
    os.chdir(folder)
    sys.argv = ["aegen-bench", "run", "--profile", "tiny", "--models", rows, "--data", "data", *more]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        cli.main()
    records = {p.parts[-3]: json.loads(p.read_text()) for p in folder.rglob("record.json")}
    return said.getvalue(), records


def after_a_fault(quick: bool) -> Facts:
    """Run a trial after one whose kernel asserts, and after one that asks for more memory than there is."""
    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            said, records = command(Path(folder), f"{fault},glf", "--device", "cuda:0")
        found = {
            row: (records[row]["status"], records[row]["reason"][:160]) for row in (fault, "glf") if row in records
        }
        yield {"first": fault, "found": found, "ok": found.get("glf", ("", ""))[0] == "ok", "said": said[-300:]}


def two_processes(quick: bool) -> Facts:
    """Check that two trials at a time on one GPU give the same numbers as one."""
    found = []
    for more in (["--device", "cuda:0"], ["--devices", "cuda:0", "--jobs-per-device", "2"]):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            said, records = command(Path(folder), "glf,vae", *more)
            took = time.perf_counter() - begin
        found.append({row: r["weights_sha256"] for row, r in records.items()})
        yield {"asked": " ".join(more), "seconds": took, "said": said[-200:]}
    yield {"equal": found[0] == found[1] != {}}


# ---- fast ----------------------------------------------------------------------------------------


def untrained(name: str, folder: Path) -> dict[str, Any]:
    """Return random weights in place of those of VGG16."""
    from torchvision.models import vgg16

    return vgg16(weights=None).state_dict()


def cases(quick: bool) -> Iterator[tuple[str, str, int, int]]:
    """Yield row, dataset, side and steps per epoch, the cheapest and most informative ones first."""
    sides = {"digits": 8} if quick else {"fashion": 28, "cifar10": 32, "celeba": 64}
    rows = ("glf", "two_stage_vae", "rae_gmm", "vae", "glann")
    for dataset, side in sides.items():
        yield from ((row, dataset, side, 2 if quick else 50) for row in rows[: 1 if quick else 5])
    for dataset, side in () if quick else tuple(sides.items()):
        yield "glf_perceptual", dataset, side, 8


def timed(row: str, dataset: str, side: int, steps: int, how: dict[str, str], graphs: bool = True) -> dict[str, float]:
    """Return the milliseconds per step of each stage, without its first epoch, with the paper's batch sizes."""
    from aegen_bench import environment, weights
    from aegen_bench.cost import counting
    from aegen_bench.study import Study
    from aegen_bench.training import loop
    from aegen_bench.training.history import History

    weights.load = untrained
    settings = [f"{name}={value}" for name, value in how.items()]
    study = Study("paper", local=ROOT, data=Path("unused"), settings=settings)
    config = study.config(row, dataset)
    n = steps * max(stage["batch"] for stage in config["stages"].values())
    shape = (1 if side in (8, 28) else 3, side, side)
    kind = counting.Kind(config, study.entry(row), shape, n, Path("unused"))
    with environment.exact():
        model = kind.model(DEVICE)
        model.fit = lambda codes: None
        plans = {
            stage.name: kind.plan(stage).model_copy(update={"steps": None, "epochs": 4, "lr_at": ()})
            for stage in model.stages()
        }
        images = torch.randint(256, (n, *shape), dtype=torch.uint8).to(DEVICE)
        history = History()
        loop.train(model, images, plans, seed=0, history=history, graphs=graphs)
    return {
        name: 1000 * told["seconds_per_epoch"] / (told["steps"] / told["epochs"])
        for name, told in history.stages.items()
    }


def speed(quick: bool) -> Facts:
    """Time plain and replayed steps in each precision."""
    for row, dataset, side, steps in cases(quick):
        ways: list[tuple[str, dict[str, str], bool]] = [("fp32", {}, False), ("fp32, graph", {}, True)]
        ways += [(f"{p}, graph", {"precision": p}, True) for p in ("tf32", "bf16")]
        ways = ways[1:3] if quick else ways
        if row == "glf_perceptual":
            ways += [("fp32, its network tf32, graph", {"perceptual_precision": "tf32"}, True)]
        for name, how, graphs in ways:
            facts = {"row": row, "side": side, "how": name}
            try:
                yield facts | {"ms a step": timed(row, dataset, side, steps, how, graphs)}
            except Exception as error:
                yield facts | {"error": " ".join(str(error).split())[:300]}
        torch.cuda.empty_cache()


def kernels(quick: bool) -> Facts:
    """Count the kernels of a plain step, and measure the share of the time in which the GPU computes."""
    from torch.profiler import ProfilerActivity, profile

    from aegen_bench.cost.counting import _step
    from aegen_bench.training.optimizers import make_optimizers
    from aegen_bench.training.schedule import StagePlan

    for row, side in (("glf", 28), ("two_stage_vae", 28), ("glf", 64)):
        model = build(row, nets(side, 512)).to(DEVICE)
        for stage in model.stages():
            plan = StagePlan(steps=1, batch=256, lr=1e-4)
            step = _step(model, stage, 256, make_optimizers(model, plan, full_size=512, size=512))
            for _ in range(5):
                step()
            torch.cuda.synchronize()
            with profile(activities=[ProfilerActivity.CUDA]) as seen:
                took = seconds(lambda step=step: ([step() for _ in range(5)], torch.cuda.synchronize()))  # type: ignore[misc]
            events = [e for e in seen.events() if str(e.device_type).endswith("CUDA")]
            busy = sum(e.device_time for e in events) / 1e6
            yield {"row": row, "side": side, "stage": stage.name, "kernels": len(events) / 5, "busy": busy / took}


def compiling(quick: bool) -> Facts:
    """Time GLF at 28 px with --compile: the first epoch, and a step afterwards."""
    from aegen_bench import environment
    from aegen_bench.training import loop
    from aegen_bench.training.history import History
    from aegen_bench.training.schedule import StagePlan

    environment.require_compiler(DEVICE)
    made = nets(28, 12_800)
    images = made_up(made).to(DEVICE)
    for compile in (False, True):
        model, history = build("glf", replace(made, compile=compile)).to(DEVICE), History()
        plans = {"train": StagePlan(epochs=4, batch=256, lr=1e-4)}
        loop.train(model, images, plans, seed=0, history=history)
        told = history.stages["train"]
        first = told["seconds"] - 3 * told["seconds_per_epoch"]
        yield {"compile": compile, "ms a step": 20 * told["seconds_per_epoch"], "first epoch": first}


def _rate(row: str, side: int, queue: Any, begin: Any) -> None:
    """Measure, in a separate process, the steps/s of a row's most expensive stage while others do the same."""
    begin.wait()
    dataset = {28: "fashion", 64: "celeba"}[side]
    queue.put(1000 / max(timed(row, dataset, side, 60, {}).values()))


def sharing(quick: bool) -> Facts:
    """Measure the total steps/s of 1, 2 and 4 processes that share a GPU."""
    context = multiprocessing.get_context("fork")
    for row, side in (("glf", 28), ("glf", 64)):
        for count in (1, 2, 4):
            queue, begin = context.Queue(), context.Barrier(count)
            workers = [context.Process(target=_rate, args=(row, side, queue, begin)) for _ in range(count)]
            for worker in workers:
                worker.start()
            rates = [queue.get(timeout=60) for _ in workers]
            for worker in workers:
                worker.join()
            yield {"row": row, "side": side, "processes": count, "steps a second together": sum(rates)}


def streaming(quick: bool) -> Facts:
    """Compare steps on images on the device with steps on streamed images."""
    from aegen_bench.training import loop
    from aegen_bench.training.history import History
    from aegen_bench.training.schedule import StagePlan

    for side, batch, steps in ((8, 16, 4),) if quick else ((64, 256, 20),):
        made = nets(side, steps * batch)
        for where in ("device", "host"):
            images = made_up(made).to(DEVICE if where == "device" else "cpu")
            model, history = build("glf", made).to(DEVICE), History()
            plans = {"train": StagePlan(epochs=4, batch=batch, lr=1e-4)}
            loop.train(model, images, plans, seed=0, history=history)
            yield {
                "side": side,
                "images": where,
                "ms a step": 1000 / steps * history.stages["train"]["seconds_per_epoch"],
            }


# ---- evaluation and the rest ---------------------------------------------------------------------


def extractor(quick: bool) -> Facts:
    """Measure Inception's images/s by batch size, and whether features depend on the batch size."""
    from aegen_bench import environment
    from aegen_bench.evaluation.extractors.inception import Inception, network

    images = made_up(nets(32, 2 if quick else 500)).to(DEVICE)
    found = {}
    with environment.exact(), torch.inference_mode():
        inception = Inception(network()).eval().to(DEVICE)
        for batch in (1, 2) if quick else (50, 250):

            def run(batch: int = batch) -> Tensor:
                features = torch.cat([inception(part) for part in images.split(batch)])
                torch.cuda.synchronize()
                return features

            found[batch] = run()
            took = statistics.median(seconds(run) for _ in range(1 if quick else 3))
            yield {"batch": batch, "images a second": len(images) / took}
    yield {"equal features": torch.equal(*found.values())}


def metrics(quick: bool) -> Facts:
    """Return the seconds of the metrics of a draw on CPU and GPU, and the differences of their numbers."""
    from aegen_bench.evaluation import metrics
    from aegen_bench.evaluation.frechet import Reference, moments
    from aegen_bench.evaluation.metric import Inputs

    n, d = (100, 16) if quick else (10_000, 2048)
    random = np.random.default_rng(0)
    # The sets are far apart, so that FD-infinity needs only two rounds of subsets.
    real, generated = (np.maximum(scale * random.normal(size=(n, d)), 0).astype(np.float32) for scale in (1, 1.3))

    def measured(name: str, place: str, rows: int) -> dict[str, float]:
        a, b = real[:rows], generated[:rows]
        side = reference if rows == n else Reference.of(moments(a))
        inputs = Inputs(lambda: a, 0, "fd", place, lambda: b, real_reference=lambda: side)
        found = metrics.load(name).measure(inputs)
        return {key: float(value) for key, value in found.items() if key in metrics.load(name).VALUES}

    reference = Reference.of(moments(real))
    for name in ("fd", "kid", "precision_recall", "density_coverage", "clipped_density_coverage", "fd_infinity"):
        numbers, took = {}, {}
        for place in ("cpu", str(DEVICE)):
            if name == "fd_infinity" and place == "cpu" and not quick:
                continue  # minutes
            measured(name, place, min(n, 64))
            began = time.perf_counter()
            numbers[place] = measured(name, place, n)
            took[place] = time.perf_counter() - began
        here, there = numbers.get("cpu", {}), numbers[str(DEVICE)]
        apart = max((abs(here[key] - there[key]) / max(abs(here[key]), 1e-9) for key in here), default=None)
        yield {"metric": name, "seconds": took, "relative difference": apart}


def checkpoint(quick: bool) -> Facts:
    """Time a checkpoint of the largest model, for which training pauses."""
    from aegen_bench.training.checkpoint import Checkpoints, model_state

    model = build("two_stage_vae", nets(8 if quick else 64, 64)).to(DEVICE)
    with tempfile.TemporaryDirectory() as folder:
        keep = Checkpoints(Path(folder))
        took = seconds(lambda: keep.save({"model": model_state(model), "stage": 0}, spent=0.0, where=""))
    yield {"parameters": sum(p.numel() for p in model.parameters()), "seconds": took}


def matching(quick: bool) -> Facts:
    """Time GLANN's matching of all codes with candidates, which happens once per epoch."""
    from aegen_bench import seeding

    n = 256 if quick else 162_770
    model: Any = build("glann", replace(nets(8, n), d=64)).to(DEVICE)
    codes = torch.randn(n, 64, device=DEVICE, generator=seeding.stream(0, "codes", device=DEVICE))
    with torch.no_grad(), model.using(seeding.stream(0, "match", device=DEVICE)):
        model.match(codes)
        torch.cuda.synchronize()
        yield {"codes": n, "seconds": seconds(lambda: (model.match(codes), torch.cuda.synchronize()))}


def memory(quick: bool) -> Facts:
    """Measure the memory of training GLF at 64 px, as counted by torch, with and without graphs."""
    for graphs in (True,) if quick else (False, True):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(DEVICE)
        timed("glf", "digits" if quick else "celeba", 8 if quick else 64, 1 if quick else 5, {}, graphs)
        yield {"graphs": graphs, "peak bytes": torch.cuda.max_memory_allocated(DEVICE)}
    yield clocks()


SECTIONS: dict[str, tuple[Callable[[bool], Facts], int]] = {  # by importance, each with its time limit in seconds
    "machine": (machine, 15),
    "methods": (methods, 45),
    "equality": (equality, 80),
    "against_cpu": (against_cpu, 40),
    "after_a_fault": (after_a_fault, 50),
    "speed": (speed, 120),
    "kernels": (kernels, 25),
    "extractor": (extractor, 30),
    "metrics": (metrics, 45),
    "sharing": (sharing, 60),
    "two_processes": (two_processes, 45),
    "checkpoint": (checkpoint, 15),
    "matching": (matching, 20),
    "streaming": (streaming, 25),
    "deterministic": (deterministic, 30),
    "memory": (memory, 20),
    "compiling": (compiling, 60),
}
NEEDS_A_GPU = ("kernels", "sharing", "two_processes", "compiling")  # profiler, other processes, compiler


def run(name: str, quick: bool, rehearse: bool, out: Path) -> None:
    """Run a section in a separate process."""

    def say(facts: dict[str, Any]) -> None:
        line = json.dumps({"section": name, **facts}, default=str)
        print(line, file=screen, flush=True)
        with out.open("a") as file:
            file.write(line + "\n")

    screen, begin = sys.stdout, time.perf_counter()
    with contextlib.ExitStack() as stack:
        if rehearse:
            sys.path.append(str(ROOT / "tests" / "support"))
            from emulated_cuda import emulated_cuda

            stack.enter_context(emulated_cuda())
        try:
            for facts in SECTIONS[name][0](quick):
                say(facts)
        except ModuleNotFoundError as error:
            say({"skipped": f"needs {error.name}"})
        except Exception as error:
            say({"failed": f"{type(error).__name__}: {error}"[:500], "where": traceback.format_exc(limit=-3)[-800:]})
        say({"ended": True, "took": round(time.perf_counter() - begin, 1)})


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--rehearse", action="store_true", help="on an emulated device")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma separated")
    parser.add_argument("--seconds", type=float, default=470.0, help="for all sections together")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="lines are added at its end")
    args = parser.parse_args()
    end, out = time.monotonic() + args.seconds, args.out.absolute()
    if args.rehearse:
        import torch._dynamo  # noqa: F401  # which optimizers import: it takes seconds; on a GPU it may look at the device
    # Forked: this process never touches CUDA, and what it has imported need not be imported again.
    context = multiprocessing.get_context("fork")
    for name in args.only.split(","):
        if args.rehearse and name in NEEDS_A_GPU:
            print(json.dumps({"section": name, "skipped": "not on an emulated device"}), flush=True)
            continue
        limit = min(SECTIONS[name][1], end - time.monotonic())
        if limit < 5:
            print(json.dumps({"section": name, "skipped": "no time is left"}), flush=True)
            continue
        child = context.Process(target=partial(run, name, args.quick, args.rehearse, out))
        child.start()
        child.join(None if args.rehearse else limit)
        if child.is_alive():
            child.kill()
            child.join()
        if child.exitcode:
            why = f"stopped after its {limit:.0f} s" if child.exitcode < 0 else f"ended with {child.exitcode}"
            print(json.dumps({"section": name, "failed": why}), flush=True)


if __name__ == "__main__":
    main()
