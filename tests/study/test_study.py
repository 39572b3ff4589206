"""benchmarks.yaml: resolved settings, names and keys, and messages for mistakes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from aegen_bench.errors import UserError
from aegen_bench.study import Study, Trial, asked_as
from aegen_bench.study.reading import parse_yaml
from aegen_bench.training.schedule import StagePlan

TOY = '''
from aegen_bench.baseline import Baseline, Stage

class Toy(Baseline):
    """A method of two stages."""

    likelihood = True

    def __init__(self, nets, *, beta: float = 1.0, kind: str = "plain", layers: int = 3):
        super().__init__(nets)

    def stages(self):
        return [Stage("first", self.step), Stage(name="second", step=self.step, data="codes")]

    def optimizers(self):
        return {"model": [{"params": self.parameters()}], "critic": [{"params": self.parameters()}]}
'''
PROFILE = {"models": ["toy"], "datasets": ["digits"], "seeds": 1, "protocols": ["smoke"]}

Make = Callable[..., Study]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that makes a study of the shipped benchmarks.yaml, the baseline `toy`, and what the test adds. Its
    profile is `p`.
    """

    def made(text: str = "", *settings: str, profile: str = "p", source: str = TOY, **sections: Any) -> Study:
        (tmp_path / "baselines").mkdir(exist_ok=True)
        (tmp_path / "baselines" / "toy.py").write_text(source)
        content = sections if text == "" else {}
        if text == "":
            content = {"profiles": {"p": PROFILE}, **sections}
        (tmp_path / "benchmarks.yaml").write_text(text or yaml.safe_dump(content))
        return Study(profile, local=tmp_path, data=tmp_path / "data", settings=settings)

    return made


def fails(make: Callable[[], object]) -> str:
    """Return the message of the UserError, which must be one line."""
    with pytest.raises(UserError) as error:
        make()
    assert "\n" not in str(error.value)
    return str(error.value)


def stage(study: Study, name: str = "first", row: str = "toy", dataset: str = "digits") -> dict[str, Any]:
    return study.config(row, dataset)["stages"][name]


# ---- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", range(1, 8))
def test_the_last_layer_that_sets_a_value_wins(make: Make, last: int) -> None:
    def upto(number: int) -> dict[str, int]:
        return {"d": number} if number <= last else {}

    study = make(
        "",
        *(["d=7"] if last == 7 else []),
        defaults={"recon": "sse", "precision": "fp32", "flow_width": 8, **upto(1)},
        datasets={"digits": {"recipe": {"source": "digits"}, **upto(2)}},
        rows={"toy": {**upto(3), "on": {"digits": upto(4)}}},
        profiles={
            "p": {**PROFILE, **upto(5), "stages": {"*": {"epochs": 1, "batch": 8, "lr": 1}}, "rows": {"toy": upto(6)}}
        },
    )
    assert study.config("toy", "digits")["d"] == last


def test_a_setting_from_the_command_line_wins_over_a_stage_that_the_profile_names(make: Make) -> None:
    named = {**PROFILE, "stages": {"first": {"epochs": 3}}, "rows": {"toy": {"stages": {"first": {"batch": 16}}}}}
    study = make("", "stages.*.epochs=5", "stages.*.batch=32", profiles={"p": named})
    assert (stage(study)["epochs"], stage(study)["batch"]) == (5, 32)


def test_a_star_sets_every_stage_and_a_name_in_the_same_layer_wins_over_it(make: Make) -> None:
    study = make(rows={"toy": {"stages": {"second": {"batch": 8}, "*": {"batch": 32}}}})
    assert (stage(study)["batch"], stage(study, "second")["batch"]) == (32, 8)


def test_a_local_default_leaves_the_other_defaults_as_they_are(make: Make) -> None:
    plain, changed = make(), make(defaults={"d": 5, "stages": {"*": {"lr": 1e-4}}})
    assert stage(changed) == {**stage(plain), "lr": 1e-4}
    assert changed.config("toy", "mnist")["d"] == 20 and changed.config("toy", "cifar10")["d"] == 5
    assert changed.config("toy", "cifar10")["recon"] == plain.config("toy", "cifar10")["recon"]


def test_a_budget_in_steps_keeps_inherited_milestones_at_the_same_fraction(make: Make) -> None:
    rows = {"toy": {"stages": {"*": {"steps": 20_000}}}}  # the defaults are 100 epochs with a milestone at 50
    assert stage(make(rows=rows))["lr_at"] == [[10_000, 0.5]] and "epochs" not in stage(make(rows=rows))


def test_milestones_are_replaced_whole_and_optimizer_settings_are_merged(make: Make) -> None:
    rows = {
        "toy": {
            "stages": {
                "*": {"lr_at": {30: 0.5, 50: 0.1}, "optimizers": {"critic": {"lr": 0.1, "weight_decay": 0.2}}},
                "second": {"lr_at": {20: 0.3}, "optimizers": {"critic": {"lr": 0.4}}},
            }
        }
    }
    first, second = (stage(make(rows=rows), name) for name in ("first", "second"))
    assert first["lr_at"] == [[30, 0.5], [50, 0.1]]
    assert second["lr_at"] == [[20, 0.3]]
    assert second["optimizers"] == {"critic": {"lr": 0.4, "weight_decay": 0.2}}


def test_a_budget_in_steps_replaces_one_in_epochs_and_vice_versa(make: Make) -> None:
    rows = {
        "toy": {"stages": {"*": {"steps": 700, "lr_at": {}}}, "on": {"digits": {"stages": {"second": {"epochs": 4}}}}}
    }
    study = make(rows=rows)
    assert stage(study)["steps"] == 700 and "epochs" not in stage(study)
    assert stage(study, "second")["epochs"] == 4 and "steps" not in stage(study, "second")


def test_a_stage_with_two_budgets_in_one_place_is_an_error(make: Make) -> None:
    message = fails(lambda: make(rows={"toy": {"stages": {"*": {"steps": 700, "epochs": 4}}}}).config("toy", "digits"))
    assert "steps" in message and "epochs" in message


def test_arguments_are_merged_over_the_defaults_of_the_signature(make: Make) -> None:
    rows = {"toy": {"with": {"beta": 2}, "on": {"digits": {"with": {"layers": 5}}}}}
    study = make(rows=rows)
    assert study.config("toy", "digits")["with"] == {"beta": 2.0, "kind": "plain", "layers": 5}
    assert study.config("toy", "mnist")["with"] == {"beta": 2.0, "kind": "plain", "layers": 3}


# ---- budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("epochs", "scaled"), [(100, 10), (26, 3), (24, 2), (3, 1), (1, 1)])
def test_a_profile_scales_epochs_to_the_nearest_whole_number_and_at_least_one(
    make: Make, epochs: int, scaled: int
) -> None:
    rows = {"toy": {"stages": {"*": {"epochs": epochs, "lr_at": {epochs / 2: 0.5}}}}}
    plan = stage(make(rows=rows, profiles={"p": {**PROFILE, "scale_epochs": 0.1}}))
    assert plan["epochs"] == scaled
    assert plan["lr_at"] == [[pytest.approx(scaled / 2), 0.5]], "a milestone stays at the same fraction"


