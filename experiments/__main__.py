"""`python -m experiments`: the pages, one line each; `python -m experiments NAME`: why NAME is not one of them."""

import ast
import difflib
import sys
from pathlib import Path

# Nothing but the standard library here: launch.sh runs this before anything is installed.


def pages() -> dict[str, str]:
    """Name and first docstring line of every page."""
    files = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("_"))
    return {path.stem: (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0] for path in files}


def main(arguments: list[str]) -> int:
    known = pages()
    if arguments:
        near = difflib.get_close_matches(arguments[0], known) or known
        print(f"unknown experiment {arguments[0]!r}; did you mean {' or '.join(near)}?", file=sys.stderr)
        return 1
    print("usage: ./launch.sh NAME [flags]      ./launch.sh NAME --help shows a page's flags\n")
    for name, line in (known | {"test": "Set up the test extras, then run ruff, the type checker and pytest."}).items():
        print(f"  {name:<14} {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
