"""Nonlinearities, by name: elementwise, of any shape, keeping the type."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def scaled_tanh(a: jax.Array) -> jax.Array:
    """1.7159 tanh(2a/3): f(1) = 1, f(-1) = -1, most curved there (LeCun et al. 1998, Appendix A)."""
    return 1.7159 * jnp.tanh(2 / 3 * a)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "scaled_tanh": scaled_tanh,
    "sigmoid": jax.nn.sigmoid,
}
