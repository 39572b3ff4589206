"""Which baselines there are, read from their source: nothing of them runs until a trial needs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import Bench

from aegen_bench.errors import UserError
from aegen_bench.study import catalog

LOUD = '''
print("imported")
raise RuntimeError("nobody may import this to list it")

class Loud(Baseline):
    """Says something when it is imported.

    More of it.
    """

    likelihood: ClassVar[bool] = True

    def __init__(self, nets, *, beta: float = 0.5, kind: Literal["a", "b"] = "b", sizes: list[int] = [1, 2]):
        super().__init__(nets)

    def stages(self):
        return [Stage("first", self.step), Stage(step=self.step, name="second")]
'''
PLAIN = '''
class Plain(Baseline):
    """{doc}"""
'''


def find(folder: Path, **sources: str) -> dict[str, catalog.Method]:
    (folder / "baselines").mkdir(exist_ok=True)
    for name, source in sources.items():
        (folder / "baselines" / f"{name}.py").write_text(source)
    return catalog.find(folder)


def test_doc_arguments_stages_and_likelihood_are_read_without_importing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = find(tmp_path, loud=LOUD)["loud"]
    assert entry.doc == "Says something when it is imported."
    assert {name: a.default for name, a in entry.arguments.items()} == {"beta": 0.5, "kind": "b", "sizes": [1, 2]}
    assert entry.stages == ("first", "second") and entry.likelihood and not entry.error
    assert capsys.readouterr().out == ""


def test_arguments_are_checked_by_their_annotations(tmp_path: Path) -> None:
    entry = find(tmp_path, loud=LOUD)["loud"]
    assert entry.check({"beta": 2, "kind": "a"}) == {"beta": 2.0, "kind": "a", "sizes": [1, 2]}
    for wrong in ({"kind": "c"}, {"sizes": ["x"]}, {"beta": None}):
        with pytest.raises(UserError, match=f"loud: {next(iter(wrong))} = .* is not "):
            entry.check(wrong)


def test_every_shipped_baseline_is_found_with_one_line_of_doc(tmp_path: Path) -> None:
    entries = catalog.find(tmp_path)
    assert {"vae", "rae_gmm", "glf"} <= set(entries)
    for entry in entries.values():
        assert entry.doc.endswith(".") and not entry.error and entry.code


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def (", "line 1"),
        ("x = 1", "one class that derives from Baseline, has 0"),
        (PLAIN + PLAIN.replace("Plain", "Other"), "has 2"),
        ("class A(Baseline):\n    def __init__(self, nets, *, beta: float): ...", "argument 'beta' has no default"),
        ("class A(Baseline):\n    def __init__(self, nets, *, beta: float = f()): ...", "beta"),
        ("class A(Baseline):\n    def stages(self): return [Stage(n, self.step) for n in NAMES]", "plain string"),
        ("class A(Baseline):\n    x = '\x00'", "null"),
    ],
    ids=["syntax", "no class", "two classes", "no default", "computed default", "computed stages", "null byte"],
)
def test_a_file_that_cannot_be_read_is_listed_as_broken_with_its_path_and_stops_no_other(
    tmp_path: Path, source: str, said: str
) -> None:
    entries = find(tmp_path, odd=source)
    assert said in entries["odd"].error and str(tmp_path / "baselines" / "odd.py") in entries["odd"].error
    assert not entries["glf"].error


def test_a_local_file_goes_before_the_shipped_one_and_names_it(tmp_path: Path) -> None:
    shipped = catalog.shipped() / "baselines" / "glf.py"
    entries = find(tmp_path, glf=PLAIN, vae=(catalog.shipped() / "baselines" / "vae.py").read_text())
    assert entries["glf"].class_name == "Plain" and entries["glf"].shadows == shipped
    assert entries["vae"].shadows is None, "an equal copy shadows nothing"


def test_files_that_begin_with_an_underscore_are_no_baselines(tmp_path: Path) -> None:
    assert "_helper" not in find(tmp_path, _helper="x = 1")


def package(folder: Path, value: str, *, name: str = "packaged", source: str | None = PLAIN) -> None:
    """An installed distribution with one entry point."""
    info = folder / "somebody-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[aegen_bench.baselines]\n{name} = {value}\n")
    (folder / "somebody").mkdir()
    (folder / "somebody" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    if source is not None:
        (folder / "somebody" / "methods.py").write_text(source)


def test_a_package_adds_baselines_by_an_entry_point_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", "somebody.methods:Plain")
    monkeypatch.syspath_prepend(tmp_path / "site")
    entry = catalog.find(tmp_path)["packaged"]
    assert entry.path == tmp_path / "site/somebody/methods.py" and entry.class_name == "Plain"
    assert "somebody" not in sys.modules


METHOD = """
from aegen_bench.baseline import Baseline
from .parts import halved

