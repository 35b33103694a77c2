"""How the flags of a page are read: a mistake is one line that says what was meant."""

import sys
from collections.abc import Sequence

from absl import flags

from cnn_jax.config import Config, find_near, flatten

FLAGS = flags.FLAGS


def parse_flags(arguments: Sequence[str]) -> Sequence[str]:
    """Parses the flags; ends the process with 0 after a help text, with 1 and one line on what is no flag."""
    try:
        rest = FLAGS(arguments)[1:]
        problem = f"{' '.join(rest)} is not a flag: write --name=value" if rest else ""
    except flags.UnrecognizedFlagError as error:
        problem = f"unknown flag --{error.flagname}; {suggest_flag(error.flagname)}"
    except flags.Error as error:
        problem = " ".join(str(error).split())
    except SystemExit as end:  # absl exits with 1 after a text that was asked for
        raise SystemExit(0) from end
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(1)
    return arguments[:1]


def suggest_flag(name: str) -> str:
    """The page's flag that was meant, or the config field that --set changes; else where all of them are listed."""
    near = [
        f"--{flag}" for flag in find_near(name, [flag.name for flag in FLAGS.get_key_flags_for_module(sys.argv[0])])
    ]
    if not near and "set" in FLAGS:
        near = [f"--set={path}=..." for path in find_near(name, flatten(Config()))]
    fields = ", --set=help the fields of the config" if "set" in FLAGS else ""
    return f"did you mean {' or '.join(near)}?" if near else f"--help lists the page's{fields}"
