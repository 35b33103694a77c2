#!/usr/bin/env bash
# Packages: pillow 13.0.0, tifffile 2026.1.28, numpy 2.4.1.
# Expected, written down before it was run: PhotometricInterpretation 0 (WhiteIsZero) says that 0 is white. Pillow shows
# an 8-bit grey TIFF of that kind with its values inverted, so that 0 becomes 255; a 16-bit one likewise, so that 0
# becomes 65,535.
# Behaviour seen: 8 bits are inverted, 16 bits are not: the same picture is a negative of itself by its depth alone.
# Output seen:
#   8 minisblack L [0, 85, 170, 255]
#   8 miniswhite L [255, 170, 85, 0]
#   16 minisblack I;16 [0, 21845, 43690, 65535]
#   16 miniswhite I;16 [0, 21845, 43690, 65535]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pillow==13.0.0 tifffile==2026.1.28 numpy==2.4.1
cd "$folder" && venv/bin/python - <<'PY' | tee seen
import numpy as np
import tifffile
from PIL import Image

for bits in (8, 16):
    ramp = np.linspace(0, 2**bits - 1, 4).astype(f"uint{bits}").reshape(1, 4)
    for photometric in ("minisblack", "miniswhite"):
        tifffile.imwrite("ramp.tif", ramp, photometric=photometric)
        with Image.open("ramp.tif") as image:
            print(bits, photometric, image.mode, np.asarray(image).ravel().tolist())
PY
diff <(printf '%s\n' "8 minisblack L [0, 85, 170, 255]" "8 miniswhite L [255, 170, 85, 0]" \
  "16 minisblack I;16 [0, 21845, 43690, 65535]" "16 miniswhite I;16 [0, 21845, 43690, 65535]") seen
