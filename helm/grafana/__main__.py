"""Writes helm/remit/files/dashboards/*.json; with --check names the first that is not what would be written."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from helm.grafana import denied, health, money

FOLDER = Path(__file__).parents[1] / "remit" / "files" / "dashboards"


def written() -> Mapping[Path, str]:
    """What each file is to say."""
    return {
        FOLDER / f"{each.__name__.rpartition('.')[2]}.json": json.dumps(each.dashboard(), indent=1, ensure_ascii=False)
        + "\n"
        for each in (money, denied, health)
    }


def main(arguments: Sequence[str]) -> str:
    """Write the files, or compare them."""
    for path, text in written().items():
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            return f"{path.name} is stale: make generate"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