def test_epochs_that_a_profile_sets_are_not_scaled(make: Make) -> None:
    changed = {**PROFILE, "scale_epochs": 0.1, "stages": {"first": {"epochs": 7}}}
    study = make(profiles={"p": changed})
    assert stage(study)["epochs"] == 7
    assert stage(study)["lr_at"] == [[pytest.approx(3.5), 0.5]]
    assert stage(study, "second")["epochs"] == 10


def test_a_budget_in_steps_is_not_scaled(make: Make) -> None:
    rows = {"toy": {"stages": {"*": {"steps": 900, "lr_at": {300: 0.5}}}}}
    plan = stage(make(rows=rows, profiles={"p": {**PROFILE, "scale_epochs": 0.1}}))
    assert plan["steps"] == 900 and plan["lr_at"] == [[300, 0.5]] and "unscaled" not in plan


def test_a_profile_that_counts_in_steps_keeps_milestones_at_the_same_fraction(make: Make) -> None:
    plan = stage(make(profiles={"p": {**PROFILE, "stages": {"*": {"steps": 1000}}}}))
    assert plan["lr_at"] == [[pytest.approx(500), 0.5]] and "epochs" not in plan


def test_the_unscaled_plan_is_kept_only_where_the_profile_changed_it(make: Make) -> None:
    study = make(profiles={"p": {**PROFILE, "stages": {"first": {"batch": 16}}}})
    assert stage(study)["unscaled"] == {k: v for k, v in stage(study, "second").items()}
    assert "unscaled" not in stage(study, "second")


def test_overrides_list_what_a_profile_changes_and_the_paper_has_none(make: Make) -> None:
    changed = {**PROFILE, "scale_epochs": 0.1, "train_images": 12_000, "stages": {"*": {"batch": 64}}}
    told = make(profiles={"p": changed}).config("toy", "digits")["overrides"]
    assert told == ["train_images 12,000", "epochs x 0.1", "batch 64"]
    assert make(profile="paper").config("glf", "mnist")["overrides"] == []


EPOCHS = {  # Appendix B: epochs of a stage, and {epoch: fraction of the initial learning rate from there on}
    "autoencoder": {
        "mnist": (100, {50: 0.5}),
        "cifar10": (200, {50: 0.5, 100: 0.25, 150: 0.125}),
        "celeba": (40, {}),
    },
    "vae": {
        "mnist": (200, {100: 0.5}),
        "cifar10": (400, {100: 0.5, 200: 0.25, 300: 0.125}),
        "celeba": (80, {40: 0.5}),
    },
    "wae": {
        "mnist": (100, {30: 0.5, 50: 0.1}),
        "cifar10": (200, {60: 0.5, 120: 0.1}),
        "celeba": (55, {30: 0.5, 50: 0.1}),
    },
    "two_stage_first": {
        "mnist": (400, {150: 0.5, 300: 0.25}),
        "cifar10": (1000, {300: 0.5, 600: 0.25, 900: 0.125}),
        "celeba": (120, {48: 0.5, 96: 0.25}),
    },
    "two_stage_second": {
        "mnist": (800, {300: 0.5, 600: 0.25}),
        "cifar10": (2000, {600: 0.5, 1200: 0.25, 1800: 0.125}),
        "celeba": (300, {120: 0.5, 240: 0.25}),
    },
}
STEPS = {  # batch size, and the optimiser steps of the whole stage at that size
    "autoencoder": (256, {"mnist": 23_400, "cifar10": 39_000, "celeba": 25_400}),
    "vae": (256, {"mnist": 46_800, "cifar10": 78_000, "celeba": 50_800}),
    "wae": (100, {"mnist": 60_000, "cifar10": 100_000, "celeba": 89_485}),
    "two_stage_first": (64, {"mnist": 374_800, "cifar10": 781_000, "celeba": 305_160}),
    "two_stage_second": (64, {"mnist": 749_600, "cifar10": 1_562_000, "celeba": 762_900}),
}
ROWS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {  # the schedule of each stage, and the arguments
    "vae": ({"train": "vae"}, {"beta": 1.0}),
    "wae_gan": (
        {"train": "wae"},
        {
            "lam": 10.0,
            "sigma2": 1.0,
            "recon_scale": 0.05,
            "critic_lr": 5e-4,
            "pretrain": True,
            "input_noise": 0.01,
            "prior_in_adversary": False,
        },
    ),
    "two_stage_vae": ({"first": "two_stage_first", "second": "two_stage_second"}, {}),
    "rae_gmm": ({"train": "autoencoder"}, {"gamma": 0.5, "components": 10}),
    "vae_flow_prior": ({"train": "vae"}, {"beta": 1.0, "flow_decay": 2e-5, "learn_beta": False}),
    "vae_flow_posterior": ({"train": "vae"}, {"beta": 1.0, "flow_decay": 2e-5, "conditional": True}),
    "glf": ({"train": "autoencoder"}, {"beta": 1.0, "flow_decay": 2e-5}),
    "glf_regularized": ({"train": "autoencoder"}, {"beta": 1.0, "flow_decay": 2e-5}),
    "glf_two_step": ({"prior": "autoencoder"}, {"decay": 2e-5}),
    "wae_mmd": (
        {"train": "wae"},
        {"lam": 10.0, "sigma2": 1.0, "recon_scale": 0.05, "pretrain": True, "input_noise": 0.01},
    ),
    "aae": ({"train": "wae"}, {"adversarial_lr": 5e-4}),
    "vampprior": ({"train": "vae"}, {"beta": 1.0, "pseudo_inputs": 500, "warmup": 0.1}),
}
PAIRS = {
    "glf_two_step": "flow",
    "glf_spline": "spline",
    "latent_flow_matching": "flow_matching",
    "latent_diffusion": "diffusion",
}
ON_CELEBA = {
    "wae_gan": {"lam": 1.0, "sigma2": 2.0, "recon_scale": 0.2, "critic_lr": 1e-3},
    "wae_mmd": {"lam": 100.0, "sigma2": 2.0, "recon_scale": 0.2},
}
LR = {"two_stage_vae": 1e-4, ("wae_gan", "celeba"): 3e-4}


