"""Runs aegen-bench on dask workers that SLURM starts, one per job, and releases them at the end.

pip install 'aegen-bench[cluster]' dask-jobqueue
python slurm.py --profile paper --datasets cifar10      # options go to `aegen-bench run`

Adapt the settings in capitals. Start it where it can keep running: on a login node in tmux, or in a small job. A worker
stops ten minutes before its job's time limit; its trial is saved, and another worker resumes it.
"""

import subprocess
import sys

from dask_jobqueue import SLURMCluster

JOBS = 4  # workers, each with
CORES = 8  # processors, which a trial uses on a CPU
MEMORY = "32GB"
WALLTIME, LIFETIME = "24:00:00", "1430m"  # in a single unit: dask does not understand 23h50m
DIRECTIVES = ["--gres=gpu:1"]  # [] without GPUs
RESOURCES = "GPU=1"  # trials run only on workers started with this

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
