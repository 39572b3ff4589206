"""The networks that compute features of images, one file each; see `aegen_bench/evaluation/extractor.py` for the
interface.
"""

from aegen_bench.evaluation.extractor import Recipe, build, names, recipe

__all__ = ["Recipe", "build", "names", "recipe"]
