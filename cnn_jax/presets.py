"""One named Config per published recipe, with its source."""

import re
from dataclasses import replace

from cnn_jax.config import Classification, Config, ConfigError, Data, Model, Optim, suggest

# ImageNet as the papers crop it: 224 pixels of images of 256, mirrored at random; tested in the middle of 256. The mean
# is a colour, where AlexNet and the ResNets subtract the mean image: images that are streamed have no mean image.
IMAGENET = Data(name="imagenet2012", mean=(0.485, 0.456, 0.406), pad=0, crop=224, test_short_side=256)
IMAGENET_BYTES = (1 / 255,)  # the deviation of pixels that stay from 0 to 255

COSINE = Optim(learning_rate=0.01, schedule="cosine", warmup=0.05, warmup_learning_rate=1e-4, warmup_form="linear")

# LeCun et al. 1998, II.C and III (http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf): the MAP criterion (eq. 9), 20
# passes, background -0.1 and ink 1.175, no augmentation. The paper's stochastic diagonal Levenberg-Marquardt, one image
# a step, is not here: this is SGD with momentum; its batch, rate, decay and j were chosen on 5,000 images held out.
LENET5 = Config(
    model=Model(name="lenet5"),
    data=Data(name="mnist", canvas=32, mean=(0.1 / 1.275,), std=(1 / 1.275,), pad=0, flip=False),
    optim=Optim(learning_rate=0.001, weight_decay=5e-3),
    classification=Classification(criterion="map", rubbish_penalty=10.0),
    batch_size=32,
    steps=37_500,
    evaluations=20,
)
LENET5_DIGITS = replace(LENET5.data, name="digits", canvas=0)
LENET5_PHOTOGRAPHS = Data(std=(0.25,))
LENET5_FULL = replace(
    LENET5,
    model=Model(name="lenet5_full"),
    optim=Optim(learning_rate=0.03, weight_decay=5e-4),
    classification=Classification(),
)

GOOGLENET = Optim(learning_rate=0.01, weight_decay=2e-4, rate_inside=True)
SMALL_GOOGLENET = replace(GOOGLENET, learning_rate=0.05)

CLASSIC = Optim(learning_rate=0.01, weight_decay=5e-4)
PHOTOGRAPHS = Config(
    data=Data(area=(0.08, 1.0)), optim=replace(COSINE, weight_decay=5e-4), batch_size=32, steps=1_000, evaluations=60
)
CLASSIC_DIGITS = Config(
    model=Model(width=16, initialization="he"),
    data=Data(name="digits", pad=0, flip=False),
    optim=CLASSIC,
    steps=225,
    evaluations=20,
)

