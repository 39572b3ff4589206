"""Where a trial runs: device, versions, threads, git state, memory. Recorded with every trial."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from aegen_bench import __version__
from aegen_bench.errors import UserError

__all__ = [
    "about_auto",
    "describe",
    "exact",
    "free_processors",
    "identity",
    "native_bf16",
    "native_tf32",
    "on_free_processors",
    "peak_memory",
    "pick_device",
    "prepare_processes",
    "require_compiler",
    "reset_peak_memory",
    "ticks",
    "timed_on",
    "wanted_threads",
]

MOST_THREADS = 1024
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas")


NOT_SUPPORTED = {
    "mps": "it has no float64, in which losses are averaged",
    "xpu": "it was never tried",
}


def pick_device(name: str) -> Any:
    """Return a torch device: `auto` is the first CUDA device where there is one, otherwise the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: not a device; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or (device.index or 0) >= count:
            found = f"{count} CUDA device(s)" if torch.cuda.is_available() else "no CUDA device"
            raise UserError(f"--device {name}: torch {torch.__version__} sees {found} here; use --device cpu")
    elif device.type == "cpu" and device.index is not None:
        raise UserError(f"--device {name}: the processors have no numbers; use cpu")
    elif device.type != "cpu":
        why = NOT_SUPPORTED.get(device.type, "only CPUs and CUDA devices are")
        raise UserError(f"--device {name}: not supported: {why}; use auto, cpu, cuda or cuda:N")
    return device


def about_auto() -> str:
    """Say in a line what `--device auto` takes where a user may wonder: a CPU, or one of several GPUs; else ''."""
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"torch {torch.__version__} finds no GPU that its CUDA {built} can use" if built else ""
        why = why or f"torch {torch.__version__} is built without CUDA"
        there = {"mps": torch.backends.mps.is_available(), "xpu": torch.xpu.is_available()}
        other = next((kind for kind in NOT_SUPPORTED if there[kind]), None)
        return f"device: cpu, because {why}" + (f", and {other} is not supported" if other else "")
    count = torch.cuda.device_count()
    if count == 1:
        return ""
    return f"device: cuda:0, one of {count} GPUs; --devices {','.join(f'cuda:{i}' for i in range(count))} uses all"


def prepare_processes() -> None:
    """Set what must be in the environment before torch is imported, here and in the processes that this one starts.

    - GOMP_SPINCOUNT=10000: a thread of OpenMP that has nothing to do spins for a moment and then sleeps. By default it
      spins much longer, so that beside other work it keeps a processor from a thread that could go on. Sleeping at
      once (OMP_WAIT_POLICY=PASSIVE) costs 15% of the training speed on idle processors, this 1.4% (perf/busy.py).
    - PYTHONSAFEPATH: a worker process does not import pickle.py, struct.py, ... from the working folder.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ["PYTHONSAFEPATH"] = "1"


def wanted_threads() -> int | None:
    """How many threads OMP_NUM_THREADS asks for, None where it is not set; UserError where it is no such number."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if not text:
        return None
    if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= MOST_THREADS):
        raise UserError(f"OMP_NUM_THREADS={text}: expected a number of threads from 1 to {MOST_THREADS}, or unset it")
    return int(text)


@contextlib.contextmanager
def on_free_processors(note: Callable[[str], None], stat: Path = Path("/proc/stat")) -> Iterator[int]:
    """Within, torch has a thread for each processor that this process may use and others leave idle; gives how many.
    `note` is told where some are busy.

    It looks for a quarter of a second, where the system tells (Linux). The number of threads is part of how results
    round, so it is chosen once, and a checkpoint brings its own. OMP_NUM_THREADS, where it is set, is what counts.
    """
    import joblib
    import torch

    threads: int = wanted_threads() or joblib.cpu_count()
    if wanted_threads() is None and (free := free_processors(stat)) is not None and free < threads:
        busy = f"{threads - free} of {threads} processors are busy with other work"
        note(f"{busy}: on {free} thread{'s' * (free > 1)} (OMP_NUM_THREADS chooses another number)")
        threads = free
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


