"""One named Config per published recipe, with its source."""

import re
from dataclasses import replace

from cnn_jax.config import Config, ConfigError, Data, Model, Optim, near

GOOGLENET = Optim(learning_rate=0.01, weight_decay=2e-4, rate_inside=True)

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
    # He et al. 2016, 3.4 and Tables 2 and 3: 600k steps of 256, eight GPUs, so batch norm over 32. The learning rate is
    # divided by 10 "when the error plateaus": here after 30 and 60 epochs of 1,281,167 images, as is usual since.
    "resnet_imagenet": Config(
        model=Model(bn_group=32),
        data=Data(name="imagenet2012", pad=0),
        optim=Optim(boundaries=(0.25023, 0.50046)),
        batch_size=256,
        steps=600_000,
        evaluations=120,
    ),
    # Szegedy et al. 2015, Sections 5 and 6 (https://arxiv.org/abs/1409.4842): momentum 0.9, the learning rate 4 % lower
    # every 8 epochs, auxiliary weight 0.3. The rest is of Caffe's replica, bvlc_googlenet's solver: from 0.01, 10M
    # steps of 32, weight decay 2e-4, and 8 epochs are 320k steps.
    "googlenet_imagenet": Config(
        model=Model(dropout=0.4),
        data=Data(name="imagenet2012", pad=0),
        optim=replace(GOOGLENET, boundaries=tuple(round(0.032 * drop, 3) for drop in range(1, 32)), factor=0.96),
        batch_size=32,
        steps=10_000_000,
        evaluations=250,
    ),
    # The data and passes of the ResNets' recipes, with that solver and their two drops of the learning rate.
    "googlenet_cifar10": Config(optim=GOOGLENET),
    "googlenet_digits": Config(
        model=Model(width=16), data=Data(name="digits", pad=0, flip=False), optim=GOOGLENET, steps=450, evaluations=20
    ),
    "googlenet_mnist": Config(data=Data(name="mnist", pad=2, flip=False), optim=GOOGLENET, steps=9_375, evaluations=20),
}

# The recipe of a model on a data set, where none is named: the first that fits both.
FITTING = (
    (r"googlenet.*", r"digits", "googlenet_digits"),
    (r"googlenet.*", r"(fashion_)?mnist", "googlenet_mnist"),
    (r"googlenet.*", r"imagenet2012", "googlenet_imagenet"),
    (r"googlenet.*", r".*", "googlenet_cifar10"),
    (r".*", r"digits", "resnet_digits"),
    (r".*", r"(fashion_)?mnist", "resnet_mnist"),
    (r"(plain|resnet).*", r"imagenet2012", "resnet_imagenet"),
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
