"""One named Config per published recipe, with its source."""

import re
from dataclasses import replace

from cnn_jax.config import Config, ConfigError, Data, Model, near

PRESETS = {
    # He et al. 2016, 4.2 (https://arxiv.org/abs/1512.03385): 64k steps of 128, learning rate 0.1 divided by 10 at 32k
    # and 48k, momentum 0.9, weight decay 1e-4, pad 4, crop, flip; two GPUs, so batch norm over 64.
    "resnet_cifar10": Config(model=Model(bn_group=64)),
    # The same recipe at 8x8 and half width: no augmentation, which would move a digit out of the image, and 20 epochs
    # of 1,437 images, so that a study of 18 runs takes minutes on two cores.
    "resnet_digits": Config(
        model=Model(width=8), data=Data(name="digits", pad=0, flip=False), steps=225, evaluations=20
    ),
    # The same recipe, without the mirror image of a digit, for the 20 passes of LeCun et al. 1998, Section III.
    "resnet_mnist": Config(data=Data(name="mnist", pad=2, flip=False), steps=9_375, evaluations=20),
}

# The recipe of a model on a data set, where none is named: the first that fits both.
FITTING = (
    (r".*", r"digits", "resnet_digits"),
    (r".*", r"(fashion_)?mnist", "resnet_mnist"),
    (r".*", r".*", "resnet_cifar10"),
)


def get(name: str, dataset: str | None = None, model: str = "resnet20") -> Config:
    """The preset, for `model` on `dataset`; `auto` is their own recipe. Raises ConfigError on an unknown name."""
    if name == "auto":
        base = (dataset or "").partition(":")[0]
        name = next(preset for net, data, preset in FITTING if re.fullmatch(net, model) and re.fullmatch(data, base))
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; {near(name, PRESETS)}")
    preset = PRESETS[name]
    return replace(
        preset, data=replace(preset.data, name=dataset or preset.data.name), model=replace(preset.model, name=model)
    )


def with_warmup(config: Config, cifar_depth: int | None) -> Config:
    """The paper's warm-up for depth 110 and deeper: 400 of the 64k steps at 0.01 (He et al. 2016, 4.2)."""
    if cifar_depth is None or cifar_depth < 110:
        return config
    return replace(config, optim=replace(config.optim, warmup=400 / 64_000, warmup_learning_rate=0.01))