@pytest.mark.parametrize("dataset", ["mnist", "fashion", "cifar10", "celeba"])
@pytest.mark.parametrize("row", ROWS)
def test_the_profile_paper_matches_appendix_b(make: Make, row: str, dataset: str) -> None:
    images = {"mnist": 60_000, "fashion": 60_000, "cifar10": 50_000, "celeba": 162_770}[dataset]
    like = "mnist" if dataset == "fashion" else dataset
    schedules, arguments = ROWS[row]
    config = make(profile="paper").config(row, dataset)
    for name, schedule in schedules.items():
        (epochs, lr_at), (batch, steps) = EPOCHS[schedule][like], STEPS[schedule]
        plan = {"epochs": epochs, "batch": batch, "lr": LR.get((row, dataset), LR.get(row, 1e-3)), "optimizers": {}}
        assert config["stages"][name] == {**plan, "lr_at": [[when, factor] for when, factor in lr_at.items()]}
        assert StagePlan(**config["stages"][name]).total_steps(images) == steps[like]
    assert config["stages"].keys() - schedules == ({"pretrain"} if row.startswith("wae") else set())
    assert config["with"] == {**arguments, **(ON_CELEBA.get(row, {}) if dataset == "celeba" else {})}
    assert (config["d"], config["flow_width"]) == ((20, 64) if like == "mnist" else (64, 256))
    assert (config["recon"], config["precision"], config.get("train_images")) == ("sse", "fp32", None)


@pytest.mark.parametrize("profile", ["paper", "lite", "smoke"])
@pytest.mark.parametrize("row", PAIRS)
def test_a_plain_auto_encoder_and_its_prior_are_each_trained_on_the_schedule_of_glf(
    make: Make, row: str, profile: str
) -> None:
    study = make(profile=profile)
    for dataset in ("digits", "mnist", "fashion", "cifar10", "celeba", "celebahq"):
        config, glf = study.config(row, dataset), study.config("glf", dataset)
        trunk = config["trunk"]
        assert (trunk["row"], config["prior"]) == ("ae", PAIRS[row])
        assert config["stages"]["prior"] == trunk["stages"]["train"] == glf["stages"]["train"]
        same = ("d", "flow_width", "recon", "precision", "recipe", "train_images")
        assert [config.get(name) for name in same] == [trunk.get(name) for name in same] == [glf.get(n) for n in same]
    assert {*PAIRS} <= {*study.groups["all"]}


@pytest.mark.parametrize(("dataset", "batch", "lr"), [("mnist", 1000, 1e-3), ("celeba", 256, 3e-4)])
def test_the_encoder_of_wae_is_pretrained_for_200_steps_at_one_rate(
    make: Make, dataset: str, batch: int, lr: float
) -> None:
    plan = make(profile="paper").config("wae_gan", dataset)["stages"]["pretrain"]
    assert plan == {"steps": 200, "batch": batch, "lr": lr, "lr_at": [], "optimizers": {}}


@pytest.mark.parametrize("dataset", ["mnist", "fashion", "cifar10", "celeba"])
def test_glo_and_glann_have_the_schedule_of_their_repository(make: Make, dataset: str) -> None:
    """The learning rate is halved every tenth of the epochs. Their number is that of the code; the paper's Table 5 has
    another one.
    """
    study, long = make(profile="paper"), dataset in ("cifar10", "celeba")
    epochs, every = (500, 50) if long else (200, 20)
    for row in ("glo", "glann", "glann_perceptual"):
        config = study.config(row, dataset)
        glo = config["stages"]["glo"]
        assert (glo["epochs"], glo["batch"], config["d"]) == (epochs, 128, 64)
        assert glo["lr_at"] == [[every * i, 0.5**i] for i in range(1, 10)]
        assert config["with"]["batch_norm"] == (dataset != "cifar10")
        assert config["recon"] == ("perceptual" if row == "glann_perceptual" else "sse")
        if row != "glo":
            imle = config["stages"]["imle"]
            assert (imle["epochs"], imle["batch"], imle["lr_at"]) == (50, 128, [])


def test_a_setting_too_large_for_two_cores_is_reduced_under_lite_and_listed(make: Make) -> None:
    config = make(profile="lite").config("vampprior", "fashion")
    assert config["with"]["pseudo_inputs"] == 100
    assert "pseudo_inputs 100" in config["overrides"]


def test_table_1_has_its_rows_in_the_papers_order(make: Make) -> None:
    printed = list(yaml.safe_load((Path(__file__).parents[2] / "baselines" / "published.yaml").read_text())["table1"])
    group = make(profile="paper").models(["table1"])
    assert group == [row for row in printed if row in group]


def test_celeba_hq_is_a_folder_of_256_px_images_on_the_schedule_of_appendix_b(make: Make) -> None:
    config = make(profile="paper").config("glf", "celebahq")
    assert config["stages"]["train"] == {
        "epochs": 60,
        "batch": 64,
        "lr": 1e-3,
        "lr_at": [[40.0, 0.5]],
        "optimizers": {},
    }
    assert (config["d"], config["flow_width"], config["recipe"]) == (128, 256, {"source": "folder", "size": 256})


def test_the_shipped_profiles_are_as_designed(make: Make) -> None:
    paper, lite, smoke = (make(profile=name).profile for name in ("paper", "lite", "smoke"))
    assert (paper.seeds, paper.draws, paper.datasets) == (10, 10, ["mnist", "fashion", "cifar10", "celeba"])
    assert (lite.seeds, lite.draws, lite.datasets) == (3, 3, ["mnist", "fashion", "cifar10"])
    assert (smoke.seeds, smoke.draws, smoke.datasets) == (2, 1, ["digits"])
    plan = make(profile="lite").config("glf", "fashion")
    assert plan["train_images"] == 12_000
    assert (plan["stages"]["train"]["epochs"], plan["stages"]["train"]["batch"]) == (10, 64)
    assert make(profile="paper").config("glf", "celeba")["recipe"] == {"source": "celeba", "crop": 160, "size": 64}


def test_a_profile_can_score_some_rows_on_fewer_draws_and_by_fewer_metrics(make: Make) -> None:
    rows = {name: {"baseline": "toy"} for name in ("short", "once", "full")}
    scoring = {"few": {"draws": 2, "metrics": ["prd", "reconstruction_fd"]}, "once": {"draws": 1}}
    profile = {**PROFILE, "protocols": ["smoke", "lite_wavelet"], "draws": 3, "scoring": scoring}
    study = make(rows=rows, groups={"few": ["short", "once"]}, profiles={"p": profile})

    def scored(row: str) -> tuple[list[tuple[str, ...]], int]:
        protocols, draws = study.scoring(row, "digits")
        return [p.metrics for p in protocols], draws

    assert scored("full") == ([("fd", "prd", "reconstruction"), ("fd", "reconstruction_fd")], 3)
    assert scored("short") == ([("prd",), ("reconstruction_fd",)], 2)
    assert scored("once") == ([("prd",), ("reconstruction_fd",)], 1), "the last entry wins, setting by setting"
    only = {**profile, "scoring": {"few": {"metrics": ["prd"]}}}
    protocols, _ = make(rows=rows, groups={"few": ["short"]}, profiles={"p": only}).scoring("short", "digits")
    assert [(p.name, p.metrics) for p in protocols] == [("smoke", ("prd",))], "a protocol without metrics is left out"


