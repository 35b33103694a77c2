"""Makes torchvision.npz: what torchvision's networks compute of random weights and images, in float64.

    pip install torch torchvision && python tests/goldens/from_torchvision.py

tests/test_parity.py reads the numbers and needs neither. Sides of images are chosen so that strided layers leave a
row of pixels over along one axis and none along the other, or, where the classifier's window fixes them, all do.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from random_weights import normal, random_state_dict, summary
from torch import nn
from torchvision import models


class Case(NamedTuple):
    """A network of theirs, the shape of what it is given, and whether it trains."""

    theirs: str
    images: tuple[int, int, int, int]  # (B, H, W, C)
    train: bool = False


RESIDUAL = (2, 96, 65, 3)  # 48, 24, 12, 6, 3 rows; 33, 17, 9, 5, 3 columns
CASES = {
    "alexnet_owt": Case("alexnet", (1, 253, 253, 3)),  # 62, 30, 14, 6: a row over at each
    "vgg11": Case("vgg11", (1, 255, 255, 3)),  # 127, 63, 31, 15, 7: likewise
    "vgg11_bn": Case("vgg11_bn", (1, 255, 255, 3)),
    "vgg16": Case("vgg16", (1, 255, 255, 3)),
    "vgg16_bn": Case("vgg16_bn", (1, 255, 255, 3)),
    "googlenet_tv": Case("googlenet", (2, 80, 77, 3)),  # 40, 20, 10, 5, 3 rows; 39, 19, 9, 4, 2 columns
    "googlenet_tv in training": Case("googlenet", (2, 224, 224, 3), train=True),
    **{f"resnet{depth}": Case(f"resnet{depth}", RESIDUAL) for depth in (18, 34, 50, 101, 152)},
    "squeezenet1_1": Case("squeezenet1_1", (2, 66, 63, 3)),  # 32, 16, 8, 4 rows; 31, 15, 7, 3 columns
}


def hooked(name: str, model: Any) -> dict[str, str]:
    """Our names of the endpoints, and the modules of theirs whose results these are."""
    if name == "alexnet":
        places = {"conv1": 1, "pool1": 2, "conv2": 4, "pool2": 5, "conv3": 7, "conv4": 9, "conv5": 11, "pool5": 12}
        return in_features(places) | {"fc6": "classifier.2", "fc7": "classifier.5", "fc8": "classifier.6"}
    if name.startswith("vgg"):
        classifier = {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
        return in_features(vgg_features(model)) | classifier
    if name.startswith("squeezenet"):
        places = {"conv1": 1, "pool1": 2, "pool3": 5, "pool5": 8}
        places |= {f"fire{index}": place for index, place in enumerate((3, 4, 6, 7, 9, 10, 11, 12), start=2)}
        return in_features(places) | {"conv10": "classifier.2", "pool10": "classifier.3"}
    if name.startswith("resnet"):
        stages = {f"conv{index + 1}_x": f"layer{index}" for index in range(1, 5)}
        return {"conv1": "relu", "pool1": "maxpool"} | stages | {"pool5": "avgpool"}
    stem = {"conv1": "conv1", "pool1": "maxpool1", "conv2_reduce": "conv2", "conv2": "conv3", "pool2": "maxpool2"}
    modules = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    return (
        stem
        | {f"inception_{module}": f"inception{module}" for module in modules}
        | {"pool3": "maxpool3", "pool4": "maxpool4", "pool5": "avgpool"}
        | ({"aux1": "aux1", "aux2": "aux2"} if model.training else {})
    )


def in_features(places: dict[str, int]) -> dict[str, str]:
    return {endpoint: f"features.{place}" for endpoint, place in places.items()}


def vgg_features(model: Any) -> dict[str, int]:
    """The places of `conv1_1`, after its nonlinearity, ..., `pool5`."""
    places, stage, index = {}, 1, 1
    for place, module in enumerate(model.features):
        if isinstance(module, nn.ReLU):
            places[f"conv{stage}_{index}"] = place
            index += 1
        elif isinstance(module, nn.MaxPool2d):
            places[f"pool{stage}"] = place
            stage, index = stage + 1, 1
    return places


def network(case: Case) -> Any:
    """Their network with random weights, in float64; nothing is dropped out."""
    settings = {"init_weights": False} if case.theirs == "googlenet" else {}
    with torch.device("meta"):
        model = getattr(models, case.theirs)(**settings)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    weights = {name: torch.from_numpy(array) for name, array in random_state_dict(shapes).items()}
    model.load_state_dict(weights, assign=True)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.double().train(case.train)


def channels_last(tensor: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) as (B, H, W, C); what an average over all pixels left as (B, C, 1, 1) as (B, C)."""
    if tensor.ndim == 4:
        return tensor.flatten(1).numpy() if tensor.shape[2:] == (1, 1) else tensor.permute(0, 2, 3, 1).numpy()
    return tensor.numpy()


def record(name: str, case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Logits, summaries of the endpoints and, in training, of the running statistics; and what they are of."""
    model = network(case)
    tensors = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    arrays, endpoints, counts = {}, {}, {}

    def keep(endpoint: str, result: torch.Tensor) -> None:
        array = channels_last(result)
        endpoints[endpoint] = array.shape
        arrays[f"{name}/{endpoint}"] = summary(endpoint, array)

    for endpoint, module in hooked(case.theirs, model).items():
        model.get_submodule(module).register_forward_hook(
            lambda _, __, result, endpoint=endpoint: keep(endpoint, result)
        )
    for module, norm in model.named_modules():
        if isinstance(norm, nn.BatchNorm2d) and case.train:
            norm.register_forward_hook(
                lambda _, __, result, module=module: counts.update({module: result.numel() // result.shape[1]})
            )
    images = torch.from_numpy(normal("images", case.images)).permute(0, 3, 1, 2).double()
    with torch.no_grad():
        result = model(images)
    arrays[f"{name}/logits"] = (result.logits if case.train else result).numpy()
    for tensor, values in model.state_dict().items():
        if case.train and "running" in tensor:
            arrays[f"{name}/{tensor}"] = summary(tensor, values.numpy())
    about = {"images": case.images, "tensors": tensors, "endpoints": endpoints, "counts": counts}
    return arrays, about


if __name__ == "__main__":
    torch.set_num_threads(1)
    arrays, about = {}, {}
    for name, case in CASES.items():
        recorded, about[name] = record(name, case)
        arrays |= recorded
        for endpoint in about[name]["endpoints"]:
            print(name, endpoint, about[name]["endpoints"][endpoint], recorded[f"{name}/{endpoint}"][:2])
    arrays["draws"] = normal("draws", (8,))
    arrays["about"] = np.array(json.dumps(about))
    np.savez_compressed(Path(__file__).with_name("torchvision.npz"), **arrays)
