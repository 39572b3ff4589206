"""The options that decide how many trials run at the same time, and where."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from aegen_bench.errors import MissingError, UserError
from aegen_bench.runner.execution import Executor

__all__ = ["Parallelism"]

MOST = 1024  # processes


@dataclass(frozen=True)
class Parallelism:
    """How many trials run at the same time, and where.

    Either `jobs` processes, or `per_device` on each of `devices`, or one on each worker of the dask scheduler `cluster`
    that was started with `resources` (GPU=1). UserError for options that cannot be combined.
    """

    jobs: int | None = None
    devices: tuple[str, ...] = ()
    per_device: int = 1
    cluster: str | None = None
    resources: str | None = None

    def __post_init__(self) -> None:
        if self.cluster is not None and (self.devices or self.jobs is not None or self.per_device != 1):
            raise UserError("--cluster: a worker runs one trial at a time; --jobs and --devices are for this machine")
        if self.resources and self.cluster is None:
            raise UserError("--resources needs --cluster")
        if self.per_device != 1 and not self.devices:
            raise UserError("--jobs-per-device needs --devices")
        if max(self.jobs or 1, self.per_device * len(self.devices)) > MOST:
            raise UserError(f"more than {MOST:,} trials at the same time: lower --jobs or --jobs-per-device")
        if self.devices and (self.jobs or 1) > (room := len(self.devices) * self.per_device):
            raise UserError(f"--jobs {self.jobs}: the devices have room for {room}; raise --jobs-per-device")

    def executor(self, device: str, threads: int) -> Executor:
        """Return what runs the trials, on `device` if there are no `devices`. Local processes share `threads`."""
        from aegen_bench import environment
        from aegen_bench.runner import workers

        if self.cluster is not None:
            return self._on_cluster(self.cluster, device)
        names = [str(environment.pick_device(name)) for name in dict.fromkeys(self.devices) or (device,)]
        if not self.devices and (self.jobs or 1) == 1:
            return workers.in_process
        slots = workers.slots(self.jobs, names if self.devices else [], self.per_device, names[0], threads)
        return partial(workers.in_workers, slots=slots)

    def _on_cluster(self, address: str, device: str) -> Executor:
        try:
            from aegen_bench.runner.cluster import Cluster
        except ModuleNotFoundError as error:
            raise MissingError(f"--cluster needs {error.name}: pip install 'aegen-bench[cluster]'") from error
        try:
            pairs = [pair.split("=") for pair in (self.resources or "").split(",") if pair]
            resources = {name: float(amount) for name, amount in pairs}
        except ValueError:
            raise UserError(f"--resources {self.resources}: expected resources as for dask, such as GPU=1") from None
        return Cluster(address, device, resources).execute
