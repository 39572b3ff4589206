"""The environment of a trial: device, versions, threads, git state, memory. Recorded with every trial."""

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
    """Return a torch device; `auto` means the first CUDA device if there is one, otherwise the CPU.

    UserError for a device that does not exist or is not supported.
    """
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
    """Return a line on the choice of `--device auto` if it may surprise (a CPU, or one of several GPUs), else ''."""
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
    """Set environment variables that must be set before torch is imported, for this process and its children.

    - GOMP_SPINCOUNT=10000: an idle OpenMP thread spins for a moment and then sleeps. By default it spins much longer
      and, on a busy machine, occupies a processor that another thread could use. Sleeping immediately
      (OMP_WAIT_POLICY=PASSIVE) costs 15% of the training speed on idle processors, this setting 1.4% (perf/busy.py).
    - PYTHONSAFEPATH: a worker process does not import pickle.py, struct.py, ... from the working directory.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ["PYTHONSAFEPATH"] = "1"


def wanted_threads() -> int | None:
    """Return the number of threads in OMP_NUM_THREADS, or None if it is not set; UserError if it is invalid."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if not text:
        return None
    if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= MOST_THREADS):
        raise UserError(f"OMP_NUM_THREADS={text}: expected a number of threads from 1 to {MOST_THREADS}, or unset it")
    return int(text)


@contextlib.contextmanager
def on_free_processors(note: Callable[[str], None], stat: Path = Path("/proc/stat")) -> Iterator[int]:
    """Context in which torch uses one thread for each idle processor available to this process; yields the number.

    `note` is called with a line if some processors are busy. Measuring takes a quarter of a second and works on Linux
    only. Since the number of threads affects rounding, it is chosen once, and a resumed trial uses that of its
    checkpoint. OMP_NUM_THREADS takes precedence.
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
    """Return how many of the processors available to this process are idle now (at least 1), or None if unknown."""
    before = ticks(stat)
    time.sleep(seconds if before else 0.0)
    after = ticks(stat)
    spans = [(after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in before if name in after]
    idle = [free / whole for free, whole in spans if whole > 0]
    return max(1, round(sum(idle))) if idle else None


def ticks(stat: Path) -> dict[str, tuple[int, int]]:
    """Return the idle and total time, in ticks, of each processor available to this process; empty if unknown."""
    allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else set()
    found = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in stat.read_text().splitlines():
            name, *ticks = line.split()
            if name in allowed:
                numbers = [int(tick) for tick in ticks[:8]]  # user, nice, system, idle, iowait, irq, softirq, steal
                found[name] = (numbers[3] + numbers[4], sum(numbers))
    return found


def identity(device: str) -> str:
    """Return an identifier of a device that does not depend on how a process numbers it: a GPU's UUID if known."""
    import torch

    found = torch.device(device)
    if found.type != "cuda":
        return found.type
    uuid = getattr(torch.cuda.get_device_properties(found), "uuid", None)
    return device.replace(":", "-") if uuid is None else f"GPU-{uuid}"


def require_compiler(device: Any) -> None:
    """Raise UserError if torch.compile does not work, for example without a C++ compiler.

    The only reliable test is to compile something, which takes seconds, and up to a minute the first time.
    """
    import torch

    try:
        torch.compile(torch.sin)(torch.ones(1, device=device))
    except Exception as error:  # whatever its backends raise: no compiler, no Python headers, a GPU that is too old
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        cure = "install a C++ compiler (g++) and the headers of Python, or run without --compile"
        raise UserError(f"torch.compile does not work on {device} here: {why}: {cure}") from error


def describe(device: Any, *, at_once: int = 1, graphs: bool = True) -> dict[str, Any]:
    """Return the `environment` of a record (docs/results-format.md).

    `device` is a torch device, `at_once` the number of trials that share a GPU, and `graphs` whether training steps
    are replayed as CUDA graphs.
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
    """Return the conditions of a record's times: the device, and whatever else changes times by a lot (oneDNN in linear
    layers, other trials on the same GPU, no CUDA graphs). Empty if the device is unknown.
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
    """Whether this CPU multiplies in bfloat16 (AVX512, AMX or Arm BF16); None if unknown.

    torch's own test does not help: it is also true if bf16 is emulated, which is about 25 times slower than fp32.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    listed = [line.split() for line in lines if line.lower().startswith(("flags", "features"))]
    flags = {flag for line in listed for flag in line}
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}) if flags else None


def native_tf32(device: Any) -> bool:
    """Whether the device supports TF32, as NVIDIA GPUs since Ampere do."""
    import torch

    return bool(device.type == "cuda" and torch.cuda.get_device_properties(device).major >= 8)


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Context in which CUDA computes in fp32 without TF32 and with deterministic convolutions.

    Equal seeds then give bit-identical results on a device. On exit the number of threads is restored, which a trial
    may have changed to that of its checkpoint.
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
    """Start a new measurement of `peak_memory`."""
    if device.type == "cuda":
        import torch

        torch.cuda.init()  # type: ignore[no-untyped-call]  # the next call does not, for a device with an index
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the process's high-water mark


def peak_memory(device: Any) -> int | None:
    """Return the peak memory in bytes: of torch's allocator on CUDA, of the whole process on a CPU (on Linux since the
    reset, elsewhere since the process started); None if unknown.
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


@cache
def _git() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that the code runs from, as they were when this process first asked, since
    it goes on with the code that it has imported; empty for an installed wheel.
    """

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
