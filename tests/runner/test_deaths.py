"""Methods that end their process: in whatever way and place, this is reported and does not harm other trials."""

from __future__ import annotations

import signal

import pytest
from conftest import Bench

from aegen_bench.errors import EndsProcess, contained
from aegen_bench.results import locks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_tables")]

RUN = ("run", "--profile", "tiny")
METHOD = """
import os, signal, sys
from aegen_bench.baseline import Baseline

class Odd(BaseException):
    pass

def end():
    {how}

{at_import}

class Ends(Baseline):
    "Ends the process that it runs in."

    def __init__(self, nets):
        super().__init__(nets)
        self.decoder = nets.decoder()
        {at_init}

    def decode(self, z):
        {at_decode}
        return self.decoder(z)

    def step(self, x, index):
        {at_step}
        yield "model", {{"reconstruction": self.recon(self.decoder(self.randn(len(x), self.nets.d)), x)}}
"""
AUTO_ENCODER = """
import os, signal
from aegen_bench.baseline import Baseline

class Ends(Baseline):
    "An auto-encoder whose training kills the process."

    def __init__(self, nets):
        super().__init__(nets)
        self.encoder, self.decoder = nets.encoder(), nets.decoder()

    def step(self, x, index):
        os.kill(os.getpid(), signal.SIGKILL)
        yield "model", {"reconstruction": self.recon(self.decoder(self.encoder(x)), x)}

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)
"""
PLACES = ("import", "init", "step", "decode")
WAYS = {
    "sys.exit(0)": "it called sys.exit(0)",
    "os._exit(0)": "it called os._exit(0)",
    "raise Odd('no luck')": "it raised Odd: no luck",
}
KINDS = [(how, "step") for how in WAYS] + [("sys.exit(0)", place) for place in PLACES if place != "step"]


def method(how: str, place: str) -> str:
    return METHOD.format(how=how, **{f"at_{name}": "end()" if name == place else "pass" for name in PLACES})


@pytest.fixture
def two(bench: Bench) -> Bench:
    """A grid of the method `ends`, which the test writes, and a healthy one."""
    bench.declare(profiles=bench.tiny(models=["ends", "vae"]))
    return bench


@pytest.mark.parametrize(("how", "place"), KINDS)
def test_a_method_that_ends_the_process_fails_its_trial_and_the_others_finish(two: Bench, how: str, place: str) -> None:
    two.baseline("ends", method(how, place))
    ended = two(*RUN)
    assert ended.code == 1 and two.record("vae")["status"] == "ok"
    if place == "import":
        assert f"broken: ends: model 'ends' is broken: {two.folder}/baselines/ends.py: EndsProcess: {WAYS[how]}" in (
            ended.out
        )
    else:
        record = two.record("ends")
        line = method(how, place).splitlines().index(f"    {how}") + 1
        assert record["status"] == "failed"
        assert record["reason"].startswith(f"EndsProcess: {WAYS[how]} (ends.py, line {line}, in end)\n")
        log = two.trial("ends") / "log.txt"
        assert "`aegen-bench check ends`" in ended.out and str(log.relative_to(two.folder)) in ended.out
        assert "Traceback" in log.read_text() and "Traceback" not in ended.err


@pytest.mark.parametrize(("how", "place"), KINDS)
def test_check_reports_a_method_that_ends_the_process(bench: Bench, how: str, place: str) -> None:
    bench.baseline("ends", method(how, place))
    checked = bench("check", "ends")
    assert checked.code == 1 and WAYS[how] in checked.out


def test_a_process_that_a_method_forks_may_end(bench: Bench) -> None:
    import os

    with contained():
        if (child := os.fork()) == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_ctrl_c_goes_through() -> None:
    with pytest.raises(KeyboardInterrupt), contained():
        raise KeyboardInterrupt
    with pytest.raises(EndsProcess, match="it raised GeneratorExit"), contained():
        raise GeneratorExit


def test_a_worker_that_vanishes_silently_fails_its_trial_whatever_its_exit_code(two: Bench) -> None:
    two.baseline("ends", method("__import__('ctypes').CDLL(None)._exit(0)", "step"))
    two.declare(profiles=two.tiny(models=["ends", "vae"]))
    ended = two.process(*RUN, "--jobs", "2")
    assert ended.code == 1 and two.record("vae")["status"] == "ok"
    assert two.record("ends")["reason"] == "killed (out of memory?)"


