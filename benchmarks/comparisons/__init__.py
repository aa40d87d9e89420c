"""What each part of TMKD gives a student on six data sets: the protocol, the runs and the page.

    python -m benchmarks.comparisons --data-root DIR

`protocol.md` was written before the first run. A finished student is kept as long as the constants
of `protocol.py` are unchanged, so the command goes on where an interrupted one stopped.
"""
