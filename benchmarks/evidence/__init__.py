"""TMKD compared with KD and DKD on five data sets, reproducible with one command.

    python -m benchmarks.evidence --data-root DIR

`DIR` holds `cifar100/`, `neu-det/` and `magnetic-tile/` as parquet files (columns `image` and
`label`, `class_names` in the schema's metadata) and `weights/` with the CIFAR-100 teacher and text
embeddings. ELPV comes from the package elpv-dataset, Fashion-MNIST from Debian's
dataset-fashion-mnist. Runs that have a result are skipped.
"""