def test_a_trunk_that_kills_its_worker_fails_and_blocks_its_pairs(two: Bench) -> None:
    two.baseline("ends", AUTO_ENCODER)
    two.declare(rows={f"on_{prior}": {"trunk": "ends", "prior": prior} for prior in ("gmm", "normal")})
    ended = two.process(*RUN[:1], "--profile", "tiny", "--models", "on_gmm,on_normal,vae", "--jobs", "2")
    assert ended.code == 1 and two.record("ends")["reason"] == "killed (out of memory?)"
    assert "end before they start a trial" not in ended.out + ended.err
    assert two.record("vae")["status"] == "ok" and not (two.trial("on_gmm") / "record.json").exists()


def test_a_run_whose_only_process_vanishes_silently_fails(two: Bench) -> None:
    two.baseline("ends", method("__import__('ctypes').CDLL(None)._exit(0)", "step"))
    for _ in range(2):
        ended = two.process(*RUN, cold=True)
        assert ended.code == 1 and "run: a method, or a library that it uses, has ended the process" in ended.err
    ended = two.process(*RUN)  # the method has killed its process twice, so it gets its own
    assert ended.code == 1 and two.record("ends")["reason"] == "killed (out of memory?)"
    assert two.record("vae")["status"] == "ok"


def test_a_crash_of_the_only_process_is_recorded_by_the_next_run_which_finishes_the_rest(two: Bench) -> None:
    how = "os.abort()"
    two.baseline("ends", method(how, "step"))
    assert two.process(*RUN, OMP_NUM_THREADS="1").code < 0 and not (two.trial("ends") / "record.json").exists()
    ended = two.process(*RUN, OMP_NUM_THREADS="1")
    assert ended.code == 1 and "1 failed" in ended.out and "1 ok" in ended.out
    line = method(how, "step").splitlines().index(f"    {how}") + 1
    reason = two.record("ends")["reason"]
    assert reason.startswith("the process crashed: Aborted") and f'ends.py", line {line} in end' in reason, reason
    assert two.record("vae")["status"] == "ok"
    assert not list((two.folder / "results" / ".locks").rglob("*.crash"))


def test_a_second_death_of_the_same_trial_is_recorded_too(two: Bench) -> None:
    two.baseline("ends", method("os.kill(os.getpid(), signal.SIGKILL)", "step"))
    lock = locks.lock_path(two.folder / "results", "tiny", "digits", "ends", "seed-0")
    for number in (1, 2):
        assert two.process(*RUN).code == -signal.SIGKILL and locks.deaths(lock) == number
    for _ in range(2):  # once it is recorded, each further try has a process of its own
        assert two.process(*RUN).code == 1
        assert two.record("ends")["reason"] == "killed (out of memory?)" and two.record("vae")["status"] == "ok"


@pytest.mark.parametrize("when", ["True", "len(z) == 64"])
def test_images_outside_their_range_fail_the_trial_even_if_only_scoring_sees_them(two: Bench, when: str) -> None:
    """Only the protocol decodes 64 images at once; the artefacts decode other numbers of images."""
    source = method("pass", "step").replace("return self.decoder(z)", f"return self.decoder(z) + 5 * ({when})")
    two.baseline("ends", source)
    ended = two(*RUN)
    record = two.record("ends")
    assert ended.code == 1 and record["status"] == "failed" and "returns values from 5" in record["reason"]
    assert record["metrics"] == {} and two.record("vae")["status"] == "ok"


@pytest.mark.parametrize("place", ["import", "init", "step", "decode"])
def test_a_method_that_changes_the_working_folder_leaves_its_results_where_they_belong(two: Bench, place: str) -> None:
    two.baseline("ends", method("os.chdir(os.path.dirname(__file__))", place))
    checked = two("check", "ends")
    assert checked.code == 0, checked.err
    ended = two(*RUN)
    assert ended.code == 0 and two.record("ends")["status"] == two.record("vae")["status"] == "ok", ended.err
    assert sorted(path.name for path in two.folder.iterdir()) == ["baselines", "benchmarks.yaml", "results"]
    assert {path.name for path in (two.folder / "baselines").iterdir()} <= {"ends.py", "__pycache__"}


@pytest.mark.parametrize("place", ["import", "step", "decode"])
def test_a_thread_that_fails_logs_one_line_and_no_traceback(
    two: Bench, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    how = "import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()"
    two.baseline("ends", method(how, place))
    ended = two(*RUN)
    assert ended.code == 0 and "Traceback" not in ended.err + ended.out
    assert "and went on: ZeroDivisionError: division by zero" in caplog.text