class Packaged(Baseline):
    "A method that somebody else installs."

    def __init__(self, nets, *, beta: float = 1.0):
        super().__init__(nets)
        self.encoder, self.decoder, self.beta = nets.encoder(), nets.decoder(), beta

    def step(self, x, index):
        z = self.encoder(x)
        yield "model", {"reconstruction": self.recon(self.decoder(z), x), "size": self.beta * halved(z).square().mean()}

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)
"""


def test_a_method_of_an_installed_package_is_checked_and_trained_as_any_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = bench.folder.parent / "site"
    package(site, "somebody.methods", source=METHOD)
    (site / "somebody" / "__init__.py").write_text("")
    (site / "somebody" / "parts.py").write_text("def halved(z):\n    return z / 2\n")
    monkeypatch.syspath_prepend(site)
    try:
        assert "  packaged  A method that somebody else installs.  [beta=1.0]\n" in bench("list", "models").out
        assert bench("check", "packaged").out == "packaged keeps the contract\n"
        ended = bench("run", "--profile", "tiny", "--models", "packaged", "--set", "rows.packaged.with.beta=2")
        assert ended.code == 0, ended
        record = bench.record("packaged", profile="tiny+rows.packaged.with.beta=2")
        assert (record["status"], record["config"]["with"]) == ("ok", {"beta": 2.0})
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "somebody"]:
            del sys.modules[name]


def test_what_is_shipped_and_what_is_local_go_before_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", "somebody.methods:Plain", name="glf")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert catalog.find(tmp_path)["glf"].shadows == tmp_path / "site/somebody/methods.py"
    assert find(tmp_path, glf=PLAIN.replace("Plain", "Mine"))["glf"].class_name == "Mine"


@pytest.mark.parametrize("value", ["gone.methods:Plain", "gone", "somebody.gone:Plain"])
def test_an_entry_point_whose_module_is_gone_is_broken_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    package(tmp_path / "site", value, source=None)
    monkeypatch.syspath_prepend(tmp_path / "site")
    entries = catalog.find(tmp_path)
    assert entries["packaged"].error and not entries["glf"].error


def test_what_is_wrong_on_import_is_one_line_with_the_file_or_the_package_to_install(tmp_path: Path) -> None:
    head = "from aegen_bench.baseline import Baseline\n"
    sources = {"raises": head + "raise ValueError('two\\nlines')\n" + PLAIN, "needs": "import no_such_thing\n" + PLAIN}
    entries = find(tmp_path, **sources)
    said = []
    for name in sources:
        assert not entries[name].error
        with pytest.raises(UserError) as error:
            catalog.import_class(entries[name])
        said.append(str(error.value))
    assert said[0].startswith("model 'raises' is broken: ") and str(entries["raises"].path) in said[0]
    assert "ValueError: two" in said[0] and "\n" not in said[0]
    assert said[1] == "model 'needs' needs no_such_thing: pip install no_such_thing"


def test_list_shows_a_broken_file_with_its_error_and_the_arguments_of_one_it_does_not_import(bench: Bench) -> None:
    bench.baseline("loud", LOUD)
    path = bench.baseline("odd", "def (")
    ended = bench("list", "models")
    assert ended.code == 0
    assert "  loud  Says something when it is imported.  [beta=0.5, kind=b, sizes=[1, 2]]\n" in ended.out
    assert f"  odd  BROKEN: {path.relative_to(bench.folder)}" in ended.out or f"  odd  BROKEN: {path}" in ended.out
    assert "  glf  " in ended.out


def test_a_file_that_changed_since_it_was_read_is_not_imported(tmp_path: Path) -> None:
    entry = find(tmp_path, changing=PLAIN.format(doc="As planned."))["changing"]
    file = tmp_path / "baselines" / "changing.py"
    source = "from aegen_bench.baseline import Baseline\n" + PLAIN.format(doc="As planned.")
    file.write_text(source + "    beta = 2\n")
    with pytest.raises(UserError, match=f"^{file} has changed since this run was planned: run again$"):
        catalog.import_class(entry)
    file.write_text("# Only a comment.\n" + PLAIN.format(doc="Another docstring."))
    with pytest.raises(UserError, match="is broken"):  # its own fault: it lacks the import
        catalog.import_class(entry)
