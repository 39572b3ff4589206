"""The catalogue of baselines, read from source: none of their code runs until a trial needs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Bench

from aegen_bench.errors import UserError
from aegen_bench.study import catalog, source

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
    for name, text in sources.items():
        (folder / "baselines" / f"{name}.py").write_text(text)
    return catalog.find(folder)


def test_doc_arguments_stages_and_likelihood_are_read_without_importing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = find(tmp_path, loud=LOUD)["loud"]
    assert entry.doc == "Says something when it is imported."
    assert {name: a.default for name, a in entry.arguments.items()} == {"beta": 0.5, "kind": "b", "sizes": [1, 2]}
    assert entry.stages == ("first", "second") and entry.likelihood and not entry.error
    assert capsys.readouterr().out == ""


def test_arguments_are_checked_against_their_annotations(tmp_path: Path) -> None:
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
    ("text", "said"),
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
def test_an_unreadable_file_is_listed_as_broken_with_its_path_and_does_not_stop_others(
    tmp_path: Path, text: str, said: str
) -> None:
    entries = find(tmp_path, odd=text)
    assert said in entries["odd"].error and str(tmp_path / "baselines" / "odd.py") in entries["odd"].error
    assert not entries["glf"].error


def test_a_local_file_takes_precedence_over_the_shipped_one_and_names_it(tmp_path: Path) -> None:
    shipped = catalog.shipped() / "baselines" / "glf.py"
    entries = find(tmp_path, glf=PLAIN, vae=(catalog.shipped() / "baselines" / "vae.py").read_text())
    assert entries["glf"].class_name == "Plain" and entries["glf"].shadows == shipped
    assert entries["vae"].shadows is None, "an equal copy shadows nothing"


def test_files_with_a_leading_underscore_are_not_baselines(tmp_path: Path) -> None:
    assert "_helper" not in find(tmp_path, _helper="x = 1")


def package(folder: Path, value: str, *, name: str = "packaged", source: str | None = PLAIN) -> None:
    """Write an installed distribution with one entry point."""
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


@pytest.mark.slow
def test_a_method_of_an_installed_package_is_checked_and_trained_like_any_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = bench.folder.parent / "site"
    package(site, "somebody.methods", source=METHOD)
    (site / "somebody" / "__init__.py").write_text("")
    (site / "somebody" / "parts.py").write_text("def halved(z):\n    return z / 2\n")
    monkeypatch.syspath_prepend(site)
    try:
        assert (
            "  packaged  A method that somebody else installs.  [beta=1.0]\n" in bench("list", "models", "--long").out
        )
        assert bench("check", "packaged").out == "packaged keeps the contract\n"
        ended = bench("run", "--profile", "tiny", "--models", "packaged", "--set", "rows.packaged.with.beta=2")
        assert ended.code == 0, ended
        record = bench.record("packaged", profile="tiny+rows.packaged.with.beta=2")
        assert (record["status"], record["config"]["with"]) == ("ok", {"beta": 2.0})
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "somebody"]:
            del sys.modules[name]


def test_shipped_and_local_files_take_precedence_over_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", "somebody.methods:Plain", name="glf")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert catalog.find(tmp_path)["glf"].shadows == tmp_path / "site/somebody/methods.py"
    assert find(tmp_path, glf=PLAIN.replace("Plain", "Mine"))["glf"].class_name == "Mine"


@pytest.mark.parametrize("value", ["gone.methods:Plain", "gone", "somebody.gone:Plain"])
def test_an_entry_point_whose_module_is_gone_is_broken_and_does_not_stop_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    package(tmp_path / "site", value, source=None)
    monkeypatch.syspath_prepend(tmp_path / "site")
    entries = catalog.find(tmp_path)
    assert entries["packaged"].error and not entries["glf"].error


def test_an_error_on_import_is_one_line_with_the_file_or_the_missing_module(tmp_path: Path) -> None:
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
    assert "no_such_thing, which is neither installed nor a file no_such_thing.py next to" in said[1]
    assert "pip install" not in said[1]


def test_list_shows_a_broken_file_with_its_error_and_the_arguments_of_one_it_does_not_import(bench: Bench) -> None:
    bench.baseline("loud", LOUD)
    path = bench.baseline("odd", "def (")
    ended = bench("list", "models", "--long")
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
    with pytest.raises(UserError, match="is broken"):  # not because it changed, but because it lacks the import
        catalog.import_class(entry)


# ---- sources that should not be trusted ---------------------------------------------------------------

HEAD = "from aegen_bench.baseline import Baseline\n"
ESCAPE = "().__class__.__base__.__subclasses__()"


def sized(annotation: str, default: str = "1.0") -> str:
    return f"class Sized(Baseline):\n    def __init__(self, nets, *, beta: {annotation} = {default}): ...\n"


@pytest.mark.parametrize(
    "annotation", [f"[c for c in {ESCAPE}][0]('touched')", "print('run')", f"'{ESCAPE}[0]'", "(lambda: 1/0)()", "1/0"]
)
def test_an_annotation_is_matched_and_never_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], annotation: str
) -> None:
    method = find(tmp_path, sized=sized(annotation))["sized"]
    assert method.check({"beta": 7}) == {"beta": 7}, "a value of an unknown type is left to the class"
    assert capsys.readouterr().out == "" and not method.error


def known(annotation: str, value: object) -> bool:
    """Return whether a value fits an annotation."""
    method = catalog.Method("m", Path("m.py"), arguments={"x": catalog.Argument(annotation, None)})
    try:
        method.check({"x": value})
    except UserError:
        return False
    return True


@pytest.mark.parametrize(
    ("annotation", "fits", "fails"),
    [
        ("int", [1, -3, 2.0], [True, 2.5, "x", None, 2**70]),
        ("float", [1, 0.5], [True, False, float("nan"), float("inf"), "x"]),
        ("bool", [True, False], [7, "maybe"]),
        ("str", ["a", ""], [1, "\ud800"]),
        ("int | None", [1, None], [True, "x"]),
        ("None | None", [None], []),
        ("list[int]", [[1], []], [[True], ["x"], 3]),
        ("tuple[float, float]", [[0.5, 0.9]], [[0.5], [True, 0.9], [0.5, float("nan")]]),
        ("tuple[int, ...]", [[1, 2, 3]], [["x"]]),
        ("dict[str, float]", [{"a": 1}], [{"a": True}]),
        ("Literal['a', 'b']", ["a"], ["c", 1]),
        ("typing.Literal['a']", ["a"], ["b"]),
        ("'float'", [1.5], [True]),
        ("Sequence[int]", [[1], "anything"], [float("inf"), {1: 2}]),
    ],
)
def test_known_types_and_the_values_they_accept(annotation: str, fits: list[object], fails: list[object]) -> None:
    assert [value for value in fits if not known(annotation, value)] == []
    assert [value for value in fails if known(annotation, value)] == []


@pytest.mark.parametrize(
    "default",
    ["{1, 2}", "b'x'", "1j", "...", "1e999", "{1: 2}", "{(): 1}", "10**3", "f'{1}'", "'\\ud800'", "{[]: 1}", "2" * 40],
)
def test_a_default_that_a_record_cannot_store_is_an_error(tmp_path: Path, default: str) -> None:
    assert "default of argument 'beta'" in find(tmp_path, sized=sized("object", default))["sized"].error


def test_the_encoding_is_determined_as_by_python(tmp_path: Path) -> None:
    plain = find(tmp_path, mine=PLAIN.format(doc="Größe."))["mine"]
    path = tmp_path / "baselines" / "mine.py"
    for content in (
        b"\xef\xbb\xbf" + PLAIN.format(doc="Größe.").encode(),
        b"# -*- coding: latin-1 -*-\n" + PLAIN.format(doc="Größe.").encode("latin-1"),
        PLAIN.format(doc="Größe.").replace("\n", "\r\n").encode(),
    ):
        path.write_bytes(content)
        method = catalog.find(tmp_path)["mine"]
        assert (method.error, method.doc, method.code) == ("", "Größe.", plain.code)
    path.write_bytes(b"# coding: no-such-thing\n" + PLAIN.encode())
    assert "no-such-thing" in catalog.find(tmp_path)["mine"].error
    path.write_bytes(PLAIN.format(doc="x").encode() + b"    x = '\xff'\n")
    assert "utf-8" in catalog.find(tmp_path)["mine"].error


DEEP = {
    "brackets": "(" * 20_000 + ")" * 20_000,
    "minus": "-" * 20_000 + "1",
    "a sum": "+".join("1" * 20_000),
    "attributes": "a" + ".a" * 20_000,
    "calls": "a" + "()" * 20_000,
    "not": "not " * 20_000 + "1",
    "lambdas": "lambda: " * 5_000 + "1",
}


@pytest.mark.parametrize("expression", DEEP.values(), ids=DEEP)
def test_a_file_with_an_expression_of_20_000_levels_is_broken(tmp_path: Path, expression: str) -> None:
    for text in (PLAIN + f"\nx = {expression}\n", sized("float", expression), sized(expression)):
        methods = find(tmp_path, deep=text)
        assert methods["deep"].error and len(methods["deep"].error) < 500 and not methods["glf"].error


def test_a_method_that_is_not_a_regular_file_is_broken_and_not_waited_for(tmp_path: Path) -> None:
    find(tmp_path)
    folder = tmp_path / "baselines"
    os.mkfifo(folder / "pipe.py")
    (folder / "endless.py").symlink_to("/dev/zero")
    (folder / "folder.py").mkdir()
    (folder / "loop.py").symlink_to("loop.py")
    (folder / "huge.py").write_bytes(b"#" * 2**21)
    (folder / "all.py").write_text(PLAIN)
    methods = catalog.find(tmp_path)
    for name in ("pipe", "endless", "folder", "loop", "huge", "all"):
        assert str(folder / f"{name}.py") in methods[name].error
    assert not methods["glf"].error


def test_a_helper_beside_a_method_is_imported_and_part_of_its_key(tmp_path: Path) -> None:
    source = (
        HEAD + "import _helper_of_mine\nfrom _other_helper_of_mine import two\n" + PLAIN + "    x = _helper_of_mine.x\n"
    )
    helper, other = "from _other_helper_of_mine import two\nx = two\n", "two = 2\n"
    sources = {"mine": source, "_helper_of_mine": helper, "_other_helper_of_mine": other}
    method = find(tmp_path, **sources)["mine"]
    assert catalog.import_class(method).x == 2
    assert find(tmp_path, _other_helper_of_mine="# a comment\n" + other)["mine"].code == method.code
    assert find(tmp_path, _other_helper_of_mine="two = 3\n")["mine"].code != method.code


USES = HEAD + "import _shared_name\n" + PLAIN + "    x = _shared_name.x\n"
LATE = "    def late(self):\n        from _shared_name import x\n        return x\n"


def test_methods_of_two_folders_run_their_own_helpers_of_one_name(tmp_path: Path) -> None:
    find(tmp_path, foo=USES + LATE, _shared_name="x = 'of baselines'\n")
    priors = tmp_path / "baselines" / "priors"
    priors.mkdir()
    (priors / "bar.py").write_text(
        (USES + LATE).replace("Baseline", "Prior").replace("aegen_bench.baseline", "aegen_bench.prior")
    )
    (priors / "_shared_name.py").write_text("x = 'of priors'\n")
    before = [*sys.path]
    foo, bar = (catalog.import_class(m) for m in (catalog.find(tmp_path)["foo"], catalog.find_priors(tmp_path)["bar"]))
    assert (foo.x, bar.x) == ("of baselines", "of priors")
    assert (foo.late(None), bar.late(None)) == ("of baselines", "of priors"), "also when imported in a function"
    assert sys.path == before and "_shared_name" not in sys.modules


def test_a_helper_that_was_edited_runs_as_its_hash_says(tmp_path: Path) -> None:
    old = find(tmp_path, foo=USES + LATE, _shared_name="x = 1\n")["foo"]
    first = catalog.import_class(old)
    new = find(tmp_path, _shared_name="x = 2\n")["foo"]
    assert new.code != old.code
    second = catalog.import_class(new)
    assert (first.x, first.late(None), second.x, second.late(None)) == (1, 1, 2, 2)
    edited = find(tmp_path, foo=(USES + LATE).replace("= _shared_name.x", "= _shared_name.x + 1"))["foo"]
    assert catalog.import_class(edited).x == 3


def test_a_method_whose_file_is_gone_is_broken_and_its_path_is_named(tmp_path: Path) -> None:
    method = find(tmp_path, gone=HEAD + PLAIN)["gone"]
    method.path.unlink()
    with pytest.raises(UserError, match=f"model 'gone' is broken: {method.path}: "):
        catalog.import_class(method)


def test_a_module_of_that_name_elsewhere_is_not_taken_for_a_helper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "_shared_name.py").write_text("x = 'from elsewhere'\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    method = find(tmp_path, foo=USES, _shared_name="x = 'beside'\n")["foo"]
    assert catalog.import_class(method).x == "beside"


def test_an_installed_module_is_not_shadowed_by_a_method_of_its_name(tmp_path: Path) -> None:
    uses = HEAD + "import random, scipy\n" + PLAIN + "    x = random.random, scipy.__version__\n"
    methods = find(
        tmp_path, foo=uses, random=PLAIN, scipy=HEAD + "import scipy\n" + PLAIN + "    x = scipy.__version__\n"
    )
    assert catalog.import_class(methods["foo"]).x and catalog.import_class(methods["scipy"]).x


def test_helpers_can_import_each_other_and_the_method_and_have_dataclasses(tmp_path: Path) -> None:
    helper = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport _other_name, foo\n"
        "@dataclass\nclass Pair:\n    a: int = 1\ndef method():\n    return foo.Plain\n"
    )
    other = "import _shared_name\ndef pair():\n    return _shared_name.Pair()\n"
    source = HEAD + "import _shared_name\nfrom _other_name import pair\n" + PLAIN + "    x = pair(), _shared_name\n"
    cls = catalog.import_class(find(tmp_path, foo=source, _shared_name=helper, _other_name=other)["foo"])
    assert cls.x[0].a == 1 and cls.x[1].method() is cls


def test_a_method_of_a_package_that_was_edited_after_its_import_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "site", "somebody.methods", source=HEAD + PLAIN)
    (tmp_path / "site" / "somebody" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "site")
    try:
        catalog.import_class(catalog.find(tmp_path)["packaged"])
        (tmp_path / "site" / "somebody" / "methods.py").write_text(HEAD + PLAIN + "    x = 1\n")
        with pytest.raises(UserError, match="has changed since this process imported it"):
            catalog.import_class(catalog.find(tmp_path)["packaged"])
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "somebody"]:
            del sys.modules[name]


@pytest.mark.parametrize("end", ["sys.exit()", "sys.exit(0)", "raise SystemExit", "raise GeneratorExit", "exit()"])
def test_a_method_that_ends_the_process_on_import_is_broken(tmp_path: Path, end: str) -> None:
    method = find(tmp_path, ends=f"import sys\n{HEAD}{end}\n{PLAIN}")["ends"]
    with pytest.raises(UserError, match="model 'ends' is broken"):
        catalog.import_class(method)


def test_a_slow_import_is_reported_while_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalog, "PATIENCE", 0.05)
    method = find(tmp_path, slow=f"import time\n{HEAD}time.sleep(0.3)\n{PLAIN}")["slow"]
    catalog.import_class(method)
    said = capsys.readouterr().err
    assert said.startswith(f"still importing {method.path}; Ctrl-C stops\n") and said.count("\n") < 4


@pytest.mark.slow
def test_ctrl_c_stops_an_endless_import(bench: Bench) -> None:
    bench.baseline("endless", f"{HEAD}print('begun', flush=True)\nwhile True:\n    pass\n{PLAIN}")
    process = bench.start("check", "endless")
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0 and "Traceback" not in err


def test_optimizers_that_a_method_names_in_literals_are_known(tmp_path: Path) -> None:
    head = "class A(Baseline):\n    def optimizers(self):\n        "
    methods = find(
        tmp_path,
        none=PLAIN,
        two=head + "return {'a': [], 'b': []}",
        computed=head + "return make()",
        partly=head + "return {'a': [], NAME: []}",
    )
    assert [methods[n].optimizers for n in ("none", "two", "computed", "partly")] == [("model",), ("a", "b"), (), ()]


# ---- the hash of code in keys ------------------------------------------------------------------------

# Hashes of the shipped methods and of odd f-strings, as computed by Python 3.11. They are part of the keys of results
# that people have: a change here makes those results stale.
FORMS = Path(__file__).parent / "code_forms.json"


def test_the_hash_of_code_is_the_same_under_every_version_of_python(tmp_path: Path) -> None:
    forms = json.loads(FORMS.read_text())
    for form in forms:
        assert source.digest(tmp_path / "form.py", form["source"].encode()) == form["code"], form["source"]
    assert len(forms) > 30


def test_a_method_can_add_its_density_for_scoring_without_being_retrained(tmp_path: Path) -> None:
    def digest(code: str) -> str:
        return source.digest(tmp_path / "method.py", code.encode())

    plain = 'class A(Baseline):\n    """Text."""\n    def decode(self, z):\n        return z\n'
    hook = "    def log_prior(self, z):\n        return z.sum(1)\n"
    assert digest(plain + hook) == digest(plain + hook.replace("sum", "mean")) == digest(plain)
    trains_with_it = plain + hook + "    def step(self, x, index):\n        yield 'a', {'b': self.log_prior(x)}\n"
    assert digest(trains_with_it) != digest(trains_with_it.replace("sum", "mean"))


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_another_version_of_python_has_the_same_hashes(version: str) -> None:
    """Skipped without that version. Only its `ast` matters: of the package, just `study/source.py` is loaded."""
    found = shutil.which(f"python{version}")
    code = f"""
import json, sys, types
from pathlib import Path
for name, members in (("errors", ["UserError"]), ("files", ["read_bytes"])):
    module = sys.modules[f"aegen_bench.{{name}}"] = types.ModuleType(name)
    module.__dict__.update({{member: ValueError for member in members}})
sys.modules["aegen_bench"] = types.ModuleType("aegen_bench")
space = {{"__name__": "source"}}
exec(compile(Path({str(source.__file__)!r}).read_text(), "source", "exec"), space)
for form in json.loads(Path({str(FORMS)!r}).read_text()):
    got = space["digest"](Path("/nowhere/form.py"), form["source"].encode())
    assert got == form["code"], form["source"]
print("same", sys.version_info[:2])
"""
    env = {**os.environ, "PYENV_VERSION": version}  # pyenv's `python3.12` needs it if there are several versions
    ended = subprocess.run([found, "-c", code], capture_output=True, text=True, env=env) if found else None
    if ended is None or "not found" in ended.stderr or "not installed" in ended.stderr:
        pytest.skip(f"no python{version} here")
    assert ended.stdout.startswith("same"), ended.stderr
