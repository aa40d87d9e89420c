"""Check the prose of the documentation and of the messages; part of `make lint`.

It is an aid, not a judge: change the sentence, or record the exception in words.txt, in harper.mjs
or in RULES below.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from texts import Text, texts

HERE = Path(__file__).parent
# the project's own vocabulary: what not to write, and what to write instead
RULES = {
    r"\bsettl(?:e|es|ed|ing)\b": "decide, resolve or finish",
    r"\bseeks?\b": "look for",
    r"\bsought\b": "looked for",
    r"\btold\b": "reported, or the message says",
    r"\ba wish\b": "a request or an option",
    r"\bby hand of\b": "with",
    r"\bthe way of\b": "how",
    r"\bthe house\b": "the project or the package",
    r"\brooms?\b": "package or module",
    r"\bcompany\b": "process group",
    r"\bnews\b": "progress",
    r"\bsiblings?\b": "other precisions",
    r"\b(?:weigh|weighs|weighed)\b": "score",
    r"\b(?:student|trained) alone\b": "baseline student",
    r"\bleav(?:e|es|ing) (?:\w+ )?out\b|\bleft out\b": "exclude, skip or omit",
    r"\bcomes? home\b|\bcame home\b": "returns",
    r"\bat hand\b": "available",
    r"\bto and fro\b": "back and forth",
    r"\bmakes? anew\b|\b(?:measured|trained|judged|flashed|built) anew\b": "again",
    r"\bgoes on where\b": "resumes",
    r"\bon the spot\b": "immediately",
    r"\bin vain\b": "without effect",
    r"\bwas not run yet\b|\bwere not run yet\b": "untested",
    r"\b(?:one|a) (?:file|folder|line|row|process|command|image|test|engine|seed) an? "
    r"(?:class|runtime|target|run|stage|step|file|image|student|device|budget)\b": "per",
    r"\bhouse-?rules?\b": "conventions",
}


@dataclass(frozen=True)
class Finding:
    """Something to look at."""

    place: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}:{self.line}: {self.message} [{self.rule}]"


def main() -> int:
    """Print what was found; 1 if there is anything."""
    found = texts()
    findings = list(own_rules(found))
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and (installed(npm) or install(npm)):
        findings += harper(node, found)
    else:
        print(
            "Harper was not run: it needs Node.js 20 or newer, and npm to install it. Only the "
            "project's own word list was checked.",
            file=sys.stderr,
        )
    for finding in sorted(findings, key=lambda each: (each.place, each.line)):
        print(finding)
    return 1 if findings else 0


def own_rules(found: Iterable[Text]) -> Iterator[Finding]:
    """Words that this project does not use."""
    for text in found:
        for number, line in enumerate(text.text.splitlines()):
            plain = re.sub(r"`[^`]*`", "`", line)
            for pattern, instead in RULES.items():
                for match in re.finditer(pattern, plain, re.IGNORECASE):
                    message = f'instead of "{match[0]}", write {instead}'
                    yield Finding(text.place, text.line + number, "vocabulary", message)


def installed(npm: str) -> bool:
    """Whether the locked version is there."""
    done = subprocess.run(
        [npm, "ls", "--prefix", str(HERE), "--silent"], capture_output=True, check=False
    )
    return done.returncode == 0


def install(npm: str) -> bool:
    """Install the locked version; whether that worked."""
    print("Installing Harper into tools/prose/node_modules.", file=sys.stderr)
    done = subprocess.run(
        [npm, "ci", "--prefix", str(HERE), "--no-audit", "--no-fund", "--silent"], check=False
    )
    return done.returncode == 0


def harper(node: str, found: Iterable[Text]) -> list[Finding]:
    """What Harper finds."""
    done = subprocess.run(
        [node, str(HERE / "harper.mjs")],
        input=json.dumps([vars(text) for text in found]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"Harper failed:\n{done.stderr}")
    return [
        Finding(each["place"], each["line"], each["rule"], f'"{each["found"]}": {each["message"]}')
        for each in json.loads(done.stdout)
    ]


if __name__ == "__main__":
    sys.exit(main())