@pytest.mark.parametrize(
    ("scoring", "said"),
    [
        ({"tou": {"draws": 1}}, "toy"),
        ({"toy": {"metrics": ["kid"]}}, "metric of profiles.p.scoring.toy"),  # a metric of no protocol of the profile
        ({"toy": {"metrics": []}}, "profiles.p.scoring.toy.metrics"),
        ({"toy": {"draws": 0}}, "profiles.p.scoring.toy.draws"),
    ],
    ids=str,
)
def test_wrong_scoring_is_refused(make: Make, scoring: dict[str, Any], said: str) -> None:
    assert said in fails(lambda: make(profiles={"p": {**PROFILE, "scoring": scoring}}))


def test_the_perceptual_network_is_a_setting_only_of_the_rows_that_use_it(make: Make) -> None:
    rows = {"felt": {"baseline": "glf", "recon": "perceptual"}}

    def trial(row: str, *settings: str, profile: str = "paper") -> Trial:
        return make("", *settings, profile=profile, rows=rows).trials([row], ["mnist"], [0])[0]

    lite = "perceptual_net=efficientnet_lite0"
    assert trial("glf", lite).key == trial("glf").key and "perceptual_net" not in trial("glf", lite).config
    assert trial("glf", lite).config["overrides"] == [] and trial("glf", lite).config["dagger"] == []
    assert trial("felt", lite).key != trial("felt").key
    assert trial("felt", lite).config["overrides"] == ["perceptual_net efficientnet_lite0"]
    for profile, network in (("paper", "vgg16"), ("lite", "efficientnet_lite0"), ("smoke", "efficientnet_lite0")):
        config = trial("felt", profile=profile).config
        assert (config["perceptual_net"], config["dagger"]) == (network, [network])
    assert trial("glf_perceptual").key == trial("felt").key


@pytest.mark.slow
def test_the_perceptual_network_has_the_precision_of_its_row_unless_set_otherwise(make: Make) -> None:
    """The key does not contain the setting if both precisions are fp32, or if the row does not use the network."""
    rows = {"felt": {"baseline": "glf", "recon": "perceptual"}}

    def trial(row: str, *settings: str) -> Trial:
        return make("", *settings, profile="paper", rows=rows).trials([row], ["mnist"], [0])[0]

    own = "perceptual_precision="
    for same in ([], [own + "fp32"], ["precision=fp32"]):
        assert trial("felt", *same).key == trial("felt").key and "perceptual_precision" not in trial("felt").config
    assert trial("glf", own + "tf32").key == trial("glf").key
    assert trial("glf", own + "tf32").config["overrides"] == []
    keys = {
        (precision, network): trial("felt", f"precision={precision}", own + network)
        for precision in ("fp32", "tf32", "bf16")
        for network in ("fp32", "tf32", "bf16")
    }
    assert len({t.key for t in keys.values()}) == 9
    for precision in ("tf32", "bf16"):
        assert trial("felt", f"precision={precision}").key == keys[precision, precision].key
        assert trial("felt", f"precision={precision}").config["perceptual_precision"] == precision
        assert trial("felt", f"precision={precision}").profile == f"paper+precision={precision}"


# ---- names ----------------------------------------------------------------------------------------


def test_a_sweep_makes_a_row_per_combination_and_a_group_with_its_name(make: Make) -> None:
    study = make(
        rows={"grid": {"baseline": "toy", "sweep": {"beta": [10, 0.5], "layers": [1, 2]}, "with": {"kind": "x"}}}
    )
    names = ["grid_beta10_layers1", "grid_beta10_layers2", "grid_beta0.5_layers1", "grid_beta0.5_layers2"]
    assert study.models(["grid"]) == names
    assert study.config("grid_beta0.5_layers2", "digits")["with"] == {"beta": 0.5, "kind": "x", "layers": 2}
    assert study.config("grid_beta10_layers1", "digits")["baseline"] == "toy"
    assert not set(names) & set(study.groups["all"])


def test_all_is_every_row_except_those_of_sweeps_and_those_by_name(make: Make) -> None:
    rows = {"hidden": {"baseline": "toy", "by_name": True}, "shown": {"baseline": "toy"}}
    study = make(rows={**rows, "swept": {"baseline": "toy", "sweep": {"beta": [1, 2]}}})
    assert sorted(study.models(["all"])) == sorted([*make().models(["all"]), "shown"])
    assert study.models(["hidden"]) == ["hidden"]


def test_a_sweep_with_the_name_of_a_method_leaves_no_row_of_that_name(make: Make) -> None:
    rows = {"vae_flow_prior": {"sweep": {"beta": [1, 2]}}}
    study = make(rows=rows)
    assert study.models(["vae_flow_prior"]) == ["vae_flow_prior_beta1", "vae_flow_prior_beta2"]
    assert "vae_flow_prior" not in study.rows
    assert sorted(study.models(["all"])) == sorted({*make().models(["all"])} - {"vae_flow_prior"})


def test_a_method_that_is_swept_can_still_be_a_trunk_by_its_name(make: Make) -> None:
    study = make(rows={"vae": {"sweep": {"beta": [1, 2]}}})
    assert study.rows["vae+gmm"].trunk == "vae" and study.config("vae+gmm", "digits")["trunk"]["row"] == "vae"
    assert study.models(["vae"]) == ["vae_beta1", "vae_beta2"] and "vae" not in study.models(["all"])


def test_a_group_can_contain_sweeps(make: Make) -> None:
    study = make(rows={"swept": {"baseline": "toy", "sweep": {"beta": [1, 2]}}}, groups={"mine": ["glf", "swept"]})
    assert study.models(["mine"]) == ["glf", "swept_beta1", "swept_beta2"]


def test_a_profile_can_change_a_whole_group_and_one_of_its_rows_differently(make: Make) -> None:
    rows = {"swept": {"baseline": "toy", "sweep": {"beta": [1, 2]}}}
    changes = {"swept_beta2": {"d": 5}, "mine": {"d": 4, "probe": {"every": 3}}}
    study = make(rows=rows, groups={"mine": ["swept"]}, profiles={"p": {**PROFILE, "rows": changes}})
    one, two, other = (study.config(row, "digits") for row in ("swept_beta1", "swept_beta2", "toy"))
    assert (one["d"], two["d"], other["d"]) == (4, 5, 8)
    assert (one["probe"]["every"], two["probe"]["every"]) == (3, 3) and "probe" not in other
    assert one["overrides"] == ["d 4", "probe every 3"]


BETAS = [1, 10, 50, 100, 400]
SWEEPS = {
    "figure3": [*(f"curve_flow_prior_beta{b}" for b in BETAS), "curve_flow_prior_learnable", "curve_glf"],
    "figure4": [*(f"curve_glf_regularized_beta{b}" for b in BETAS), "curve_glf"],
    "vae_beta": [f"curve_vae_beta{b}" for b in BETAS],
    "rae_gamma": [f"curve_rae_gmm_gamma{g}" for g in (0.1, 0.5, 1, 2)],
}