PRESETS = {
    # He et al. 2016, 4.2 (https://arxiv.org/abs/1512.03385): 64k steps of 128, learning rate 0.1 divided by 10 at 32k
    # and 48k, momentum 0.9, weight decay 1e-4, pad 4, crop, flip; two GPUs, so batch norm over 64.
    "resnet_cifar10": Config(model=Model(bn_group=64)),
    # The same recipe at 8x8 and half width: no augmentation, which would move a digit out of the image, and 20 epochs
    # of 1,437 images, so that a study of 18 runs takes minutes on two cores.
    "resnet_digits": Config(
        model=Model(width=8), data=Data(name="digits", pad=0, flip=False), steps=225, evaluations=20
    ),
    # The same recipe at half width, without the mirror image of a digit, for 40 passes of 2,000 scenes.
    "resnet_digit_scenes": Config(
        model=Model(width=8), data=Data(name="digit_scenes", flip=False), steps=625, evaluations=20
    ),
    # The same recipe, without the mirror image of a digit, for the 20 passes of LeCun et al. 1998, Section III.
    "resnet_mnist": Config(data=Data(name="mnist", pad=2, flip=False), steps=9_375, evaluations=20),
    # He et al. 2016, 3.4 and Tables 2 and 3: 600k steps of 256, eight GPUs, so batch norm over 32. The learning rate is
    # divided by 10 "when the error plateaus": here after 30 and 60 epochs of 1,281,167 images, as is usual since. The
    # short side is drawn from [256, 480], and colours are shifted as AlexNet's are.
    "resnet_imagenet": Config(
        model=Model(bn_group=32),
        data=replace(IMAGENET, short_side=(256, 480), pca=0.1),
        optim=Optim(boundaries=(0.25023, 0.50046)),
        batch_size=256,
        steps=600_000,
        evaluations=120,
    ),
    # Szegedy et al. 2015, Sections 5 and 6 (https://arxiv.org/abs/1409.4842): momentum 0.9, the learning rate 4 % lower
    # every 8 epochs, auxiliary weight 0.3, crops of 8 to 100 % of the area at aspects of 3/4 to 4/3. The rest is of
    # Caffe's replica, https://github.com/BVLC/caffe/tree/master/models/bvlc_googlenet: pixels from 0 to 255 less 104,
    # 117, 123 (blue, green, red), as its rate and Glorot & Bengio's initial values ask for; from 0.01, 10M steps of 32,
    # weight decay 2e-4, and 8 epochs are 320k steps. The paper's Polyak averaging makes the final model; since when, it
    # does not say: here over the last two epochs, after the last drop. Its photometric distortions (Howard 2013) and
    # changing interpolation are not here.
    "googlenet_imagenet": Config(
        model=Model(dropout=0.4),
        data=replace(IMAGENET, mean=(123 / 255, 117 / 255, 104 / 255), std=IMAGENET_BYTES, area=(0.08, 1.0)),
        optim=replace(
            GOOGLENET,
            boundaries=tuple(round(0.032 * drop, 3) for drop in range(1, 32)),
            factor=0.96,
            average="polyak",
            average_from=0.992,
        ),
        batch_size=32,
        steps=10_000_000,
        evaluations=250,
    ),
    # No paper's: the ResNets' recipes with that solver, and the learning rate 0.05 in batches of 128: on the digits
    # 0.01 leaves the network where it begins, and it takes 60 epochs.
    "googlenet_cifar10": Config(optim=SMALL_GOOGLENET),
    "googlenet_digits": Config(
        model=Model(width=16),
        data=Data(name="digits", pad=0, flip=False),
        optim=SMALL_GOOGLENET,
        steps=675,
        evaluations=20,
    ),
    "googlenet_mnist": Config(
        data=Data(name="mnist", pad=2, flip=False), optim=SMALL_GOOGLENET, steps=9_375, evaluations=20
    ),
    "lenet5_mnist": LENET5,
    # At 8x8, 60 epochs of 1,437 images.
    "lenet5_digits": replace(LENET5, data=LENET5_DIGITS, steps=2_694),
    # For photographs: their own size and mean, crops and mirror images, 20 epochs of CIFAR-10.
    "lenet5_cifar10": replace(LENET5, data=LENET5_PHOTOGRAPHS, steps=31_250),
    # The retold LeNet-5 on the same data: cross entropy of a dense output, whose gradients ask for a larger rate.
    "lenet5_full_mnist": LENET5_FULL,
    "lenet5_full_digits": replace(LENET5_FULL, data=LENET5_DIGITS, steps=2_694),
    "lenet5_full_cifar10": replace(LENET5_FULL, data=LENET5_PHOTOGRAPHS, steps=31_250),
    # Krizhevsky et al. 2012, Section 5: batches of 128, momentum 0.9, weight decay 5e-4, the rate inside the momentum,
    # 0.01 divided by 10 three times (by hand, when the validation error stood still; here evenly), about 90 passes.
    # The initial values, N(0, 0.01), are for pixels from 0 to 255. Colours are shifted along their components by 0.1
    # (4.1); the crops are of 227 pixels, which the paper's sizes of maps ask for, where it says 224.
    "alexnet_imagenet": Config(
        model=Model(name="alexnet"),
        data=replace(IMAGENET, std=IMAGENET_BYTES, crop=227, pca=0.1),
        optim=replace(CLASSIC, boundaries=(0.25, 0.5, 0.75), rate_inside=True),
        steps=90 * 1_281_167 // 128,
        evaluations=90,
    ),
    # Simonyan & Zisserman 2015, 3.1: the same in Caffe with batches of 256, for 370k steps (74 passes), less the mean
    # colour, the short side drawn from [256, 512], colours shifted. N(0, 0.01), the networks' own initial values, train
    # A; the paper begins the deeper ones with A's layers, or all at random as Glorot & Bengio do, as it is here.
    "vgg_imagenet": Config(
        model=Model(name="vgg16", initialization="glorot"),
        data=replace(IMAGENET, mean=(0.485, 0.458, 0.408), std=IMAGENET_BYTES, short_side=(256, 512), pca=0.1),
        optim=replace(CLASSIC, boundaries=(0.25, 0.5, 0.75), rate_inside=True),
        batch_size=256,
        steps=370_000,
        evaluations=74,
    ),
    # torchvision's SqueezeNet 1.1 (https://github.com/pytorch/vision/pull/49): 100 passes in batches of 128, 0.01
    # divided by 10 every 30, weight decay 2e-4.
    "squeezenet_imagenet": Config(
        model=Model(name="squeezenet1_1"),
        data=replace(IMAGENET, std=(0.229, 0.224, 0.225), area=(0.08, 1.0)),
        optim=Optim(learning_rate=0.01, boundaries=(0.3, 0.6, 0.9), weight_decay=2e-4),
        steps=100 * 1_281_167 // 128,
        evaluations=100,
    ),
    # These networks on small images, with the data and passes of the ResNets' recipes: a rate that a network without
    # batch norm bears, the papers' weight decay, He's initial values for what is narrower than the papers have it.
    "classic_cifar10": Config(model=Model(initialization="he"), optim=CLASSIC),
    "classic_digits": CLASSIC_DIGITS,
    "classic_mnist": Config(
        model=Model(initialization="he"),
        data=Data(name="mnist", pad=2, flip=False),
        optim=CLASSIC,
        steps=9_375,
        evaluations=20,
    ),
    # No paper's: a network that somebody has trained, on other data, for ten passes. Of the rates 0.001, 0.003 and 0.01
    # a SqueezeNet errs on 8.2, 8.8 and 93.5 % of 170 training images of Flowers-17 held out. The new head begins as the
    # network's family has it: He's initial values on features of hundreds of units leave its classes at zero, for good.
    "finetune": Config(optim=replace(COSINE, learning_rate=0.001), batch_size=32, steps=1_000, evaluations=10),
    # No paper's: a folder of a few thousand photographs, from nothing, in passes over it (PASSES): crops of 8 to 100
    # % of the area (Szegedy et al. 2015), batches that leave steps enough, He's initial values without batch norm.
    "photographs": PHOTOGRAPHS,
    "classic_photographs": replace(PHOTOGRAPHS, model=Model(initialization="he")),
    # SqueezeNet at its own width: at 16, its squeeze layers have 4 to 16 maps, and it hardly learns in as many steps.
    "squeezenet_digits": replace(CLASSIC_DIGITS, model=Model(initialization="he")),
}

