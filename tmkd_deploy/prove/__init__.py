"""`doctor --prove`: walk every untested claim on one device, and write down what it shows.

`registry` names the check of each claim; the checks lie in `checks/`, one file per family, and find
the device, a small classifier and its engines on a `workbench`. `run` keeps the time limit and
makes a `proof`, which `markdown` shows.
"""