@pytest.mark.parametrize("group", SWEEPS)
def test_the_sweeps_are_those_of_section_4_2_1_with_a_probe_and_are_not_in_all(make: Make, group: str) -> None:
    study = make(profile="paper")
    assert study.models([group]) == SWEEPS[group]
    assert not set(SWEEPS[group]) & set(study.models(["all", "table1"]))
    for row in SWEEPS[group]:
        config = study.config(row, "cifar10")
        assert config["probe"] == {"every": 10, "images": 10_000}
        assert StagePlan(**config["stages"]["train"]).total_steps(50_000) == (
            39_000 if group == "rae_gamma" else 97_500
        )
        if group != "rae_gamma":
            assert config["stages"]["train"]["lr_at"] == [[150, 0.5], [300, 0.25], [450, 0.125]]
        argument, value = re.fullmatch(r".*_([a-z]+)([0-9.]*)", row).groups()
        if value:
            assert config["with"][argument] == float(value)
    assert study.config("curve_flow_prior_learnable", "cifar10")["with"]["learn_beta"]


def test_a_group_is_expanded_into_its_rows_once_each_in_the_order_asked(make: Make) -> None:
    study = make(groups={"mine": ["glf", "toy"]})
    assert study.models(["vae", "mine", "toy", "vae"]) == ["vae", "glf", "toy"]


@pytest.mark.parametrize(
    ("sections", "nearest"),
    [
        ({"groups": {"mine": ["gfl"]}}, "'glf'"),
        ({"profiles": {"p": {**PROFILE, "models": ["tyo"]}}}, "'toy'"),
        ({"profiles": {"p": {**PROFILE, "rows": {"tyo": {}}}}}, "'toy'"),
        ({"rows": {"mine": {"baseline": "tyo"}}}, "'toy'"),
    ],
)
def test_a_model_that_does_not_exist_is_an_error_wherever_it_is_named(
    make: Make, sections: dict[str, Any], nearest: str
) -> None:
    def ask() -> None:
        study = make(**sections)
        for row in study.models([*sections.get("groups", {}), *study.profile.models, *sections.get("rows", {})]):
            study.config(row, "digits")

    assert f"did you mean {nearest}?" in fails(ask)


def test_datasets_protocols_and_profiles_that_do_not_exist_are_errors(make: Make) -> None:
    assert "'smok': did you mean 'smoke'?" in fails(lambda: make(profiles={"p": {**PROFILE, "protocols": ["smok"]}}))
    assert "'digit': did you mean 'digits'?" in fails(lambda: make(profiles={"p": {**PROFILE, "datasets": ["digit"]}}))
    assert "unknown dataset 'fashon': did you mean 'fashion'?" in fails(lambda: make().dataset_names(["fashon"]))
    assert "unknown profile 'papr': did you mean 'paper'?" in fails(lambda: make(profile="papr"))


def test_an_unknown_dataset_under_on_is_an_error(make: Make) -> None:
    assert "did you mean 'celeba'?" in fails(lambda: make(rows={"toy": {"on": {"celbea": {"d": 3}}}}))


def test_the_local_file_overrides_the_shipped_one_name_by_name_and_says_so(make: Make) -> None:
    same = make(profile="paper").models(["table1"])
    study = make(rows={"vae": {"d": 3}, "mine": {"baseline": "glf"}}, groups={"table1": same})
    assert study.shadowed == ["rows.vae"]
    assert study.config("vae", "mnist")["stages"]["train"]["epochs"] == 100, "the shipped row is replaced, not merged"
    assert study.profiles["smoke"].seeds == 2, "profiles that are not named stay"


def test_undeclared_npz_files_are_datasets_with_64_latent_dimensions(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cats.npz").write_bytes(b"")
    config = make().config("toy", "cats")
    assert (config["d"], config["flow_width"], config["recipe"]) == (64, 256, {"source": "npz"})


# ---- --set ----------------------------------------------------------------------------------------


def test_settings_name_the_profile_whatever_their_order(make: Make) -> None:
    one, other = make("", "d=3", "seeds=2"), make("", "seeds=2", "d=3")
    assert one.profile_name == other.profile_name == "p+d=3+seeds=2"
    assert one.profile.seeds == 2 and one.config("toy", "digits") == other.config("toy", "digits")


def test_a_setting_given_twice_does_not_make_two_configurations_of_one_name(make: Make) -> None:
    def outcome(*settings: str) -> object:
        try:
            study = make("", *settings)
        except UserError:
            return "refused"
        return study.profile_name, study.config("toy", "digits")["d"]

    one, other = outcome("d=3", "d=4"), outcome("d=4", "d=3")
    assert one == other or (isinstance(one, tuple) and isinstance(other, tuple) and one[0] != other[0])


def test_the_folder_of_an_ad_hoc_profile_is_one_folder(make: Make) -> None:
    study = make("", "rows.toy.with.kind=../../etc/x y", "rows.toy.with.layers=4")
    trial = study.trials(["toy"], ["digits"], [0])[0]
    assert trial.config["with"]["kind"] == "../../etc/x y"
    folder = trial.folder(Path("results"))
    assert len(folder.parts) == 5 and ".." not in folder.parts
    assert folder.parts[-3:] == ("digits", "toy", "seed-0")


def test_a_value_of_a_setting_is_read_as_yaml(make: Make) -> None:
    study = make("", "stages.*.lr=1e-3", "rows.toy.with.kind=on", "stages.second.lr_at={5: 0.5}")
    assert stage(study)["lr"] == 0.001
    assert study.config("toy", "digits")["with"]["kind"] == "on"
    assert stage(study, "second")["lr_at"] == [[5, 0.5]]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train_imags=5", "did you mean 'train_images'?"),
        ("stages.*.bach=5", "did you mean 'batch'?"),
        ("rows.tyo.d=5", "did you mean 'toy'?"),
        ("rows.toy.with.betta=5", "did you mean 'beta'?"),
        ("train_images", "expected dotted.path=value"),
        ("=5", "expected dotted.path=value"),
        ("seeds.x=5", "seeds"),
        ("seeds=many", "seeds"),
        ("d=[1", "--set d=[1"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_that_says_what_is_right(make: Make, setting: str, said: str) -> None:
    assert said in fails(lambda: make("", setting).config("toy", "digits"))


# ---- how the file is read ---------------------------------------------------------------------------

HEAD = "profiles: {p: {models: [toy], datasets: [digits], seeds: 1, protocols: [smoke]}}\n"


def test_a_setting_within_a_section_of_the_profile_leaves_the_rest_of_the_section(make: Make) -> None:
    scoring = {"few": {"draws": 1, "metrics": ["prd"]}, "once": {"draws": 1, "metrics": ["fd"]}}
    sections = {
        "rows": {name: {"baseline": "toy"} for name in ("short", "once")},
        "groups": {"few": ["short"]},
        "profiles": {"p": {**PROFILE, "draws": 3, "scoring": scoring}},
    }

    def scored(row: str, *settings: str) -> tuple[list[tuple[str, ...]], int]:
        protocols, draws = make("", *settings, **sections).scoring(row, "digits")
        return [p.metrics for p in protocols], draws

    assert scored("short", "scoring.few.draws=2") == ([("prd",)], 2)
    assert scored("once", "scoring.few.draws=2") == scored("once") == ([("fd",)], 1)
    assert scored("short", "scoring.few.draws=2", "scoring.few.metrics=[fd]") == ([("fd",)], 2)
    assert scored("once", "scoring.once={draws: 2}")[0] == [("fd", "prd", "reconstruction")], "a value replaces"
    assert scored("short", "scoring={}")[1] == scored("once", "scoring={}")[1] == 3
    lite, changed = (make("", *s, profile="lite").profile.scoring for s in ((), ("scoring.matrix.draws=2",)))
    assert changed == {**lite, "matrix": lite["matrix"].model_copy(update={"draws": 2})}


def test_a_budget_in_steps_can_be_set_where_the_profile_has_epochs(make: Make) -> None:
    named = {**PROFILE, "stages": {"first": {"epochs": 3}}}
    assert stage(make("", "stages.first.steps=50", profiles={"p": named}))["steps"] == 50


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train_images=null", "train_images: null unsets nothing: for all images, write a number that no dataset"),
        ("train_images=", "train_images: null unsets nothing"),
        ("train_images=~", "train_images: null unsets nothing"),
        ("probe=null", "probe: null unsets nothing"),
        ("compile=null", "compile: null unsets nothing: write false"),
        ("perceptual_precision=null", "perceptual_precision: null unsets nothing: leave the setting out"),
        ("rows.toy.d=null", "rows.toy.d: null unsets nothing"),
        ("stages.*.lr=null", "stages.*.lr: null unsets nothing"),
        ("stages.*.lr_at=", "stages.*.lr_at: null unsets nothing: for a constant rate, write {}"),
        ("stages.*.optimizers.model.betas=", "optimizers.model.betas: null unsets nothing"),
        ("scoring.toy.draws=null", "scoring.toy.draws: null unsets nothing"),
        ("draws=", "draws: null unsets nothing"),
    ],
)
def test_a_setting_that_is_null_is_refused_on_the_command_line_and_in_the_file(
    make: Make, tmp_path: Path, setting: str, said: str
) -> None:
    named = {**PROFILE, "train_images": 50, "probe": {"every": 3}}
    message = fails(lambda: make("", setting, profiles={"p": named}))
    assert said in message and message.startswith("--set: ")
    written: Any = None
    for name in reversed(setting.partition("=")[0].split(".")):
        written = {name: written}
    message = fails(lambda: make(profiles={"p": {**named, **written}}))
    assert said in message and message.startswith(f"{tmp_path / 'benchmarks.yaml'}: profiles.p.")


