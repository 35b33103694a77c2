"""What an evaluation prints: a table to read, and a last line of JSON."""

import json
from typing import Any

from cnn_jax.evaluation import Protocol
from cnn_jax.train.record import replace_nonfinite


def print_errors(about: dict[str, Any], protocol: Protocol, split: str, result: dict[str, Any]) -> None:
    """Prints a table of it all, then one line of JSON, errors as fractions."""
    named = {f"{split}_{name}" if name in ("loss", "error") else name: value for name, value in result.items()}
    errors = {name: f"{100 * value:.2f} %" for name, value in named.items() if name.endswith("error")}
    rest = {name: f"{value:,.6g}" for name, value in named.items() if name not in errors}
    table = about | {"parameters": f"{about['parameters']:,}", "protocol": str(protocol)} | errors | rest
    print("\n".join(f"{name.replace('_', ' '):<30} {value}" for name, value in table.items()))
    how = {"crops": protocol.crops, "crop": protocol.size, "scales": protocol.scales, "dense": protocol.dense}
    print(json.dumps(about | {"protocol": how} | replace_nonfinite(named), allow_nan=False))


def print_classes(likeliest: list[tuple[int, float]], names: tuple[str, ...], image: str) -> None:
    """Prints class numbers with their probabilities and names, then the same in one line of JSON."""
    print("\n".join(f"class {index:>5} {100 * chance:8.3f} %  {names[index]}" for index, chance in likeliest))
    five = [{"class": index, "name": names[index], "probability": chance} for index, chance in likeliest]
    print(json.dumps({"image": image, "top5": five}))
