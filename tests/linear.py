"""A learning problem that compiles in a second, for tests of the engine: two layers that tell digits apart.

Its parameters are `first` and `last`, its endpoint `first`; a running mean stands for batch-norm statistics.
"""

import functools
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.config import Config, override
from cnn_jax.train import devices, loop
from cnn_jax.train.signals import Stopped
from cnn_jax.train.task import Headline, Task

SUMS = ("loss", "error", "count")
STEPS = 12
SETTINGS = {
    "adamw, exponential average": (
        *("optim.optimizer=adamw", "optim.eps=1e-4", "optim.warmup=0.2", "optim.warmup_form=linear"),
        *("optim.average=exponential", "optim.average_decay=0.8"),
    ),
    "lbfgs": ("optim.optimizer=lbfgs", "optim.memory=4", "batch_size=256"),
    "frozen, rates, clipped, uniform average": (
        *("optim.frozen=first", "optim.rates=last/kernel:2", "optim.clip_norm=0.5", "optim.schedule=onecycle"),
        *("optim.average=polyak", "optim.average_from=0.25"),
    ),
}
"""What a run is tried with, by name."""


def config(name):
    return override(Config(), ["batch_size=32", f"steps={STEPS}", "evaluations=2", *SETTINGS[name]])


class AfterHalf(list):
    """A signal that is there once it was asked for so often."""

    asked = 0

    def __bool__(self):
        self.asked += 1
        return self.asked >= 5


def run(name, folder, dataset, layout):
    """Two runs on the layout, `whole`, and `half`, which is stopped on its way and goes on."""
    one = config(name)
    with devices.default_device(layout):
        for kind, signals in (("half", AfterHalf([signal.SIGTERM])), ("half", []), ("whole", [])):
            options = loop.Options(layout, progress=False, signals=signals)
            try:
                loop.fit(make(one), one, dataset, folder / kind, options)
            except Stopped:
                assert signals


def make(config):
    return _make(bool(config.optim.frozen))


@functools.cache
def _make(frozen):
    def init(key, batch):
        draw = np.random.default_rng(int(jax.random.key_data(key)[-1]))
        shapes = {"first": (64, 8), "last": (8, 10)}
        params = {
            name: {"kernel": draw.standard_normal(shape, np.float32) / 8, "bias": np.zeros(shape[1:], np.float32)}
            for name, shape in shapes.items()
        }
        return {"params": params, "batch_stats": {"mean": np.zeros(8, np.float32)}}

    def logits(variables, batch):
        """Logits (B, 10), and the mean of the hidden units."""
        first, last = variables["params"]["first"], variables["params"]["last"]
        image = batch["image"].reshape(len(batch["image"]), 64).astype(jnp.float32) / 255
        hidden = jnp.tanh(image @ first["kernel"] + first["bias"].reshape(1, -1))
        centred = hidden - variables["batch_stats"]["mean"].reshape(1, -1)
        return centred @ last["kernel"] + last["bias"].reshape(1, -1), hidden.mean(axis=0)

    def sums(values, batch):
        losses = optax.softmax_cross_entropy_with_integer_labels(values, batch["label"])
        return losses, (values.argmax(axis=-1) != batch["label"]).astype(jnp.float32)

    def loss(variables, batch, key):
        values, mean = logits(variables, batch)
        running = variables["batch_stats"]["mean"]
        running = running if frozen else 0.9 * running + 0.1 * mean
        noise = jax.vmap(lambda key: jax.random.normal(key, (10,)))(batch["key"])
        losses, errors = sums(values + 0.01 * noise, batch)
        found = {"loss": losses.sum(), "error": errors.sum(), "count": jnp.float32(len(losses))}
        return losses.mean(), ({"batch_stats": {"mean": running}}, found)

    def evaluate(variables, batch):
        losses, errors = sums(logits(variables, batch)[0], batch)
        found = {"loss": jnp.where(batch["mask"], losses, 0).sum(), "error": jnp.where(batch["mask"], errors, 0).sum()}
        return found | {"count": batch["mask"].sum(dtype=jnp.float32)}

    def stays(params):
        return {"first": dict.fromkeys(params["first"], True), "last": dict.fromkeys(params["last"], False)}

    return Task(init, loss, evaluate, SUMS, Headline("error"), "digits", frozen=stays if frozen else None)
