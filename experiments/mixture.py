"""Can the Gaussian mixture be fitted faster? scikit-learn's GaussianMixture on synthetic data of the size of codes.

Asked 2026-11-25. Verdict: only in float32, which may find a worse optimum; since a fit takes about a second, it stays
as it is (docs/performance.md, The mixture of RAE+GMM).

python experiments/mixture.py [--sizes 60000x20,50000x64,162770x64] [--threads 1] [--device cpu]

Ten full Gaussians on standardised codes, as in baselines/rae_gmm.py, against alternatives that keep the estimator.
Prints CPU seconds, summed over threads (with `--device cuda` wall-clock time), iterations, and the log-likelihood per
code, which is always computed in float64.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ["SCIPY_ARRAY_API"] = "1"  # read when scipy is imported

import numpy as np
import sklearn
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

COMPONENTS, SETTINGS = 10, {"max_iter": 2000, "random_state": 0}


def codes(n: int, d: int) -> Any:
    """Return data that no mixture fits exactly: ten unequal classes bent by tanh, plus noise; float64, standardised."""
    random = np.random.default_rng(0)
    classes = random.choice(10, n, p=random.dirichlet(np.full(10, 5.0)))
    factors = random.normal(size=(n, 10)) + 1.5 * random.normal(size=(10, 10))[classes]
    bent = np.tanh(factors @ random.normal(size=(10, 4 * d)) / 3) @ random.normal(size=(4 * d, d))
    z = bent + 0.3 * bent.std() * random.normal(size=(n, d))
    return (z - z.mean(0)) / z.std(0)


def as_shipped(z: Any) -> GaussianMixture:
    return GaussianMixture(COMPONENTS, **SETTINGS).fit(z)


def in_float32(z: Any) -> GaussianMixture:
    return as_shipped(z.astype(np.float32))


def started(init: str) -> Callable[[Any], GaussianMixture]:
    return lambda z: GaussianMixture(COMPONENTS, init_params=init, **SETTINGS).fit(z)


def in_float32_from_float64(z: Any) -> GaussianMixture:
    """Fit in float32 with k-means in float64, so that the initialisation equals the shipped one."""
    start = {name: value.astype(np.float32) for name, value in k_means(z).items()}
    return GaussianMixture(COMPONENTS, init_params="random", **SETTINGS, **start).fit(z.astype(np.float32))


def on_torch(dtype: torch.dtype, device: str) -> Callable[[Any], GaussianMixture]:
    """Fit with scikit-learn on torch tensors. It has no k-means for them, so the initialisation is made in advance."""

    def fit(z: Any) -> GaussianMixture:
        start = {name: torch.from_numpy(value).to(device, dtype) for name, value in k_means(z).items()}
        with sklearn.config_context(array_api_dispatch=True):
            mixture = GaussianMixture(COMPONENTS, init_params="random", **SETTINGS, **start)
            return mixture.fit(torch.from_numpy(z).to(device, dtype))

    return fit


def k_means(z: Any) -> dict[str, Any]:
    """Return the initial parameters that GaussianMixture computes from its k-means."""
    k = KMeans(COMPONENTS, n_init=1, random_state=SETTINGS["random_state"]).fit(z).labels_
    parts = [z[k == i] for i in range(COMPONENTS)]
    covariances = np.stack([np.cov(part.T, bias=True) for part in parts]) + 1e-6 * np.eye(z.shape[1])
    return {
        "weights_init": np.array([len(part) / len(z) for part in parts]),
        "means_init": np.stack([part.mean(0) for part in parts]),
        "precisions_init": np.linalg.inv(covariances),
    }


def log_likelihood(mixture: GaussianMixture, z: Any) -> float:
    """Return the log-likelihood per code, in float64 by numpy, whatever the mixture was fitted with."""
    plain = GaussianMixture(COMPONENTS)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(plain, name, np.asarray(torch.as_tensor(getattr(mixture, name)).cpu(), dtype=np.float64))
    return float(plain.score(z))


def cases(device: str) -> Iterator[tuple[str, Callable[[Any], GaussianMixture]]]:
    yield "as shipped: numpy, float64, k-means", as_shipped
    yield "float32", in_float32
    yield "float32, its k-means in float64", in_float32_from_float64
    yield f"torch on {device}, float64", on_torch(torch.float64, device)
    yield f"torch on {device}, float32", on_torch(torch.float32, device)
    yield "init_params k-means++", started("k-means++")
    yield "init_params random_from_data", started("random_from_data")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="60000x20,50000x64,162770x64")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    print(f"scikit-learn {sklearn.__version__}, torch {torch.__version__}, threads: {args.threads}\n")
    print("| codes | fit | seconds | iterations | seconds an iteration | log-likelihood | against shipped |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for size in args.sizes.split(","):
        z = codes(*map(int, size.split("x")))
        shipped = None
        for name, fit in cases(args.device):
            with threadpool_limits(args.threads):
                begin = clock()
                mixture = fit(z)
                seconds = clock() - begin
            likelihood = log_likelihood(mixture, z)
            shipped = likelihood if shipped is None else shipped
            each = seconds / mixture.n_iter_
            print(
                f"| {size} | {name} | {seconds:.1f} | {mixture.n_iter_} | {each:.3f} | {likelihood:.4f} "
                f"| {likelihood - shipped:+.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
