"""Puts what the command above each table prints below it: python docs/paste.py [PAGE ...]

A table of README.md and docs/ stands between `<!-- aegen-bench ... -->` and `<!-- end -->`. Without pages: in all of
them, except where the command is `check-metrics`, which needs images and minutes: name its page. Options after `--` are
added to each command: python docs/paste.py docs/metric-checks.md -- --data /path/to/data
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^<!-- aegen-bench ([^\n]*) -->\n((?:(?!<!--).)*?)^<!-- end -->$", re.M | re.S)


def printed(arguments: list[str]) -> str:
    """What `aegen-bench` prints; where it fails, so does this."""
    command = [sys.executable, "-m", "aegen_bench", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(pages: list[str], more: list[str]) -> None:
    for page in map(Path, pages) if pages else [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for command, old in BLOCK.findall(text):
            if pages or not command.startswith("check-metrics"):
                new = printed([*shlex.split(command), *more]).strip()
                head, gap = f"<!-- aegen-bench {command} -->\n", "" if new.startswith("#") else "\n"
                text = text.replace(f"{head}{old}<!-- end -->", f"{head}{gap}{new}\n<!-- end -->")
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    given = sys.argv[1:]
    at = given.index("--") if "--" in given else len(given)
    main(given[:at], given[at + 1 :])