# The recipe of a model on a data set, where none is named: the first that fits both.
RECIPES = (
    (r"alexnet.*", r"imagenet2012", "alexnet_imagenet"),
    (r"vgg.*", r"imagenet2012", "vgg_imagenet"),
    (r"squeezenet.*", r"imagenet2012", "squeezenet_imagenet"),
    (r"squeezenet.*", r"digits", "squeezenet_digits"),
    (r"(alexnet|vgg).*", r"digits", "classic_digits"),
    (r"(alexnet|vgg|squeezenet).*", r"(fashion_)?mnist", "classic_mnist"),
    (r"(alexnet|vgg|squeezenet).*", r".*", "classic_cifar10"),
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
    (r".*", r"digit_scenes(/\d+)?", "resnet_digit_scenes"),
    (r"(plain|resnet).*", r"imagenet2012", "resnet_imagenet"),
    (r".*", r".*", "resnet_cifar10"),
)


PASSES = {"finetune": 10, "photographs": 60, "classic_photographs": 60}
"""Passes over the training examples of recipes that are for data of any size, in place of their steps."""


def choose(dataset: str | None, model: str, folder: bool = False) -> str:
    """The name of the recipe that is the model's own on the data set; `folder` is whether that is an image folder."""
    if folder:
        return "classic_photographs" if re.fullmatch(r"(alexnet|vgg|squeezenet).*", model) else "photographs"
    base = (dataset or "").partition(":")[0]
    return next(preset for net, data, preset in RECIPES if re.fullmatch(net, model) and re.fullmatch(data, base))


def get(name: str, dataset: str | None = None, model: str = "resnet20", pretrained: bool = False) -> Config:
    """The preset, for `model` on `dataset`; `auto` is their own recipe, and `finetune` shows the data as that does.

    Args:
      name: of PRESETS, or auto.
      dataset, model: what it is for.
      pretrained: whether the run begins with variables of a file: its head then begins as the model's family has it.

    Raises:
      ConfigError: an unknown name.
    """
    own = choose(dataset, model)
    name = own if name == "auto" else name
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; {suggest(name, ('auto', *PRESETS))}")
    preset = PRESETS[name]
    data = PRESETS[own].data if name == "finetune" else preset.data
    initialization = None if pretrained else preset.model.initialization
    return replace(
        preset,
        data=replace(data, name=dataset or data.name),
        model=replace(preset.model, name=model, initialization=initialization),
    )


def add_warmup(config: Config, cifar_depth: int | None) -> Config:
    """The paper's warm-up for depth 110 and deeper: 400 of the 64k steps at 0.01 (He et al. 2016, 4.2)."""
    if cifar_depth is None or cifar_depth < 110:
        return config
    return replace(config, optim=replace(config.optim, warmup=400 / 64_000, warmup_learning_rate=0.01))
