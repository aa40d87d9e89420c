"""The bundle and the run that the tests of other rooms make."""

import sys
from pathlib import Path

UNIT = Path(__file__).parents[1]
sys.path += [str(UNIT / "bundle"), str(UNIT / "report")]
