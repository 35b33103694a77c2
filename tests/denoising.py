"""A second learning problem, of the tests alone, registered as a user would: `python -m tests.denoising PAGE [flags]`.

Digits with noise in, digits out: the first stage of any plain or residual network and a 1x1 convolution predict the
noise. Its headline is the mean PSNR of an image, in dB, the higher the better; its median is no mean of batches.
"""

import runpy
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import models, tasks
from cnn_jax.layers.initializers import initialize
from cnn_jax.tasks.images import input_shape
from cnn_jax.train.task import Headline, Task

NOISE = 0.2
SUMS = ("loss", "psnr", "count")
HEADLINE = Headline("psnr", label="PSNR", unit="dB", higher_is_better=True, margin=0.1)


def fields(config):
    return "image", "label"


def complete(config, dataset):
    return replace(config, model=models.complete(config.model, min(input_shape(config.data, dataset)[:2])))


def make(config, dataset, axis_name):
    shape = input_shape(config.data, dataset)
    model = models.build(
        config.model.name,
        num_classes=10,
        axis_name=axis_name,
        dtype=jnp.dtype(config.dtype),
        **models.build_arguments(config.model),
    )

    def init(key, batch):
        backbone = initialize(model, key, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
        head = jnp.zeros((1, 1, config.model.width, 1), jnp.float32)
        return backbone | {"params": {"backbone": backbone["params"], "head": {"kernel": head}}}

    def draw(keys):
        return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)

    def denoise(variables, image, noise, train):
        noisy = image + NOISE * noise
        inner = {name: value for name, value in variables.items() if name != "params"}
        (_, endpoints), state = model.apply(
            inner | {"params": variables["params"]["backbone"]}, noisy, train=train, mutable=["batch_stats"]
        )
        kernel = variables["params"]["head"]["kernel"]
        return noisy - jnp.einsum("bhwc,cd->bhwd", endpoints["stage1"], kernel[0, 0]), state

    def errors(variables, batch, noise, train):
        """Mean squared error and PSNR of each image, (B,) both."""
        image = batch["image"].astype(jnp.float32) / 255
        restored, state = denoise(variables, image, noise, train)
        mse = jnp.square(restored - image).mean(axis=(1, 2, 3))
        return mse, -10 * jnp.log10(mse), state

    def loss(variables, batch, key):
        mse, psnr, state = errors(variables, batch, draw(batch["key"]), True)
        sums = {"loss": mse.sum() / NOISE**2, "psnr": psnr.sum(), "count": jnp.float32(len(mse))}
        return mse.mean() / NOISE**2, (state, sums)

    def tested(variables, batch):
        noise = draw(jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), ink(batch)))  # the same every time
        return errors(variables, batch, noise, False)[:2]

    def evaluate(variables, batch):
        mse, psnr = (jnp.where(batch["mask"], each, 0).sum() for each in tested(variables, batch))
        return {"loss": mse / NOISE**2, "psnr": psnr, "count": batch["mask"].sum(dtype=jnp.float32)}

    def outputs(variables, batch):
        return {"psnr": tested(variables, batch)[1], "label": batch["label"], "ink": ink(batch)}

    return Task(init, loss, evaluate, SUMS, HEADLINE, "digits", outputs=outputs, score=score)


def ink(batch):
    return batch["image"].sum(axis=(1, 2, 3), dtype=jnp.int32)


def score(outputs, annotations):
    """The median, which no mean of batches is; every example has to be there once, in order."""
    np.testing.assert_array_equal(outputs["label"], annotations["label"])
    return {"median_psnr": float(np.median(outputs["psnr"])), "ink": float(outputs["ink"].sum())}


tasks.TASKS["denoising"] = sys.modules[__name__]

if __name__ == "__main__":
    page, *flags = sys.argv[1:]
    sys.argv = [page, *flags]
    runpy.run_module(f"experiments.{page}", run_name="__main__")
