"""The checks of claims, one file per family; `prove.registry` lists them by claim."""
