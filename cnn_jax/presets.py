"""One named Config per published recipe, with its source."""

import re
from dataclasses import replace

from cnn_jax.config import Config, ConfigError, Data, Model, Optim, near

IMAGENET_IMAGES = 1_281_167

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
    # Krizhevsky et al. 2012, Section 5: batches of 128, momentum 0.9, weight decay 5e-4, the rate inside the momentum,
    # 0.01 divided by 10 three times (by hand, when the validation error stood still; here evenly), about 90 passes.
    # The initial values, N(0, 0.01), are for pixels from 0 to 255, less their mean image. Crops of the prepared images
    # are not of this recipe.
    "alexnet_imagenet": Config(
        model=Model(name="alexnet"),
        data=Data(name="imagenet2012", std=(1 / 255,), pad=0),
        optim=Optim(learning_rate=0.01, boundaries=(0.25, 0.5, 0.75), rate_inside=True, weight_decay=5e-4),
        steps=90 * IMAGENET_IMAGES // 128,
        evaluations=90,
    ),
    # Simonyan & Zisserman 2015, 3.1: the same in Caffe with batches of 256, for 370k steps (74 passes), less the mean
    # colour. N(0, 0.01), the networks' own initial values, trains A; the paper begins the deeper ones with A's layers,
    # or all at random as Glorot & Bengio do, which is what is here.
    "vgg_imagenet": Config(
        model=Model(name="vgg16", initialization="glorot"),
        data=Data(name="imagenet2012", mean=(0.485, 0.458, 0.408), std=(1 / 255,), pad=0),
        optim=Optim(learning_rate=0.01, boundaries=(0.25, 0.5, 0.75), rate_inside=True, weight_decay=5e-4),
        batch_size=256,
        steps=370_000,
        evaluations=74,
    ),
    # torchvision's SqueezeNet 1.1 (https://github.com/pytorch/vision/pull/49): 100 passes in batches of 128, 0.01
    # divided by 10 every 30, weight decay 2e-4.
    "squeezenet_imagenet": Config(
        model=Model(name="squeezenet1_1"),
        data=Data(name="imagenet2012", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), pad=0),
        optim=Optim(learning_rate=0.01, boundaries=(0.3, 0.6, 0.9), weight_decay=2e-4),
        steps=100 * IMAGENET_IMAGES // 128,
        evaluations=100,
    ),
    # The networks of ImageNet on small images, in the CIFAR recipe above but for a rate that a network without batch
    # norm bears, the papers' weight decay, and He initial values, for layers as narrow as these.
    "classic_cifar10": Config(
        model=Model(name="vgg16", initialization="he"),
        optim=Optim(learning_rate=0.01, weight_decay=5e-4),
    ),
    "classic_digits": Config(
        model=Model(name="vgg11", width=16, initialization="he"),
        data=Data(name="digits", pad=0, flip=False),
        optim=Optim(learning_rate=0.01, weight_decay=5e-4),
        steps=225,
        evaluations=20,
    ),
    # SqueezeNet at its own width: narrower, it squeezes a digit into fewer than 16 maps. From a rate of 0.04 all its
    # scores, which a nonlinearity follows, are 0 and stay so.
    "squeezenet_digits": Config(
        model=Model(name="squeezenet1_1", initialization="he"),
        data=Data(name="digits", pad=0, flip=False),
        optim=Optim(learning_rate=0.01, weight_decay=2e-4),
        steps=225,
        evaluations=20,
    ),
    "classic_mnist": Config(
        model=Model(name="vgg11", initialization="he"),
        data=Data(name="mnist", pad=2, flip=False),
        optim=Optim(learning_rate=0.01, weight_decay=5e-4),
        steps=9_375,
        evaluations=20,
    ),
}

CLASSIC = r"(alexnet|vgg|squeezenet).*"
# The recipe of a model on a data set, where none is named: the first that fits both.
FITTING = (
    (r"alexnet.*", r"imagenet.*", "alexnet_imagenet"),
    (r"vgg.*", r"imagenet.*", "vgg_imagenet"),
    (r"squeezenet.*", r"imagenet.*", "squeezenet_imagenet"),
    (r"squeezenet.*", r"digits", "squeezenet_digits"),
    (CLASSIC, r"digits", "classic_digits"),
    (CLASSIC, r"(fashion_)?mnist", "classic_mnist"),
    (CLASSIC, r".*", "classic_cifar10"),
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
