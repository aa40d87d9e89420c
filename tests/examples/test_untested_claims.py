"""The table in docs/how-to/devices.md lists the claims that the package lists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from tmkd_deploy.targets.untested_claims import CLAIMS

SCRIPT = Path(__file__).parents[2] / "docs" / "generate_untested_claims.py"


def test_the_committed_table_is_up_to_date() -> None:
    specification = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert specification is not None and specification.loader is not None
    generator = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generator)
    page = generator.PAGE.read_text(encoding="utf-8")
    assert page == generator.refreshed(page), "run: python docs/generate_untested_claims.py"
    assert page.count(f"| `{CLAIMS[0].id}` |") == 1
    stale = f"above\n{generator.BEGIN}\nstale\n{generator.END}\nbelow\n"
    assert generator.refreshed(stale) == f"above\n{generator.BEGIN}\n{generator.render()}" + (
        f"{generator.END}\nbelow\n"
    )


def test_a_claim_has_a_name_of_its_own_and_fits_a_row() -> None:
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS) > 20
    for claim in CLAIMS:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", claim.id)
        assert claim.claim.endswith(".") and claim.shown_by.endswith(".")
        assert not {"|", "\n"} & set(claim.claim + claim.shown_by)
