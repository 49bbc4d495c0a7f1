"""Write docs/zoo.md from the table of systems, or with --check say whether it is fresh."""

import sys
from pathlib import Path

from omniform.plugins import host
from omniform.zoo import as_markdown

PAGE = Path(__file__).with_name("zoo.md")


def main() -> int:
    theirs = {name for plugin in host().loaded if plugin.distribution != "omniform" for name in plugin.systems}
    page = as_markdown([system for system in host().systems if system.id not in theirs])
    if "--check" not in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        print("docs/zoo.md is stale; run: python docs/generate_zoo.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
