#!/usr/bin/env bash
# Packages: jax 0.10.2, jaxlib 0.10.2, flax 0.12.8, orbax-checkpoint 0.12.8, numpy 2.4.1.
# Expected, written down before it was run: to JAX None is a tree without leaves, so that a state with one more field,
# which is None, has the same leaves as before, and a checkpoint of the older state restores into the newer one.
# Behaviour seen: the two have one leaf each to JAX, and Orbax refuses: its keys are those of the dicts, and "average" is
# one more. So a state that has grown by an optional field, left at None, no longer restores what was saved before.
# Output seen:
#   leaves: 1 1
#   refused: ValueError
#   itself: {'w': array([1., 1., 1.])}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 orbax-checkpoint==0.12.8 numpy==2.4.1
cd "$folder" && JAX_PLATFORMS=cpu venv/bin/python - <<'PY' 2>/dev/null | tee seen
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp

older, newer = {"w": np.ones(3)}, {"w": np.zeros(3), "average": None}
print("leaves:", len(jax.tree.leaves(older)), len(jax.tree.leaves(newer)))
with ocp.StandardCheckpointer() as checkpointer:
    place = pathlib.Path("older").absolute()
    checkpointer.save(place, older)
    checkpointer.wait_until_finished()
    try:
        print("restored:", checkpointer.restore(place, newer))
    except Exception as error:
        print("refused:", type(error).__name__)
    print("itself:", checkpointer.restore(place, {"w": np.zeros(3)}))
PY
diff <(printf '%s\n' "leaves: 1 1" "refused: ValueError" "itself: {'w': array([1., 1., 1.])}") seen
