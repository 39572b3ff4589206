"""Held-out accuracy of a classifier trained to tell sampled codes from the codes of test images; 0.5 is chance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aegen_bench.errors import UserError
from aegen_bench.evaluation.metric import Inputs, Measured, Value

__all__ = ["PER", "SETTINGS", "SOURCE", "VALUES", "held_out_accuracy", "measure"]

PER = "model"
VALUES = {"code_test_accuracy": Value(better="lower", unit="fraction")}
SETTINGS: dict[str, Any] = {"classifier": "HistGradientBoostingClassifier", "max_iter": 100, "codes": 5000}
SOURCE = "Lopez-Paz and Oquab 2017, Revisiting Classifier Two-Sample Tests, section 2"


def measure(inputs: Inputs) -> Measured:
    """Return the accuracy on at most 5000 codes of each set."""
    encoded, sampled = inputs.test_codes
    n = min(len(encoded), SETTINGS["codes"])
    accuracy = held_out_accuracy(encoded[:n], sampled[:n], seed=inputs.seed)
    return {"code_test_accuracy": accuracy, "settings": {"n_codes": n}}


def held_out_accuracy(a: NDArray[np.floating], b: NDArray[np.floating], *, seed: int) -> float:
    """Fit a classifier to one half of two sets of codes [n, ...], and return its accuracy on the other half."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import train_test_split

    if a.shape != b.shape or len(a) < 4:
        raise UserError(f"the classifier compares equally many codes, 4 or more: {a.shape} and {b.shape}")
    x = np.concatenate([codes.reshape(len(codes), -1) for codes in (a, b)])
    if not np.isfinite(x).all():
        raise UserError("the classifier needs finite codes; there are NaN or infinite ones")
    y = np.repeat([0, 1], len(a))
    fitted_to, held_out, y_fit, y_held = train_test_split(x, y, test_size=0.5, stratify=y, random_state=seed % 2**32)
    classifier = HistGradientBoostingClassifier(
        max_iter=SETTINGS["max_iter"], early_stopping=False, random_state=seed % 2**32
    )
    return float(classifier.fit(fitted_to, y_fit).score(held_out, y_held))