def test_null_is_refused_in_every_layer_of_the_file(make: Make) -> None:
    for layer in (
        {"defaults": {"d": None}},
        {"datasets": {"digits": {"recipe": {"source": "digits"}, "d": None}}},
        {"rows": {"toy": {"d": None}}},
        {"rows": {"toy": {"on": {"digits": {"d": None}}}}},
    ):
        assert "d: null unsets nothing" in fails(lambda layer=layer: make(**layer))


def test_an_argument_that_is_null_is_passed_to_the_method(make: Make) -> None:
    source = TOY.replace("layers: int = 3", "layers: int | None = 3")
    asked = make("", "rows.toy.with.layers=null", source=source)
    assert asked.config("toy", "digits")["with"]["layers"] is None
    written = make(source=source, rows={"toy": {"baseline": None, "with": {"layers": None}}})
    assert written.config("toy", "digits")["with"]["layers"] is None


def test_on_and_yes_are_words_and_1e_3_is_a_number(make: Make) -> None:
    study = make(HEAD + "rows: {toy: {with: {kind: yes}, on: {digits: {stages: {'*': {lr: 1e-3}}, with: {beta: .5}}}}}")
    config = study.config("toy", "digits")
    assert config["stages"]["first"]["lr"] == 0.001
    assert (config["with"]["kind"], config["with"]["beta"]) == ("yes", 0.5)


def test_what_one_caller_changes_does_not_affect_the_next() -> None:
    first = parse_yaml("a: &a [1]\nb: *a\n", "here")
    first["a"].append(2)
    first.pop("b")
    assert parse_yaml("a: &a [1]\nb: *a\n", "here") == {"a": [1], "b": [1]}


def test_a_duplicate_key_is_an_error(make: Make, tmp_path: Path) -> None:
    message = fails(lambda: make(HEAD + "rows:\n  toy: {d: 1}\n  toy: {d: 2}\n"))
    assert "duplicate key 'toy'" in message and str(tmp_path / "benchmarks.yaml") in message and "line 4" in message


