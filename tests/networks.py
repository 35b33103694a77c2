"""Networks for the tests: their shapes, without a number computed, and their variables drawn."""

import jax
import jax.numpy as jnp

from cnn_jax.layers.initializers import initialize
from cnn_jax.models import build


def trace_shapes(name, size=None, channels=3, **changes):
    """Shapes of the logits, of the endpoints and of the variables, for two images."""
    model = build(name, **changes)
    size = size or model.image_size
    (logits, endpoints), variables = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, size, size, channels)))
    )
    return logits.shape, {name: endpoint.shape[1:] for name, endpoint in endpoints.items()}, variables


def draw_variables(model, x):
    return initialize(model, jax.random.key(0), jax.ShapeDtypeStruct(x.shape, jnp.float32))
