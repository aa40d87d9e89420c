"""Small real data sets in every supported layout."""

import io
import json
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from tmkd_deploy.data.sources import read_source
from tmkd_deploy.events import SilentEvents


class Listener(SilentEvents):
    """Records messages and warnings."""

    def __init__(self):
        self.said = []
        self.warned = []

    def say(self, message):
        self.said.append(message)

    def warn(self, message):
        self.warned.append(message)


def pixels(seed, height=20, width=24):
    """Coarse noise, different for each seed, that survives resizing."""
    random = np.random.default_rng(seed)
    return np.kron(
        random.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8),
        np.ones((4, 4, 1), dtype=np.uint8),
    )


def encoded(seed, kind="png", **shape):
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed, **shape)).save(buffer, kind)
    return buffer.getvalue()


@dataclass(frozen=True)
class PipedImage:
    """An image whose reader blocks until something is written to a pipe, as on a dead disk.

    No file can do that, because sources open regular files only.
    """

    path: str

    def read(self) -> bytes:
        return Path(self.path).read_bytes()


def read_source_with_pipe(pipe: Path, key: str):
    """A `read_source` that returns a `PipedImage` in the place of the image `key`."""

    def read(spec):
        dataset = read_source(spec)
        images = [
            PipedImage(str(pipe)) if here == key else image
            for here, image in zip(dataset.keys, dataset.images, strict=True)
        ]
        return replace(dataset, images=images)

    return read


def make_folder(root: Path, counts: dict[str, int], first_seed=0) -> Path:
    seed = first_seed
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:03}.png").write_bytes(encoded(seed))
            seed += 1
    return root


def make_parquet(file: Path, rows, metadata=None, row_group_size=4, columns=None) -> Path:
    """`rows` are (bytes or None, path or None, label)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.array(
        [{"bytes": data, "path": path} for data, path, _ in rows],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    label = pa.array([label for _, _, label in rows], pa.int64())
    table = pa.table({"image": image, "label": label} if columns is None else columns)
    table = table.replace_schema_metadata(
        {key: json.dumps(value) for key, value in (metadata or {}).items()}
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=row_group_size)
    return file


def make_tar(file: Path, members: dict[str, bytes], mode="w") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file


def make_elpv(site: Path, cells: list[tuple[str, str]]) -> Path:
    """A package with the layout of elpv-dataset; `cells` are (probability, type)."""
    data = site / "elpv_dataset" / "data"
    (data / "images").mkdir(parents=True)
    (site / "elpv_dataset" / "__init__.py").write_text("raise ImportError('too heavy')\n")
    information = site / "elpv_dataset-9.9.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: elpv-dataset\nVersion: 9.9\n"
    )
    lines = []
    for number, (probability, kind) in enumerate(cells):
        name = f"images/cell{number:04}.png"
        (data / name).write_bytes(encoded(number))
        lines.append(f"{name}  {probability}    {kind}\n")
    (data / "labels.csv").write_text("".join(lines))
    return data
