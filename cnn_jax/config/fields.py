"""The fields of a Config, with every default."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any


class ConfigError(ValueError):
    """A setting that cannot be; the message is one line and names the setting and the choices."""


@dataclass(frozen=True)
class Model:
    """The network and its own settings; None is the network's own value, `models.complete` puts it in its place.

    What a family does not have stays None, and is an error if set.
    """

    name: str = "resnet20"
    """One of models.MODELS, or plain or resnet and a depth 6n+2."""
    image_size: int | None = None
    """Pixels a side of the images it is built for; None is what it is given."""
    stem: str | None = None
    """How it begins and pools: paper, or what smaller images ask for (see its class); None is by image_size."""
    width: int | None = None
    """Channels of the first stage; all others are in proportion."""
    shortcut_option: str | None = None
    """Where the shape changes, A pads with zero channels and B projects by a 1x1 convolution; C projects everywhere."""
    zero_channels: str | None = None
    """Where option A puts its zero channels: after, or half on each_side."""
    stride_in: str | None = None
    """Which convolution of a bottleneck has the stride: 1x1 (v1, the paper's) or 3x3 (v1.5)."""
    bn_group: int | str | None = None
    """Examples that share batch-norm statistics: global (the whole batch), device (one device's share), or a number."""
    bn_momentum: float | None = None
    """What of batch norm's running statistics each step keeps."""
    dropout: float | None = None
    """Probability that a unit is dropped."""
    output: str | None = None
    """LeNet-5's last layer: rbf (the paper's) or dense."""
    initialization: str | None = None
    """How parameters begin: one of layers.initializers.INITIALIZATIONS."""
    activation: str | None = None
    """The nonlinearity: relu, tanh, scaled_tanh or sigmoid."""
    normalization: str | None = None
    """What its convolutions are followed by: none, lrn (local response) or bn (batch normalisation)."""
    pooling: str | None = None
    """How maps are made smaller: max, mean, overlapping (max, 3x3 of stride 2), strided (a 3x3 convolution of stride 2
    in its place), or trainable (LeNet-5's)."""
    padding_mode: str | None = None
    """What convolutions find beyond the edge: zero, symmetric, circular, or valid, where they stay inside."""
    scan: bool | None = None
    """Blocks of a stage after its first are one compiled block, scanned: it bounds compile time. For accelerators; slow
    on CPU. It changes the numbers by rounding alone."""


@dataclass(frozen=True)
class Data:
    name: str = "cifar10"
    """Data set: one that comes with the packages, a TFDS name, or an image folder."""
    classes: tuple[str, ...] = ()
    """Those of the set's classes that there are, by name or number, labelled 0, 1, ... in this order; none is all."""
    validation: int = 0
    """Training examples held out as the validation split."""
    train_examples: int = 0
    """How many of the training examples there are to learn from, drawn by the seed, fewer among more; 0 is all."""
    examples_per_class: int = 0
    """How many of the training examples of each class there are to learn from, drawn by the seed, fewer among more; 0
    is all."""
    average_pool: int = 1
    """Pixels a side of the squares whose averages the network sees; 1 is the image itself."""
    canvas: int = 0
    """Pixels a side of the black canvas on which each image is centred; 0 is no canvas."""
    mean: tuple[float, ...] = ()
    """What is subtracted from images in [0, 1], a number a channel or one for all; none is the mean training image, and
    of streamed images ImageNet's mean colour and deviation."""
    std: tuple[float, ...] = ()
    """What they are then divided by, likewise; none is 1."""
    pad: int = 4
    """Pixels of padding before the random crop back to size, of images in memory; 0 is no crop."""
    flip: bool = True
    """Whether half of the training images are mirrored, left to right."""
    crop: int = 0
    """Pixels a side of the crops that the network is shown of images streamed from their files; 0 is images of one
    size, all in memory, and of others what fits them and the network (see tasks.images.complete_crop). What follows is
    of streamed images."""
    short_side: tuple[int, ...] = (256,)
    """Pixels that the short side is resized to before the random crop: one number, or two between which it is drawn."""
    area: tuple[float, ...] = ()
    """In place of short_side: between which shares of the image's area the crop's is drawn (Szegedy et al. 2015)."""
    aspect: tuple[float, ...] = (3 / 4, 4 / 3)
    """With area: between which ratios of width to height the crop's is drawn."""
    pca: float = 0.0
    """Standard deviation of the shift along the principal components of colour (Krizhevsky et al. 2012, 4.1)."""
    test_short_side: int = 0
    """Pixels that the short side is resized to before the central crop in evaluation; 0 is 256 for a crop of 224."""
    bits: int = 0
    """Bits of the values of grey images with more than 8: they are scaled by 2^bits - 1; 0 is what their files say."""
    exif_orientation: bool | None = None
    """Whether photographs are turned as EXIF says and viewers show them, or taken as they are stored, as torchvision,
    TensorFlow and TFDS take them; None is turned where the crop is chosen too, and else as stored."""
    test_share: float = 0.0
    """Of an image folder without a split to test on, the share of each class that is held out to be that."""

    @property
    def resolved_test_short_side(self) -> int:
        """`test_short_side`, or what 0 stands for."""
        return self.test_short_side or round(self.crop * 256 / 224)


@dataclass(frozen=True)
class Optim:
    """How parameters move; what is of one optimizer or schedule alone is an error if set for another, see optim.py."""

    optimizer: str = "sgd"
    """sgd, adamw (Loshchilov & Hutter 2019) or lbfgs, which is for batches that are the whole data, or one image."""
    learning_rate: float = 0.1
    """That from which the schedule falls, or of onecycle its peak."""
    schedule: str = "steps"
    """How the learning rate goes on: steps, constant, cosine or onecycle (see train/schedule.py)."""
    boundaries: tuple[float, ...] = (0.5, 0.75)
    """steps: where the learning rate drops, as fractions of the steps."""
    factor: float = 0.1
    """steps: what the learning rate is multiplied by at each boundary."""
    final_fraction: float = 0.0
    """cosine: which part of the learning rate it falls to."""
    pct_start: float = 0.3
    """onecycle: the fraction of the cycle in which the rate rises to learning_rate."""
    div_factor: float = 25.0
    """onecycle: it begins at learning_rate / div_factor."""
    final_div_factor: float = 1e4
    """onecycle: it ends at where it began / final_div_factor."""
    warmup: float = 0.0
    """The fraction of the steps before the schedule, at warmup_learning_rate or rising from it."""
    warmup_learning_rate: float = 0.01
    """That of the warm-up, or where it begins."""
    warmup_form: str = "constant"
    """constant, at warmup_learning_rate (He et al. 2016, 4.2), or linear, from it to where the schedule begins (Goyal
    et al. 2017, 2.2)."""
    momentum: float = 0.9
    """What of its last update each step keeps; 0 is none."""
    nesterov: bool = False
    """Whether the gradient is that where the momentum leads (Sutskever et al. 2013)."""
    rate_inside: bool = False
    """Where the learning rate stands: inside the momentum, v := momentum v + rate g, w := w - v, as AlexNet and Caffe
    have it, or outside, v := momentum v + g, w := w - rate v. The two differ after the rate has changed."""
    b1: float = 0.9
    """adamw: decay of the mean of the gradients."""
    b2: float = 0.999
    """adamw: decay of the mean of their squares."""
    eps: float = 1e-8
    """adamw: what is added to the root of that."""
    memory: int = 10
    """lbfgs: steps whose changes of gradient make up its picture of the curvature."""
    weight_decay: float = 1e-4
    """Decay of the weights: weight_decay * w is added to the gradient, which is the penalty weight_decay / 2 w^2; in
    lbfgs it is that penalty, in adamw it is decoupled."""
    decoupled: bool = False
    """Whether decay is kept out of gradient and momentum: rate * weight_decay * w is taken from w in each step
    (Loshchilov & Hutter 2019)."""
    decayed: str = "kernels"
    """What decays: kernels, or all parameters (batch norm and biases too)."""
    clip_norm: float = 0.0
    """The longest that the gradient may be, all of it as one vector, before decay and momentum; 0 is no bound."""
    rates: tuple[str, ...] = ()
    """Learning rates of parts, part:multiplier, for instance conv1:0.1,stage[12]*:0.5,fc:10: a part is a module by its
    path in the parameters, or a pattern of such; of several that match a parameter the last counts."""
    frozen: str = ""
    """The endpoint up to which the network stays as it begins: all that its value depends on; empty is nothing."""
    average: str = "none"
    """Which average of the parameters (and batch-norm statistics) over the steps is evaluated and handed on: none,
    exponential, or polyak (Polyak & Juditsky 1992), in which all steps count the same."""
    average_decay: float = 0.999
    """exponential: what is kept of the average in a step."""
    average_from: float = 0.0
    """The fraction of the steps after which the average begins; until then it is the last step's."""


@dataclass(frozen=True)
class Penalty:
    """What large weights cost: l1 |w| + l2 w^2, summed over the weights; both is the elastic net. And what it costs to
    be far from where they began."""

    l1: float = 0.0
    """lambda of lambda |w|."""
    l2: float = 0.0
    """lambda of lambda w^2."""
    half: bool = False
    """Whether the second is lambda / 2 w^2, whose gradient is lambda w."""
    form: str = "loss"
    """loss, a term of the loss, or proximal: the proximal map after each step, which makes weights exactly zero."""
    max_norm: float = 0.0
    """The longest that a unit's incoming weights may be, as one vector (Srivastava et al. 2014, 5.1); 0 is no bound."""
    towards_start: float = 0.0
    """lambda of lambda / 2 |w - w0|^2, w0 being the initial values: decay towards a trained network that the run begins
    with, where optim.weight_decay is decay to zero (L2-SP, Li et al. 2018)."""
    penalized: str = "kernels"
    """What all this is of: kernels, or all parameters (max_norm is of kernels alone)."""


@dataclass(frozen=True)
class Classification:
    """Settings of the task classification."""

    label: str = "label"
    """Which label of the data set is learned, where it has several."""
    criterion: str = "cross_entropy"
    """cross_entropy, or map (maximum a posteriori, LeCun et al. 1998, eq. 9)."""
    rubbish_penalty: float = 1.0
    """map: j of eq. 9, the penalty of being of no class; it bounds how far wrong classes are pushed away."""
    auxiliary_weight: float = 0.3
    """What the cross entropy of each auxiliary head counts (Szegedy et al. 2015, Section 5)."""
    label_smoothing: float = 0.0
    """cross_entropy: how much of each training label is spread evenly over all classes (Szegedy et al. 2016, 7)."""


@dataclass(frozen=True)
class Config:
    """All that determines a run's numbers. A task's settings are the section of its name."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    optim: Optim = field(default_factory=Optim)
    penalty: Penalty = field(default_factory=Penalty)
    task: str = "classification"
    """The learning problem: one of tasks.TASKS."""
    classification: Classification = field(default_factory=Classification)
    batch_size: int = 128
    """Examples of a step, on all devices together."""
    steps: int = 64_000
    """Training steps of the run."""
    evaluations: int = 164
    """How often the splits are evaluated, evenly spread over the steps; the last time at the last step."""
    patience: int = 0
    """Evaluations without a better validation headline (see train.task) after which training stops, and goes back to
    the best; 0 is never."""
    dtype: str = "float32"
    """Compute type: float32 or bfloat16. Parameters, statistics and the loss are float32."""
    seed: int = 0
    """Of the initial values, the order of the data and the augmentation."""
    init_from: str = ""
    """Folder of a converted checkpoint or a run, whose variables are the initial ones; empty is drawn by the seed."""
    init_until: str = ""
    """The endpoint up to which variables are taken from init_from: all that its value depends on, batch statistics too;
    the rest is drawn by the seed. Empty is all that fits."""
    init_new_head: bool = False
    """Whether the layers that tell the classes apart begin anew whatever init_from has of them, and small: a tenth of
    what the seed draws, with biases of 1."""
    init_digest: str = ""
    """Of those variables; filled in when the config is resolved."""

    @property
    def evaluation_steps(self) -> frozenset[int]:
        """The numbers of steps taken at which the run is evaluated."""
        return frozenset(-(-part * self.steps // self.evaluations) for part in range(1, self.evaluations + 1))


TASK_SECTIONS = ("classification",)
"""The sections that are of one task alone."""


def flatten(config: Config | dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"optim.learning_rate": 0.1, ...}`, one entry a field."""
    values = config if isinstance(config, dict) else dataclasses.asdict(config)
    flat = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def format_value(value: Any) -> str:
    """A value as a user writes it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
