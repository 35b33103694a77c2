import dataclasses
import itertools

import pytest

from cnn_jax import config as config_lib
from cnn_jax import presets
from cnn_jax.config import Config, ConfigError, override
from cnn_jax.config.checks import CHOICES
from cnn_jax.config.optim import SETTINGS_OF
from cnn_jax.train import schedule


def test_override_parses_each_kind_of_field():
    changed = override(
        Config(),
        ["steps=10", "optim.learning_rate=5e-2", "optim.boundaries=0.25,0.5", "data.flip=false", "model.bn_group=64"],
    )
    assert changed.steps == 10
    assert changed.optim.learning_rate == 0.05
    assert changed.optim.boundaries == (0.25, 0.5)
    assert changed.data.flip is False
    assert changed.model.bn_group == 64
    assert override(changed, ["model.bn_group=global"]).model.bn_group == "global"
    assert override(changed, ["optim.boundaries="]).optim.boundaries == ()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optim.learning_rat=0.1", "unknown config field 'optim.learning_rat'; did you mean optim.learning_rate"),
        ("learning_rate=0.1", "did you mean optim.learning_rate"),
        ("optim=0.1", "unknown config field 'optim'"),
        ("steps.more=1", "unknown config field 'steps.more'"),
        ("steps", "write it as field=value"),
        ("steps=many", "steps=many: not a int"),
        ("data.flip=perhaps", "data.flip=perhaps: not a bool"),
        ("steps=0", "steps=0: must be above 0"),
        ("seed=-1", "must not be negative"),
        ("optim.momentum=1", "below 1"),
        ("optim.boundaries=0.75,0.5", "rising fractions"),
        ("optim.boundaries=0.5,32000", "rising fractions"),
        ("optim.warmup=0.6", "must end before the first of optim.boundaries"),
        ("optim.optimizer=adam", "optim.optimizer=adam: choose from sgd, adamw, lbfgs"),
        (
            "optim.b1=0.5",
            "optim.b1=0.5 is of optim.optimizer=adamw, and this is sgd; leave it out (--set=optim.b1=0.9)",
        ),
        ("optim.average_from=0.5", "is of optim.average=exponential or polyak, and this is none"),
        ("optim.rates=fc", "optim.rates=fc: write part:multiplier, for instance fc:10, each above 0"),
        ("optim.rates=fc:-1", "optim.frozen keeps parts as they are"),
        ("dtype=float16", "choose from float32, bfloat16"),
        ("model.bn_group=local", "choose from global, device"),
        ("model.bn_group=48", "batch_size=128 is not a multiple of model.bn_group=48"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(assignment, message):
    with pytest.raises(ConfigError) as error:
        override(Config(), [assignment])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("assignments", list(itertools.permutations(["batch_size=32", "model.bn_group=32"])))
def test_settings_that_fit_together_are_taken_in_any_order(assignments):
    base = override(Config(), ["model.bn_group=64"])
    changed = override(base, assignments)
    assert (changed.batch_size, changed.model.bn_group) == (32, 32)
    with pytest.raises(ConfigError, match="batch_size=32 is not a multiple of model.bn_group=64"):
        override(base, ["batch_size=32"])


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (
            ["optim.optimizer=lbfgs", "optim.momentum=0.5"],
            "optim.momentum=0.5 is of optim.optimizer=sgd, and this is lb",
        ),
        (["optim.optimizer=lbfgs", "optim.clip_norm=1"], "optim.clip_norm=1.0 is of optim.optimizer=sgd or adamw"),
        (
            ["optim.schedule=cosine", "optim.factor=0.5"],
            "optim.factor=0.5 is of optim.schedule=steps, and this is cosine",
        ),
        (["optim.optimizer=adamw", "penalty.form=proximal"], "penalty.form=proximal is of optim.optimizer=sgd"),
        (["optim.optimizer=lbfgs", "penalty.max_norm=3"], "penalty.max_norm: L-BFGS has to end where its line search"),
    ],
)
def test_settings_of_another_choice_are_told(assignments, message):
    with pytest.raises(ConfigError) as error:
        override(Config(), assignments)
    assert message in str(error.value)


def test_another_choice_leaves_a_recipes_settings_of_the_former_behind():
    recipe = presets.get("googlenet_imagenet").optim
    assert recipe.rate_inside and recipe.boundaries and recipe.factor == 0.96
    cosine = override(presets.get("googlenet_imagenet"), ["optim.schedule=cosine"]).optim
    assert cosine == dataclasses.replace(recipe, schedule="cosine", boundaries=(0.5, 0.75), factor=0.1)
    lbfgs = override(presets.get("googlenet_imagenet"), ["optim.optimizer=lbfgs"]).optim
    assert (lbfgs.weight_decay, lbfgs.rate_inside, lbfgs.learning_rate) == (2e-4, False, 0.1)


def test_a_config_survives_json():
    config = override(Config(), ["optim.boundaries=0.25", "model.bn_group=64", "seed=3"])
    assert config_lib.from_dict(config_lib.to_dict(config)) == config


def test_a_config_with_a_field_too_many_is_refused():
    values = config_lib.to_dict(Config())
    with pytest.raises(ConfigError, match="optim.nestrov is unknown: a newer version wrote it"):
        config_lib.from_dict(values | {"optim": values["optim"] | {"nestrov": True}})


