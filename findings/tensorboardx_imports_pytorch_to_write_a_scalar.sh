#!/usr/bin/env bash
# Packages: tensorboardX 2.6.5, numpy 2.4.6.
# Expected, written down before it was run: a writer of TensorBoard files for programs without PyTorch asks for PyTorch
# when it is to draw a model's graph, and not where only EventsWriter is imported, which knows bytes and protocol buffers.
# Behaviour seen: importing it runs the package's __init__, and writer.py tries `import torch` at its top. Where PyTorch is
# installed beside another framework, as where the two are compared, every process that writes a scalar has it in memory:
# 470 MB and 3 seconds, measured with PyTorch 2.14.1. Here PyTorch is not installed; what is asked for is listed.
# Output seen:
#   torch asked for: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorboardX==2.6.5 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' | tee printed
import sys

asked = set()


class Listen:
    def find_spec(self, name, path=None, target=None):
        asked.add(name)


sys.meta_path.insert(0, Listen())
from tensorboardX.event_file_writer import EventsWriter  # noqa: E402, F401

print("torch asked for:", "torch" in asked)
PYTHON
grep -qx "torch asked for: True" printed
