"""How much of what a prior gains in FD is in the first two moments of the codes, and does FD follow the likelihood?

Asked 2026-11-30. Verdict: a single Gaussian covers 48% to 70% of the way under EfficientNet on auto-encoders whose
codes are free, less on others. Priors of higher likelihood are mostly closer (rank correlations 0.7 to 0.9 on six of
seven trunks), but on all seven the flow is likelier than the mixture and farther (docs/findings.md).

python experiments/moments.py [--results results] [--profile lite] [--dataset fashion]

Reads records of the matrix of trunks and priors; trains nothing. On each trunk, N(0, I) is the prior that knows nothing
of the codes, and `kde`, the codes of training images with a little noise, the one that knows all. A prior's share is
its place between the two, on the logarithm of the Fréchet distance: 0 for N(0, I), 1 for `kde`. `gaussian` knows
nothing but mean and covariance. NLL: of the test images' codes, per dimension, by the priors that have a density.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from aegen_bench import results
from aegen_bench.evaluation.metric import DISTANCES

LEAST = 1.2


def means(frame: pd.DataFrame, names: list[str]) -> pd.Series:
    """Return the mean of these metrics over seeds, by protocol and row; that of a seed is the mean over its draws."""
    mine = frame[frame["metric"].isin(names)]
    seeds = mine.groupby(["protocol", "row", "seed"])["value"].mean()
    logs = np.log(seeds) if names == list(DISTANCES) else seeds
    return logs.groupby(["protocol", "row"]).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--profile", default="lite")
    parser.add_argument("--dataset", default="fashion")
    args = parser.parse_args()
    frame = results.load(args.results, profile=args.profile)
    names = {protocol: about.get("name", protocol) for protocol, about in frame.attrs["protocols"].items()}
    frame = frame[
        (frame["dataset"] == args.dataset) & (frame["status"] == "ok") & frame["row"].str.contains("+", regex=False)
    ]
    nll = means(frame, ["code_nll"]).groupby("row").first()
    for protocol, distances in means(frame, list(DISTANCES)).groupby("protocol"):
        table = distances.droplevel("protocol")
        table.index = pd.MultiIndex.from_tuples(
            [tuple(row.split("+")) for row in table.index], names=["trunk", "prior"]
        )
        of_trunk = table.unstack().dropna(subset=["normal", "kde"])
        way = of_trunk["normal"] - of_trunk["kde"]
        near = way < np.log(LEAST)
        shares = of_trunk.rsub(of_trunk["normal"], axis=0).div(way, axis=0)[~near]
        shares.loc["mean"] = shares.mean()
        print(f"\n{names[protocol]}: share of the way from N(0, I) to kde")
        print(shares[shares.loc["mean"].sort_values().index].round(2).to_string())
        print(
            f"left out, because kde is not {LEAST:g} times as good as N(0, I): {', '.join(near[near].index) or 'none'}"
        )
        for trunk, row in of_trunk.iterrows():
            dense = {prior: nll[f"{trunk}+{prior}"] for prior in row.index if f"{trunk}+{prior}" in nll}
            order = spearmanr([dense[p] for p in dense], [row[p] for p in dense]).statistic
            told = ", ".join(f"{p} {dense[p]:.2f} / {np.exp(row[p]):.4g}" for p in sorted(dense, key=dense.__getitem__))
            print(f"  {trunk}: NLL / distance: {told}; rank correlation {order:.2f}")


if __name__ == "__main__":
    main()
