"""Runs aegen-bench on dask workers that SLURM starts, one a job, and lets them go at the end.

pip install 'aegen-bench[cluster]' dask-jobqueue
python slurm.py --profile paper --datasets cifar10      # what follows goes to `aegen-bench run`

Change what is in capitals. Start it where it may stay: on a login node in tmux, or in a small job of its own. A worker
leaves ten minutes before its job's time is over: what it does is saved, and another worker resumes it.
"""

import subprocess
import sys

from dask_jobqueue import SLURMCluster

JOBS = 4  # workers, each with
CORES = 8  # processors, which a trial uses on a CPU
MEMORY = "32GB"
WALLTIME, LIFETIME = "24:00:00", "1430m"  # in one unit: dask reads no 23h50m
DIRECTIVES = ["--gres=gpu:1"]  # [] without GPUs
RESOURCES = "GPU=1"  # a trial goes to a worker that was started with this

if __name__ == "__main__":
    with SLURMCluster(
        cores=CORES,
        processes=1,
        memory=MEMORY,
        walltime=WALLTIME,
        job_extra_directives=DIRECTIVES,
        worker_extra_args=["--resources", RESOURCES, "--lifetime", LIFETIME],
    ) as cluster:
        cluster.scale(jobs=JOBS)
        command = [sys.executable, "-m", "aegen_bench", "run", "--cluster", cluster.scheduler_address]
        sys.exit(subprocess.call([*command, "--resources", RESOURCES, *sys.argv[1:]]))
