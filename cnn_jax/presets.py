"""One named Config per published recipe, with its source."""

import re
from dataclasses import replace

from cnn_jax.config import Config, ConfigError, Data, Loss, Model, Optim, near

# LeCun et al. 1998, II.C and III (http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf): the MAP criterion (eq. 9), 20
# passes, background -0.1 and ink 1.175, no augmentation. The paper's stochastic diagonal Levenberg-Marquardt, one image
# a step, is not here: this is SGD with momentum, whose batch, rates and penalty j were chosen on 5,000 training images.
LENET5 = Config(
    model=Model(name="lenet5"),
    data=Data(name="mnist", canvas=32, mean=(0.1 / 1.275,), std=(1 / 1.275,), pad=0, flip=False),
    optim=Optim(learning_rate=0.003, weight_decay=0.0),
    loss=Loss("map", rubbish_penalty=10.0),
    batch_size=32,
    steps=37_500,
    evaluations=20,
)
LENET5_DIGITS = replace(LENET5.data, name="digits", canvas=0)
LENET5_PHOTOGRAPHS = Data(std=(0.25,))
LENET5_FULL = replace(LENET5, model=Model(name="lenet5_full"), optim=Optim(learning_rate=0.03), loss=Loss())

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
    "lenet5_mnist": LENET5,
    # At 8x8, 20 epochs of 1,437 images.
    "lenet5_digits": replace(LENET5, data=LENET5_DIGITS, steps=898),
    # For photographs: their own size and mean, crops and mirror images, 20 epochs of CIFAR-10.
    "lenet5_cifar10": replace(LENET5, data=LENET5_PHOTOGRAPHS, steps=31_250),
    # The retold LeNet-5 on the same data: cross entropy of a dense output, whose gradients ask for a larger rate.
    "lenet5_full_mnist": LENET5_FULL,
    "lenet5_full_digits": replace(LENET5_FULL, data=LENET5_DIGITS, steps=898),
    "lenet5_full_cifar10": replace(LENET5_FULL, data=LENET5_PHOTOGRAPHS, steps=31_250),
}

# The recipe of a model on a data set, where none is named: the first that fits both.
FITTING = (
    (r"googlenet.*", r"digits", "googlenet_digits"),
    (r"googlenet.*", r"(fashion_)?mnist", "googlenet_mnist"),
    (r"googlenet.*", r"imagenet2012", "googlenet_imagenet"),
    (r"googlenet.*", r".*", "googlenet_cifar10"),
    (r"lenet5", r"digits", "lenet5_digits"),
    (r"lenet5", r"(fashion_)?mnist", "lenet5_mnist"),
    (r"lenet5", r".*", "lenet5_cifar10"),
    (r"lenet5_full", r"digits", "lenet5_full_digits"),
    (r"lenet5_full", r"(fashion_)?mnist", "lenet5_full_mnist"),
    (r"lenet5_full", r".*", "lenet5_full_cifar10"),
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