def test_what_an_older_version_did_not_have_is_at_its_default():
    config = override(Config(), ["seed=3", "classification.label_smoothing=0.1", "optim.momentum=0.8"])
    values = config_lib.to_dict(config)
    old = {name: value for name, value in values.items() if name not in ("task", "classification", "patience")}
    old["loss"] = {"label_smoothing": 0.1}
    old["optim"] = {name: value for name, value in old["optim"].items() if name != "nesterov"}
    assert config_lib.from_dict(old) == config
    assert config_lib.upgrade(old) == values
    assert config_lib.differences(old, values) == []
    assert config_lib.differences(old, config_lib.to_dict(override(config, ["patience=0", "seed=4"]))) == [
        "seed: 3 there, 4 here"
    ]
    assert config_lib.upgrade(old | {"newer": 1})["newer"] == 1


def test_a_tasks_settings_are_refused_by_another():
    with pytest.raises(ConfigError, match="classification.criterion=map is a setting of the task classification, and"):
        override(Config(), ["task=denoising", "classification.criterion=map"])
    assert override(Config(), ["task=denoising"]).task == "denoising"


def test_a_runs_name_depends_on_what_is_not_default_alone(monkeypatch):
    config = override(Config(), ["seed=3", "optim.momentum=0.8"])
    before = config_lib.fingerprint(config)

    def with_a_new_field(config):
        return to_dict(config) | {"invented_later": 0}

    to_dict = config_lib.to_dict
    monkeypatch.setattr(config_lib, "to_dict", with_a_new_field)
    assert config_lib.fingerprint(config) == before
    assert config_lib.fingerprint(override(config, ["seed=4"])) != before


def test_differences_name_the_fields():
    old, new = Config(), override(Config(), ["optim.learning_rate=0.05", "seed=1"])
    assert config_lib.differences(config_lib.to_dict(old), config_lib.to_dict(new)) == [
        "optim.learning_rate: 0.1 there, 0.05 here",
        "seed: 0 there, 1 here",
    ]


def test_none_is_the_networks_own_but_where_it_is_a_choice():
    changed = override(Config(), ["model.width=none", "model.normalization=none"])
    assert (changed.model.width, changed.model.normalization) == (None, "none")


def test_every_field_changes_the_fingerprint():
    # Or patience, crop, init_until could not be set.
    base = override(Config(), ["data.validation=10", "data.mean=0.4", "init_from=somewhere"])
    seen = {config_lib.fingerprint(base)}
    for path, value in config_lib.flatten(base).items():
        other = {
            "flip": False,
            "decoupled": True,
            "half": True,
            "scan": True,
            "nesterov": True,
            "bn_group": 32,
            "boundaries": (0.25,),
            "mean": (0.5,),
            "std": (0.5,),
            "short_side": (320,),
            "area": (0.1, 0.9),
            "aspect": (0.5, 2.0),
            "dtype": "bfloat16",
            "rates": ("fc:10",),
            "memory": 5,
        }
        choices = CHOICES.get(path)
        leaf = path.rpartition(".")[2]
        if choices:
            changed = next(choice for choice in choices if choice != value)
        elif leaf in other:
            changed = other[leaf]
        else:
            changed = (
                f"{value}x" if isinstance(value, str) else value / 2 if isinstance(value, float) and value else 0.1
            )
            changed = value + 1 if isinstance(value, int) else changed
        choosers = SETTINGS_OF.get(leaf, {}) if path.startswith("optim.") else {}
        chosen = {f"optim.{chooser}": choices[0] for chooser, choices in choosers.items()}
        digest = config_lib.fingerprint(config_lib.replace_fields(base, chosen | {path: changed}))
        assert digest not in seen, path
        seen.add(digest)


def test_presets_hold_the_papers_recipe():
    config = presets.get("auto", "cifar10")
    assert config == presets.get("resnet_cifar10")
    assert (config.batch_size, config.steps, config.model.bn_group) == (128, 64_000, 64)
    assert (config.optim.momentum, config.optim.weight_decay, config.data.pad, config.data.flip) == (0.9, 1e-4, 4, True)
    assert presets.get("auto", "cifar10:3.0.2").data.name == "cifar10:3.0.2"
    assert presets.get("auto", "mnist").data == dataclasses.replace(config.data, name="mnist", pad=2, flip=False)
    with pytest.raises(ConfigError, match="did you mean resnet_cifar10"):
        presets.get("resnet_cifar")


def test_evaluations_are_evenly_spread_and_end_with_the_run():
    paper = presets.get("resnet_cifar10")
    steps = sorted(paper.evaluation_steps)
    assert (len(steps), steps[0], steps[-1]) == (164, 391, 64_000)  # an epoch is 390.6 steps
    assert {after - before for before, after in zip(steps, steps[1:], strict=False)} == {390, 391}
    assert override(Config(), ["steps=3", "evaluations=10"]).evaluation_steps == {1, 2, 3}


def test_a_pretrained_network_is_fine_tuned_on_data_as_its_own_recipe_shows_it():
    recipe = presets.get("finetune", "mnist", "squeezenet1_1", pretrained=True)
    own = presets.get("auto", "mnist", "squeezenet1_1")
    assert recipe.data == own.data and own.model.initialization == "he"
    assert recipe.model.initialization is None  # the family's own: He's would end the new head on old features
    assert presets.get("classic_mnist", "mnist", "squeezenet1_1", pretrained=True).model.initialization is None
    rates = [schedule.learning_rate(recipe.optim, 100, step) for step in (0, 5, 99)]
    assert rates == pytest.approx([1e-4, 1e-3, 0], abs=1e-6)


@pytest.mark.parametrize(("model", "name"), [("resnet18", "photographs"), ("squeezenet1_1", "classic_photographs")])
def test_an_image_folder_has_a_recipe_in_passes_over_it(model, name):
    assert presets.choose("flowers17", model, folder=True) == name
    assert presets.choose("flowers17", model) != name
    assert presets.get(name, "flowers17", model).data.area == (0.08, 1.0)
    assert set(presets.PASSES) <= set(presets.PRESETS)
