"""What the values of a Config can be."""

import dataclasses

from cnn_jax.config.fields import TASK_SECTIONS, Config, ConfigError, Data, flatten, format_value
from cnn_jax.config.optim import check_optim

CHOICES = {
    "model.shortcut_option": ("A", "B", "C"),
    "model.zero_channels": ("after", "each_side"),
    "model.stride_in": ("1x1", "3x3"),
    "model.output": ("rbf", "dense"),
    "classification.criterion": ("cross_entropy", "map"),
    "optim.optimizer": ("sgd", "adamw", "lbfgs"),
    "optim.schedule": ("steps", "constant", "cosine", "onecycle"),
    "optim.warmup_form": ("constant", "linear"),
    "optim.average": ("none", "exponential", "polyak"),
    "optim.decayed": ("kernels", "all"),
    "model.activation": ("relu", "tanh", "scaled_tanh", "sigmoid"),
    "model.normalization": ("none", "lrn", "bn"),
    "model.pooling": ("max", "mean", "overlapping", "strided", "trainable"),
    "model.padding_mode": ("zero", "symmetric", "circular", "valid"),
    "penalty.form": ("loss", "proximal"),
    "penalty.penalized": ("kernels", "all"),
    "dtype": ("float32", "bfloat16"),
}
POSITIVE = (
    "batch_size",
    "steps",
    "evaluations",
    "model.image_size",
    "model.width",
    "data.average_pool",
    "classification.rubbish_penalty",
    "optim.learning_rate",
    "optim.warmup_learning_rate",
    "optim.div_factor",
    "optim.final_div_factor",
    "optim.pct_start",
    "optim.eps",
    "optim.memory",
    "optim.average_decay",
)
NOT_NEGATIVE = (
    "seed",
    "patience",
    "data.validation",
    "data.train_examples",
    "data.examples_per_class",
    "data.pad",
    "data.canvas",
    "data.crop",
    "data.pca",
    "data.bits",
    "data.test_short_side",
    "optim.weight_decay",
    "optim.clip_norm",
    "classification.auxiliary_weight",
    "penalty.l1",
    "penalty.l2",
    "penalty.max_norm",
    "penalty.towards_start",
)
FRACTION = (
    "data.test_share",
    "optim.warmup",
    "optim.momentum",
    "optim.b1",
    "optim.b2",
    "optim.final_fraction",
    "optim.pct_start",
    "optim.average_decay",
    "optim.average_from",
    "model.bn_momentum",
    "model.dropout",
    "classification.label_smoothing",
)


def check(config: Config) -> Config:
    """The config itself; raises ConfigError where a value cannot be."""
    values = {path: value for path, value in flatten(config).items() if value is not None}
    for path, choices in CHOICES.items():
        if path in values and values[path] not in choices:
            raise ConfigError(f"{path}={values[path]}: choose from {', '.join(choices)}")
    for path in filter(values.__contains__, POSITIVE):
        if not values[path] > 0:
            raise ConfigError(f"{path}={values[path]}: must be above 0")
    for path in filter(values.__contains__, NOT_NEGATIVE):
        if not values[path] >= 0:
            raise ConfigError(f"{path}={values[path]}: must not be negative")
    for path in filter(values.__contains__, FRACTION):
        if not 0 <= values[path] < 1:
            raise ConfigError(f"{path}={values[path]}: must be at least 0 and below 1")
    if not all(deviation > 0 for deviation in config.data.std):
        raise ConfigError(f"data.std={format_value(config.data.std)}: must be above 0")
    if config.init_until and not config.init_from:
        raise ConfigError(f"init_until={config.init_until} is of init_from, which is empty: leave it out, or give both")
    if config.init_new_head and not config.init_from:
        raise ConfigError("init_new_head is for variables of init_from, which is empty: leave it out, or give both")
    if config.data.train_examples and config.data.examples_per_class:
        raise ConfigError("data.train_examples and data.examples_per_class: leave one out")
    check_sections(config)
    check_crops(config.data)
    check_optim(config.optim, config.penalty)
    group = config.model.bn_group
    if isinstance(group, str) and group not in ("global", "device"):
        raise ConfigError(f"model.bn_group={group}: choose from global, device, or a number of examples")
    if isinstance(group, int) and (group < 1 or config.batch_size % group):
        raise ConfigError(f"batch_size={config.batch_size} is not a multiple of model.bn_group={group}")
    if config.model.scan and config.penalty.max_norm:
        raise ConfigError("penalty.max_norm does not tell the units of scanned blocks apart; leave model.scan out")
    if config.classification.label_smoothing and config.classification.criterion != "cross_entropy":
        raise ConfigError("classification.label_smoothing is of classification.criterion=cross_entropy; leave one out")
    return config


def check_sections(config: Config) -> None:
    """Raises ConfigError where a setting of one task is given to another."""
    for section in TASK_SECTIONS:
        defaults = flatten(type(getattr(config, section))())
        for name, value in flatten(dataclasses.asdict(getattr(config, section))).items():
            if config.task != section and value != defaults[name]:
                raise ConfigError(
                    f"{section}.{name}={format_value(value)} is a setting of the task {section}, and this is "
                    f"{config.task}; leave it out"
                )


def check_crops(data: Data) -> None:
    """Raises ConfigError where images cannot be cropped so."""
    if not data.crop:
        return
    short = data.short_side
    if len(short) not in (1, 2) or list(short) != sorted(short) or short[0] < data.crop:
        raise ConfigError(
            f"data.short_side={format_value(short)}: one number of pixels or two, rising, from data.crop={data.crop} on"
        )
    for name, values, most in (("area", data.area, 1.0), ("aspect", data.aspect, float("inf"))):
        if values and not (len(values) == 2 and 0 < values[0] <= values[1] <= most):
            raise ConfigError(
                f"data.{name}={format_value(values)}: two rising numbers above 0{', up to 1' * (most == 1)}"
            )
    if data.test_short_side and data.test_short_side < data.crop:
        raise ConfigError(f"data.test_short_side={data.test_short_side} is less than data.crop={data.crop}")
    for name in ("canvas", "train_examples"):
        if getattr(data, name):
            raise ConfigError(f"data.{name} is of images in memory; leave it out, or data.crop")
    if data.average_pool != 1:
        raise ConfigError("data.average_pool is of images in memory; leave it out, or data.crop")
