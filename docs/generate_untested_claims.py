"""Write the list of untested claims in docs/how-to/devices.md.

python docs/generate_untested_claims.py
"""

from __future__ import annotations

from pathlib import Path

from tmkd_deploy.targets.untested_claims import CLAIMS

PAGE = Path(__file__).parent / "how-to" / "devices.md"
BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"
_NEEDS = {
    "jetson": "a Jetson",
    "dla": "a Jetson with a DLA",
    "rtx": "an RTX GPU",
    "arm": "an Arm board",
    "by_hand": "somebody at the board",
}


def render() -> str:
    """The claims as a table."""
    rows = [
        f"| `{claim.id}` | {claim.claim} | {claim.shown_by} | {_NEEDS[claim.needs]} |"
        for claim in CLAIMS
    ]
    return "\n".join(["| Name | Claim | Shown by | Needs |", "|---|---|---|---|", *rows]) + "\n"


def refreshed(page: str) -> str:
    """`page` with a new table between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{render()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