def free_processors(stat: Path = Path("/proc/stat"), seconds: float = 0.25) -> int | None:
    """How many of the processors that this process may use are idle now, at least 1; None where nothing tells."""
    before = ticks(stat)
    time.sleep(seconds if before else 0.0)
    after = ticks(stat)
    spans = [(after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in before if name in after]
    idle = [free / whole for free, whole in spans if whole > 0]
    return max(1, round(sum(idle))) if idle else None


def ticks(stat: Path) -> dict[str, tuple[int, int]]:
    """Idle and total time, in ticks, of each processor that this process may use; empty where nothing tells."""
    allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else set()
    found = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in stat.read_text().splitlines():
            name, *ticks = line.split()
            if name in allowed:
                numbers = [int(tick) for tick in ticks[:8]]  # of user, nice, system, idle, iowait, irq, softirq, steal
                found[name] = (numbers[3] + numbers[4], sum(numbers))
    return found


def identity(device: str) -> str:
    """What names a device whatever number a process gives it: the UUID of a GPU, else its own name."""
    import torch

    found = torch.device(device)
    if found.type != "cuda":
        return found.type
    uuid = getattr(torch.cuda.get_device_properties(found), "uuid", None)
    return device.replace(":", "-") if uuid is None else f"GPU-{uuid}"


def require_compiler(device: Any) -> None:
    """UserError where torch.compile does not work, as without a C++ compiler: the only sure way to know is to compile
    something (seconds, the first time on a machine up to a minute).
    """
    import torch

    try:
        torch.compile(torch.sin)(torch.ones(1, device=device))
    except Exception as error:  # whatever its back ends raise: no compiler, no headers of Python, a GPU too old
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        cure = "install a C++ compiler (g++) and the headers of Python, or run without --compile"
        raise UserError(f"torch.compile does not work on {device} here: {why}: {cure}") from error


def describe(device: Any, *, at_once: int = 1, graphs: bool = True) -> dict[str, Any]:
    """Return what a record says of the place a trial ran in. `device` is the hardware's name, for the captions of
    time tables; `at_once` is how many trials share a GPU, `graphs` whether it replays training steps.
    """
    import torch

    from aegen_bench.numerics import tuning

    cuda = device.type == "cuda"
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name(device) if cuda else f"{_processor()}, {threads} threads"
    return {
        "device": name,
        "device_type": device.type,
        "threads": threads,
        "tf32": {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32}
        if cuda
        else {},
        "native_bf16": native_bf16(),
        "products": "" if cuda else tuning.library(),
        "aegen_bench": __version__,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
        "cuda": torch.version.cuda if cuda else "",
        "git": _git(),
        **({"trials_at_once": at_once, "graphs": graphs} if cuda else {}),
    }


def timed_on(described: dict[str, Any]) -> str:
    """What the times of a record belong to: the device that it describes and what else changes them by a lot. That is
    oneDNN where linear layers took it, other trials on the same GPU, and a GPU without CUDA graphs. Empty where the
    device is not known.
    """
    device = str(described.get("device", ""))
    at_once = described.get("trials_at_once", 1)
    said = [
        "oneDNN" if described.get("products") == "oneDNN" else "",
        f"{at_once} trials at once" if at_once > 1 else "",
        "" if described.get("graphs", True) else "no CUDA graphs",
    ]
    return ", ".join([device, *filter(None, said)]) if device else ""


def native_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether this CPU multiplies in bfloat16 (AVX512, AMX or Arm BF16); None where the system does not tell.

    torch's own test is no answer: it also says yes where bf16 is emulated, about 25 times slower than fp32.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    listed = [line.split() for line in lines if line.lower().startswith(("flags", "features"))]
    flags = {flag for line in listed for flag in line}
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}) if flags else None


def native_tf32(device: Any) -> bool:
    """Whether the device multiplies in TF32: NVIDIA GPUs since Ampere."""
    import torch

    return bool(device.type == "cuda" and torch.cuda.get_device_properties(device).major >= 8)


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Within, on CUDA: fp32 without TF32, deterministic convolutions; equal seeds on a device are then bit-equal.

    A trial may change the number of threads to that of its checkpoint: afterwards it is what it was.
    """
    import torch

    threads = torch.get_num_threads()
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.set_num_threads(threads)


def reset_peak_memory(device: Any) -> None:
    """Begin a new measurement of `peak_memory`."""
    if device.type == "cuda":
        import torch

        torch.cuda.init()  # type: ignore[no-untyped-call]  # for a device with an index the next call does not
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the process's high-water mark


def peak_memory(device: Any) -> int | None:
    """Bytes: of the device's allocator on CUDA, of the whole process on a CPU (Linux: since the reset, elsewhere
    since its start); None where the system does not tell.
    """
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    import sys

    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _git() -> dict[str, Any]:
    """Commit and dirty flag of the checkout the code runs from; empty for an installed wheel."""

    def git(*args: str) -> str:
        place = Path(__file__).parent.parent
        return subprocess.run(
            ["git", *args], cwd=place, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        if not (Path(__file__).parent.parent / "pyproject.toml").is_file():
            return {}
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--", "aegen_bench", "baselines")),
        }
    except (OSError, subprocess.SubprocessError):
        return {}
