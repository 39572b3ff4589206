"""A custom published.yaml: an error is one line that says where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from aegen_bench.errors import UserError
from aegen_bench.report import published

SHIPPED = Path(__file__).parents[2] / "baselines" / "published.yaml"


@pytest.mark.parametrize(
    ("way", "value", "told"),
    [
        (("meta",), None, "meta"),
        (("meta", "datasets"), "mnist", "meta.datasets"),
        (("meta", "paper"), 3, "meta.paper"),
        (("sources",), ["rerun"], "sources"),
        (("names", "vae"), {"a": 1}, "names.vae"),
        (("table1",), [], "table1"),
        (("table1", "glf"), None, "table1.glf"),
        (("table1", "glf", "mnist"), {"mean": "low", "std": 1.0}, "table1.glf.mnist.mean"),
        (("table1", "glf", "mnist"), {"mean": float("nan"), "std": 1.0}, "table1.glf.mnist.mean"),
        (("table1", "glf", "mnist"), {"mean": 1.0}, "table1.glf.mnist.std"),
        (("table1", "glf", "source"), "nobody", "'nobody' is none of sources"),
        (("table3", "glf", "mnist"), [0.1], "table3.glf.mnist"),
        (("table5", "glf", "mnist_fashion"), "many", "table5.glf.mnist_fashion"),
        (("table6", "glf", "celeba"), {"first": 1.0}, "table6.glf.celeba"),
    ],
)
def test_an_entry_of_the_wrong_form_is_named(tmp_path: Path, way: tuple[str, ...], value: Any, told: str) -> None:
    content = yaml.safe_load(SHIPPED.read_text())
    inner = content
    for name in way[:-1]:
        inner = inner[name]
    inner[way[-1]] = value
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as error:
        published.load(path)
    assert str(error.value).startswith(f"{path}: ") and told in str(error.value) and "\n" not in str(error.value)
