"""Dropout, the same on any number of devices."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Dropout(nn.Module):
    """Zeroes units of (B, ...) at random and scales the others up by 1 / (1 - rate); evaluation changes nothing.

    An example's units are drawn from the rng `dropout` and its place in the whole batch, whichever device holds it:
    int32 (B,), the network's variable `slot` of the collection `batch`; where there is none, this is the whole batch.
    Hinton et al. 2012 (https://arxiv.org/abs/1207.0580); they scaled in evaluation instead.

    Attributes:
      rate: the probability that a unit is dropped.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if not train or not self.rate:
            return x
        assert self.scope is not None
        slots = self.scope.root.get_variable("batch", "slot", jnp.arange(len(x)))
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(self.make_rng("dropout"), slots)
        keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(keep, x / (1 - self.rate), 0)
