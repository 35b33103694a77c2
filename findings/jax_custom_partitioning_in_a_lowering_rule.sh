#!/usr/bin/env bash
# Packages: jax 0.10.2, jaxlib 0.10.2, numpy 2.4.6.
# Expected, written down before it was run: a primitive whose lowering rule is `mlir.lower_fun` of a function lowers like
# that function, one made by custom_partitioning included.
# Behaviour seen: under `jit` on one device the function itself computes; the primitive ends in a bare AssertionError that
# asks for a bug report. JAX looks through the program for custom_partitioning before it lowers, and tells only programs
# that contain it which devices they are for; it does not see what a lowering rule will bring in. It does see a program that
# the primitive carries as a parameter, used or not.
# Output seen:
#   function: [2. 2.]
#   primitive: AssertionError Please file a bug at https://github.com/jax-ml/jax/issues
#   primitive that carries the program: [2. 2.]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder" && JAX_PLATFORMS=cpu venv/bin/python - <<'PY' 2>/dev/null | tee seen
import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import NamedSharding, PartitionSpec

double = custom_partitioning(lambda x: 2 * x)


def partition(mesh, arguments, _):
    split = NamedSharding(mesh, PartitionSpec())
    return mesh, lambda x: 2 * x, split, (split,)


double.def_partition(partition=partition, infer_sharding_from_operands=lambda *a: partition(*a)[2], sharding_rule="i -> i")
primitive = Primitive("double")
primitive.def_abstract_eval(lambda x, **_: x)
mlir.register_lowering(
    primitive, lambda context, x, **_: mlir.lower_fun(double, multiple_results=False)(context, x)
)
ones = jnp.ones(2)
print("function:", jax.jit(double)(ones))
try:
    print("primitive:", jax.jit(lambda x: primitive.bind(x))(ones))
except AssertionError as error:
    print("primitive: AssertionError", error)
program = jax.make_jaxpr(double)(ones)
print("primitive that carries the program:", jax.jit(lambda x: primitive.bind(x, program=program))(ones))
PY
diff <(printf '%s\n' "function: [2. 2.]" \
  "primitive: AssertionError Please file a bug at https://github.com/jax-ml/jax/issues" \
  "primitive that carries the program: [2. 2.]") seen
