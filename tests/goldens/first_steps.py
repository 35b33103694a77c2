"""Makes first_steps.json: the first training steps of small plain and residual nets, computed by PyTorch.

    pip install torch numpy && python tests/goldens/first_steps.py

The tests read the numbers and need no PyTorch. Weights and images are drawn by name, so that both sides can draw them.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

WIDTH, CLASSES, STEPS, RATE, MOMENTUM, DECAY = 4, 10, 2, 0.1, 0.9, 1e-2


def draw(name, shape):
    """Standard normal numbers, a function of the name."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)


def parameters():
    shapes = {"conv1": (3, 3, 3, WIDTH)}
    for stage in (1, 2, 3):
        new, old = WIDTH * 2 ** (stage - 1), WIDTH * 2 ** max(stage - 2, 0)
        shapes |= {f"stage{stage}_block1/conv1": (3, 3, old, new), f"stage{stage}_block1/conv2": (3, 3, new, new)}
    params = {}
    for name, shape in shapes.items():
        params[f"{name}/conv/kernel"] = draw(f"{name}/conv/kernel", shape) / np.sqrt(9 * shape[2])
        params[f"{name}/bn/scale"] = 1 + 0.1 * draw(f"{name}/bn/scale", shape[3:])
        params[f"{name}/bn/bias"] = 0.1 * draw(f"{name}/bn/bias", shape[3:])
    params["fc/kernel"] = draw("fc/kernel", (4 * WIDTH, CLASSES)) / np.sqrt(4 * WIDTH)
    params["fc/bias"] = 0.1 * draw("fc/bias", (CLASSES,))
    return {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in params.items()}


def conv_bn(params, name, x, stride):
    kernel = params[f"{name}/conv/kernel"].permute(3, 2, 0, 1)  # HWIO to OIHW
    x = F.conv2d(x, kernel, stride=stride, padding=1)
    return F.batch_norm(x, None, None, params[f"{name}/bn/scale"], params[f"{name}/bn/bias"], training=True, eps=1e-5)


def logits(params, x, residual):
    x = F.relu(conv_bn(params, "conv1", x, 1))
    for stage in (1, 2, 3):
        stride = 1 if stage == 1 else 2
        y = F.relu(conv_bn(params, f"stage{stage}_block1/conv1", x, stride))
        y = conv_bn(params, f"stage{stage}_block1/conv2", y, 1)
        if residual:
            y = y + F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        x = F.relu(y)
    return x.mean(dim=(2, 3)) @ params["fc/kernel"] + params["fc/bias"]


def run(residual):
    params = parameters()
    decayed = [value for name, value in params.items() if name.endswith("kernel")]
    others = [value for name, value in params.items() if not name.endswith("kernel")]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    sgd = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM)
    record = {"losses": []}
    for step in range(STEPS):
        image = torch.tensor(draw(f"image{step}", (16, 16, 16, 3)), dtype=torch.float64).permute(0, 3, 1, 2)
        label = torch.arange(16) % CLASSES
        out = logits(params, image, residual)
        loss = F.cross_entropy(out, label)
        record["losses"].append(loss.item())
        record.setdefault("first_logits", out[:2].tolist())
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    record["norms"] = {name: value.norm().item() for name, value in params.items()}
    record["sums"] = {name: value.sum().item() for name, value in params.items()}
    return record


if __name__ == "__main__":
    golden = {"plain8": run(residual=False), "resnet8": run(residual=True), "torch": torch.__version__}
    Path(__file__).with_suffix(".json").write_text(json.dumps(golden, indent=1) + "\n")
