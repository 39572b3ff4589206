# aegen-bench in a container; its default command is `make bench`.
#
#   docker build -t aegen-bench .                                      torch for the CPU
#   docker build -t aegen-bench:cuda --build-arg TORCH_INDEX= .        torch for CUDA (about 6 GB); run with --gpus all
#   docker run --rm -v aegen-data:/data -v $PWD/results:/bench/results aegen-bench
#
# Not verified: no container engine was at hand where this was written.
FROM python:3.11-slim

# A local version (2.x.y+cpu) counts as newer than the same version on the package index, so pip prefers it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=${TORCH_INDEX} PIP_NO_CACHE_DIR=1 AEGEN_BENCH_DATA=/data

RUN apt-get update && apt-get install -y --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
WORKDIR /bench
COPY . .
RUN make .venv/installed
ENV PATH=/bench/.venv/bin:$PATH
VOLUME /data
CMD ["make", "bench"]
