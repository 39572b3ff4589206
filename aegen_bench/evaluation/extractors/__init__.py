"""The networks that turn images into features, one file each; `aegen_bench/evaluation/extractor.py` says what such a
file defines.
"""

from aegen_bench.evaluation.extractor import Recipe, build, names, recipe

__all__ = ["Recipe", "build", "names", "recipe"]