HUGE = "9" * 5_000
HOSTILE = {
    "aliases of aliases": "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "an alias in itself": "rows: &a [*a]",
    "brackets": "rows: " + "[" * 20_000,
    "braces": "{a: " * 20_000,
    "dashes": "- " * 20_000,
    "a number of 5,000 digits": f"rows: {{toy: {{d: {HUGE}}}}}",
    "a tag it cannot have": "rows: {toy: {d: !!int x}}",
    "a tag that would run code": "rows: !!python/object/apply:os.system [ls]",
    "a date": "rows: {toy: {d: 2026-99-99}}",
    "50,000 keys": "rows:\n" + "".join(f"  r{i}: {{}}\n" for i in range(50_000)),
    "another document": "rows: {}\n---\nrows: {}",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_yaml_that_grows_or_means_something_else_is_refused_at_once_with_its_line(
    make: Make, tmp_path: Path, text: str
) -> None:
    begin = time.process_time()
    message = fails(lambda: make(text, profile="paper"))
    assert re.match(f"{tmp_path / 'benchmarks.yaml'}: line [0-9]+: ", message) and len(message) < 500
    assert time.process_time() - begin < 3
    if len(text) < 100_000:
        value = text.replace("\n", " ").partition("rows: ")[2] or text
        assert fails(lambda: make("", f"d={value}"))


def test_a_study_file_that_is_not_regular_is_not_waited_for(make: Make, tmp_path: Path) -> None:
    make()
    (tmp_path / "benchmarks.yaml").unlink()
    (tmp_path / "benchmarks.yaml").symlink_to("/dev/zero")

    def ask() -> Study:
        return Study("paper", local=tmp_path, data=tmp_path / "data")

    assert "not a regular file" in fails(ask)
    (tmp_path / "benchmarks.yaml").unlink()
    os.mkfifo(tmp_path / "benchmarks.yaml")
    assert "not a regular file" in fails(ask)
    (tmp_path / "benchmarks.yaml").unlink()
    (tmp_path / "benchmarks.yaml").write_bytes(b"#" * 2**21)
    assert "larger than" in fails(ask)


@pytest.mark.parametrize(
    "text", ["rows: [toy]\n", "- rows\n", "rows: {toy: 3}\n", "rows: {toy: {d: {}}}\n", "rows: {a\n"]
)
def test_a_malformed_file_gives_one_line_with_its_path(make: Make, tmp_path: Path, text: str) -> None:
    assert str(tmp_path / "benchmarks.yaml") in fails(lambda: make(text, profile="paper"))


@pytest.mark.parametrize("part", ["rows", "groups", "datasets"])
def test_an_empty_section_is_ignored(make: Make, part: str) -> None:
    assert make(HEAD + f"{part}:\n").config("glf", "mnist")["d"] == 20


@pytest.mark.parametrize(
    ("sections", "right"),
    [
        ({"rowz": {}}, "rows"),
        ({"defaults": {"recn": "sse"}}, "recon"),
        ({"datasets": {"digits": {"recipee": {}}}}, "recipe"),
        ({"datasets": {"digits": {"recipe": {"source": "digits", "sze": 8}}}}, "size"),
        ({"protocols": {"mine": {"extractr": "random_conv"}}}, "extractor"),
        ({"rows": {"toy": {"baselin": "vae"}}}, "baseline"),
        ({"rows": {"toy": {"on": {"digits": {"wiht": {}}}}}}, "with"),
        ({"rows": {"toy": {"stages": {"*": {"epoch": 3}}}}}, "epochs"),
        ({"rows": {"toy": {"stages": {"*": {"optimizers": {"model": {"beta": [0, 1]}}}}}}}, "betas"),
        ({"rows": {"toy": {"probe": {"evry": 3}}}}, "every"),
        ({"profiles": {"p": {**PROFILE, "seed": 3}}}, "seeds"),
        ({"profiles": {"p": {**PROFILE, "rows": {"toy": {"stges": {}}}}}}, "stages"),
    ],
)
def test_an_unknown_key_is_an_error_with_the_path_of_the_file_and_the_nearest_legal_key(
    make: Make, tmp_path: Path, sections: dict[str, Any], right: str
) -> None:
    message = fails(lambda: make(**sections))
    assert f"did you mean '{right}'?" in message
    assert message.startswith(f"{tmp_path / 'benchmarks.yaml'}: ")
    assert ": :" not in message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"with": {"betta": 1}}, "unknown argument of toy 'betta': did you mean 'beta'?"),
        ({"with": {"beta": "banana"}}, "beta = 'banana' is not float"),
        ({"with": {"layers": 2.5}}, "layers = 2.5 is not int"),
        ({"sweep": {"betta": [1]}}, "unknown argument of toy 'betta': did you mean 'beta'?"),
        ({"stages": {"frist": {"epochs": 3}}}, "did you mean 'first'?"),
        ({"on": {"digits": {"stages": {"secnd": {"epochs": 3}}}}}, "did you mean 'second'?"),
    ],
)
def test_a_setting_that_does_not_fit_the_baseline_is_an_error(make: Make, settings: dict[str, Any], said: str) -> None:
    def ask() -> None:
        study = make(rows={"mine": {"baseline": "toy", **settings}})
        for row in study.models(["mine"]):
            study.config(row, "digits")

    assert said in fails(ask)


TOY_ROW: dict[str, dict[str, Any]] = {  # settings that make no sense
    "nan": {"with": {"beta": float("nan")}},
    "infinity": {"with": {"beta": float("inf")}},
    "true for an argument": {"with": {"beta": True}},
    "true for a count": {"d": True},
    "true for a rate": {"stages": {"*": {"lr": True}}},
    "text for a count": {"d": "3"},
    "half a dimension": {"d": 2.5},
    "no dimension": {"d": 0},
    "a rate of nothing": {"stages": {"*": {"lr": 0}}},
    "a rate below": {"stages": {"*": {"lr": -1e-3}}},
    "a rate without end": {"stages": {"*": {"lr": float("inf")}}},
    "a milestone before": {"stages": {"*": {"lr_at": {-1: 0.5}}}},
    "a factor below": {"stages": {"*": {"lr_at": {1: -1}}}},
    "a factor of nothing": {"stages": {"*": {"lr_at": {1: 0}}}},
    "a milestone that is no number": {"stages": {"*": {"lr_at": {"x": 0.5}}}},
    "betas of two": {"stages": {"*": {"optimizers": {"model": {"betas": [2, 0.9]}}}}},
    "one beta": {"stages": {"*": {"optimizers": {"model": {"betas": [0.9]}}}}},
    "a decay below": {"stages": {"*": {"optimizers": {"model": {"weight_decay": -1}}}}},
    "an optimizer it lacks": {"stages": {"*": {"optimizers": {"nope": {"lr": 0.1}}}}},
    "no epochs": {"stages": {"*": {"epochs": 0}}},
    "epochs without end": {"stages": {"*": {"epochs": 10**30}}},
    "a value that no record holds": {"with": {"kind": 2**70}},
    "a sweep of nothing": {"sweep": {"beta": []}},
    "a value twice in a sweep": {"sweep": {"beta": [1, 2, 1.0]}},
    "nothing twice in a sweep": {"sweep": {"beta": [0, 0]}},
    "an endless value in a sweep": {"sweep": {"beta": [1, float("inf")]}},
    "a sweep of a million": {"sweep": {name: list(range(100)) for name in ("beta", "kind", "layers")}},
}


@pytest.mark.parametrize("settings", TOY_ROW.values(), ids=TOY_ROW)
def test_a_meaningless_setting_is_refused_with_the_name_of_its_row(make: Make, settings: dict[str, Any]) -> None:
    def ask() -> None:
        study = make(rows={"mine": {"baseline": "toy", **settings}})
        for row in study.models(["mine"]):
            study.config(row, "digits")

    begin = time.process_time()
    assert "mine" in fails(ask) or "toy" in fails(ask)
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    "change",
    [
        {"models": []},
        {"datasets": []},
        {"protocols": []},
        {"seeds": 0},
        {"seeds": 20_261_129},
        {"seeds": True},
        {"draws": 10**9},
        {"scale_epochs": float("inf")},
        {"scale_epochs": 0},
        {"train_images": 1},
        {"probe": {"every": 0}},
    ],
    ids=str,
)
def test_an_empty_or_endless_profile_is_refused(make: Make, change: dict[str, Any]) -> None:
    assert f"profiles.p.{next(iter(change))}" in fails(lambda: make(profiles={"p": {**PROFILE, **change}}))


FAR_TOO_LONG = "x" * 300


@pytest.mark.parametrize(
    "sections",
    [
        *({"profiles": {"p": PROFILE, name: PROFILE}} for name in ("external", "anchors", "tables", ".locks", "a+b")),
        *({"rows": {name: {"baseline": "toy"}}} for name in ("all", ".hidden", FAR_TOO_LONG, "a,b", "a/b", "-x", "")),
        *({"datasets": {name: {"recipe": {"source": "npz"}}}} for name in ("all", ".x", FAR_TOO_LONG, "a\ud800")),
        *({"groups": {name: ["vae"]}} for name in ("all", "glf", "toy", "mine", ".g")),
        {"groups": {"empty": []}},
        {"protocols": {".p": {"extractor": "random_conv"}}},
        {"rows": {"mine": {"baseline": "toy", "sweep": {"beta": [1, 2]}}, "mine_beta1": {"baseline": "toy"}}},
        {"rows": {"mine": {"baseline": "toy", "sweep": {"kind": ["x" * 200]}}}},
        {"rows": {"mine": {"baseline": "toy", "sweep": {"kind": ["a/b"]}}}},
    ],
    ids=lambda sections: ascii(sections)[:60],
)
def test_a_name_that_is_taken_or_cannot_be_a_folder_is_refused(make: Make, sections: dict[str, Any]) -> None:
    rows = {"mine": {"baseline": "toy"}} if "groups" in sections else {}
    assert fails(lambda: make(**{"profiles": {"p": PROFILE}, "rows": rows, **sections}))


