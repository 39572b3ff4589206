"""How much do the shares of auto-encoder and prior depend on which of them are compared?

Asked 2026-11-30. Verdict: a lot. Under EfficientNet, the prior's share is 38%, without N(0, I) 23% and without the VAE
68% (docs/findings.md).

python experiments/shares.py [--results results] [--profile lite] [--dataset fashion]

Reads records of the matrix of trunks and priors; trains nothing. Splits the variance of the logarithm of the Fréchet
distance as the table `variance` does, under each network on the same pairs: without `ae_perceptual`, whose loss uses
the network of the protocol `lite`. Then again without each trunk and without each prior.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from aegen_bench import results
from aegen_bench.evaluation.metric import DISTANCES
from aegen_bench.inference import LOG, split
from aegen_bench.inference.variance import SOURCES

UNFAIR = "ae_perceptual"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--profile", default="lite")
    parser.add_argument("--dataset", default="fashion")
    args = parser.parse_args()
    frame = results.load(args.results, profile=args.profile)
    names = {protocol: about.get("name", protocol) for protocol, about in frame.attrs["protocols"].items()}
    mine = frame[frame["metric"].isin(DISTANCES) & (frame["dataset"] == args.dataset) & (frame["status"] == "ok")]
    for protocol, part in mine.groupby("protocol"):
        seeds = part.groupby(["row", "seed"])["value"].mean()
        pairs = {
            (trunk, prior): seeds[row].to_dict()
            for (profile, row), (trunk, prior) in frame.attrs["pairs"].items()
            if profile == args.profile and row in seeds and trunk != UNFAIR
        }
        trunks, priors = (sorted({pair[i] for pair in pairs}) for i in (0, 1))
        shares = {}
        for out in ["", *trunks, *priors]:
            if found := split({pair: each for pair, each in pairs.items() if out not in pair}, LOG):
                shares[f"without {out}" if out else "all"] = {
                    name: "{:.1%} ({:.0%} to {:.0%})".format(found.shares[name], *found.intervals[name])
                    for name in SOURCES
                }
        print(f"\n{names[protocol]}: {len(pairs)} pairs, shares and their 95% intervals over seeds")
        print(pd.DataFrame(shares).T.to_string())


if __name__ == "__main__":
    main()