def test_settings_too_long_for_a_folder_are_refused_and_brackets_stay_as_they_are(make: Make) -> None:
    assert "too long" in fails(lambda: make("", f"rows.toy.with.kind={FAR_TOO_LONG}"))
    study = make("", "protocols=[smoke,pixels]")
    assert study.profile_name == "p+protocols=[smoke,pixels]" and study.profile.protocols == ["smoke", "pixels"]
    assert asked_as(study.profile_name) == ("p", ["protocols=[smoke,pixels]"])
    assert asked_as("p+protocols=%5Bsmoke%5D") == ("p", ["protocols=[smoke]"]), "the form in the names of older results"


def test_a_word_in_place_of_a_list_is_refused_and_shown_as_a_list(make: Make) -> None:
    assert "protocols: expected a list: write [smoke]" in fails(lambda: make("", "protocols=smoke"))
    assert "20,000 names" in fails(lambda: make("", ".".join("a" * 20_000) + "=1"))


def test_a_data_file_with_a_forbidden_name_is_not_a_dataset(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("all.npz", "a,b.npz", "good.npz"):
        (tmp_path / "data" / name).write_bytes(b"")
    assert {"good"} == {name for name in make().datasets if name in ("all", "a,b", "good")}


def test_a_stage_that_the_baseline_lacks_is_an_error_in_the_profile_s_row_too(make: Make) -> None:
    wrong = {**PROFILE, "rows": {"toy": {"stages": {"frist": {"epochs": 3}}}}}
    assert "did you mean 'first'?" in fails(lambda: make(profiles={"p": wrong}).config("toy", "digits"))


def test_a_method_that_needs_a_likelihood_takes_no_other_reconstruction_loss(make: Make) -> None:
    study = make()
    study.rows["toy"] = study.rows["toy"].model_copy(update={"recon": "perceptual"})
    assert "toy needs a likelihood, so its recon must be 'sse'" in fails(lambda: study.config("toy", "digits"))


@pytest.mark.parametrize(("name", "value", "right"), [("precision", "fp23", "'fp32'"), ("recon", "see", "'sse'")])
def test_an_unknown_precision_or_loss_is_refused_before_anything_trains(
    make: Make, name: str, value: str, right: str
) -> None:
    message = fails(lambda: make("", f"{name}={value}").config("glf", "digits"))
    assert name in message and right in message


# ---- keys -------------------------------------------------------------------------------------------


def key(study: Study, row: str = "toy", seed: int = 0) -> str:
    return study.trials([row], ["digits"], [seed])[0].key


@pytest.mark.slow
def test_the_key_is_the_same_in_another_process(make: Make, tmp_path: Path) -> None:
    here = key(make())
    code = f"""
from pathlib import Path
from aegen_bench.study import Study
print(Study('p', local=Path({str(tmp_path)!r}), data=Path('elsewhere')).trials(['toy'], ['digits'], [0])[0].key)"""
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here and len(here) == 16


@pytest.mark.parametrize(
    "changes",
    [
        {"source": TOY.replace("super().__init__(nets)", "super().__init__(nets); self.x = 1")},
        {"rows": {"toy": {"with": {"beta": 2}}}},
        {"rows": {"toy": {"d": 9}}},
        {"rows": {"toy": {"precision": "bf16"}}},
        {"rows": {"toy": {"compile": True}}},
        {"rows": {"toy": {"train_images": 100}}},
        {"rows": {"toy": {"stages": {"second": {"lr": 0.5}}}}},
        {"datasets": {"digits": {"recipe": {"source": "npz"}, "d": 8, "flow_width": 32}}},
    ],
    ids=["code", "argument", "d", "precision", "compile", "train_images", "schedule", "recipe"],
)
def test_what_changes_the_training_changes_the_key(make: Make, changes: Mapping[str, Any]) -> None:
    before = key(make())
    assert key(make(**changes)) != before


def test_another_seed_or_dataset_has_another_key(make: Make) -> None:
    trials = make().trials(["toy"], ["digits", "mnist", "fashion"], [0, 1])
    assert len({trial.key for trial in trials}) == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "# a comment\n" + TOY.replace("A method of two stages.", "Said otherwise.")},
        {
            "source": TOY.replace(
                'beta: float = 1.0, kind: str = "plain"', "beta: float=1.0,\n        kind: str = 'plain'"
            )
        },
        {"profiles": {"p": {**PROFILE, "protocols": ["paper"], "draws": 5}}},
        {"rows": {"toy": {"probe": {"every": 3}}}},
        {"rows": {"toy": {"compile": False}}},
        {"rows": {"toy": {"with": {"beta": 1}}}},
        {"profiles": {"p": {**PROFILE, "seeds": 7, "models": ["glf"]}}},
    ],
    ids=["comment and docstring", "layout", "protocol and draws", "probe", "not compiled", "default", "what is asked"],
)
def test_what_does_not_change_the_training_does_not_change_the_key(make: Make, changes: Mapping[str, Any]) -> None:
    before = key(make())
    assert key(make(**changes)) == before


def test_two_rows_with_equal_settings_share_a_key_and_so_their_weights(make: Make) -> None:
    study = make(rows={"mine": {"baseline": "toy"}})
    mine, toy = study.trials(["mine", "toy"], ["digits"], [0])
    assert mine.key == toy.key and mine.folder(Path("r")) != toy.folder(Path("r"))


def test_trials_are_ordered_by_dataset_seed_and_model(make: Make) -> None:
    trials: list[Trial] = make().trials(["vae", "toy"], ["mnist", "digits"], [3, 1])
    assert [(t.dataset, t.seed, t.row) for t in trials[:4]] == [
        ("mnist", 3, "vae"),
        ("mnist", 3, "toy"),
        ("mnist", 1, "vae"),
        ("mnist", 1, "toy"),
    ]
    assert len(trials) == 8


def test_the_committed_trials_are_not_stale(tmp_path: Path) -> None:
    """No change to how settings are read or code is hashed may make results stale that people have."""
    from aegen_bench import results
    from aegen_bench.study.staleness import Present

    found = results.load(Path(__file__).parents[2] / "results")
    assert len(found.drop_duplicates(["profile", "dataset", "row", "seed"])) > 70
    assert Present(tmp_path).stale(found) == set()
