"""JetPack, TensorRT, CUDA, Python, opset, architecture and precision agree over all profiles."""

import re
from collections import defaultdict

import pytest

from tmkd_deploy.targets import catalog
from tmkd_deploy.targets.target_profile import TargetProfile

PROFILES = [catalog.get(name) for name in catalog.names()]
JETSONS = [target for target in PROFILES if target.runtime == "tensorrt"]
RTX = [target for target in PROFILES if target.runtime == "tensorrt_rtx"]
ROWS = [(target, row) for target in JETSONS for row in target.software]

# The types that the hardware supports, whether or not engines with them are offered here.
# https://docs.nvidia.com/deeplearning/tensorrt/latest/getting-started/support-matrix.html and the
# sources of `precisions` in the profiles.
HARDWARE = {
    "SM72": {"fp32", "fp16", "int8"},
    "SM75": {"fp32", "fp16", "int8"},
    "SM86": {"fp32", "fp16", "int8", "bf16"},
    "SM87": {"fp32", "fp16", "int8", "bf16"},
    "SM89": {"fp32", "fp16", "int8", "bf16", "fp8"},
    "SM110": {"fp32", "fp16", "int8", "bf16", "fp8", "fp4"},
    "SM120": {"fp32", "fp16", "int8", "bf16", "fp8", "fp4"},
}

# The JetPack generations that support an architecture: JetPack 6 dropped Xavier, and Thor starts
# with 7; Orin has them all.
GENERATIONS = {"SM72": {5}, "SM87": {5, 6, 7}, "SM110": {7}}

# The Ubuntu of a generation determines its Python and its CUDA's major release:
# https://github.com/dusty-nv/jetson-containers/blob/master/jetson_containers/l4t_version.py
PYTHON = {5: "3.8", 6: "3.10", 7: "3.12"}
CUDA = {5: 11, 6: 12, 7: 13}
LINUX = {5: {35}, 6: {36}, 7: {38, 39}}

ADDRESS = re.compile(r"https://[\w.-]+/\S")
REASONED = re.compile(r"(unconfirmed|our choice: \w|measured here: \w)")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def sourced(text: str) -> bool:
    return bool(ADDRESS.search(text) or REASONED.search(text))


def row_name(value: object) -> str:
    return getattr(value, "name", None) or f"JetPack {getattr(value, 'jetpack', value)}"


each_row = pytest.mark.parametrize(("target", "row"), ROWS, ids=row_name)
each_profile = pytest.mark.parametrize("target", PROFILES, ids=row_name)


@each_row
def test_a_row_has_a_source(target, row) -> None:
    assert sourced(row.source)


@each_profile
def test_a_figure_has_a_source(target) -> None:
    assert all(sourced(text) for text in target.sources.values())


def test_a_source_is_an_address_or_a_reason() -> None:
    assert not sourced("everybody knows")
    assert sourced("https://developer.nvidia.com/cuda-gpus")
    assert sourced("CUDA unconfirmed: no page was found.")


@pytest.mark.parametrize("field", ["tensorrt", "cuda", "python", "opset_ceiling", "l4t", "source"])
def test_a_jetpack_carries_the_same_everywhere(field) -> None:
    seen = defaultdict(set)
    for _, row in ROWS:
        seen[row.jetpack].add(str(getattr(row, field)))
    assert {jetpack: each for jetpack, each in seen.items() if len(each) > 1} == {}


def test_a_newer_jetpack_carries_nothing_older() -> None:
    rows = sorted({row.jetpack: row for _, row in ROWS}.items(), key=lambda pair: numbers(pair[0]))
    for field in ("tensorrt", "cuda", "python"):
        carried = [numbers(getattr(row, field)) for _, row in rows]
        assert carried == sorted(carried)
    ceilings = [row.opset_ceiling for _, row in rows]
    assert ceilings == sorted(ceilings)


def test_the_same_tensorrt_reads_the_same_opsets() -> None:
    ceilings = defaultdict(set)
    for _, row in ROWS:
        ceilings[numbers(row.tensorrt)[:2]].add(row.opset_ceiling)
    assert all(len(each) == 1 for each in ceilings.values())


@each_row
def test_a_jetpack_drives_the_architecture(target, row) -> None:
    assert numbers(row.jetpack)[0] in GENERATIONS[target.compute_capability]


@each_row
def test_a_generation_fixes_python_cuda_and_linux(target, row) -> None:
    generation = numbers(row.jetpack)[0]
    assert row.python == PYTHON[generation]
    assert numbers(row.cuda)[0] == CUDA[generation]
    assert {numbers(release)[0] for release in row.l4t} <= LINUX[generation]


@each_row
def test_a_release_is_found_by_its_own_names(target, row) -> None:
    assert target.release(row.jetpack, None) == row
    assert all(target.release(None, l4t) == row for l4t in row.l4t)


@pytest.mark.parametrize("target", JETSONS, ids=row_name)
def test_what_is_assumed_is_the_first_release(target) -> None:
    assert target.opset_ceiling == target.software[0].opset_ceiling


@pytest.mark.parametrize("target", [*JETSONS, *RTX], ids=row_name)
def test_the_hardware_has_the_precisions(target) -> None:
    assert set(target.precisions) <= HARDWARE[target.compute_capability]


def test_rtx_names_no_architecture_of_a_jetson() -> None:
    capabilities = [target.compute_capability for target in RTX]
    assert len(set(capabilities)) == len(capabilities)
    assert not set(capabilities) & {target.compute_capability for target in JETSONS}


def test_turing_is_offered_only_what_was_built() -> None:
    assert catalog.get("rtx-turing").precisions == ["fp16"]


@pytest.mark.parametrize("target", JETSONS, ids=row_name)
def test_a_workspace_leaves_most_of_the_memory(target) -> None:
    assert 256 <= target.workspace_mb <= target.memory_mb // 4


@pytest.mark.parametrize("target", JETSONS, ids=row_name)
def test_power_modes_are_named_and_numbered_once(target) -> None:
    assert len({mode.id for mode in target.power_modes}) == len(target.power_modes) > 0
    assert len({mode.name for mode in target.power_modes}) == len(target.power_modes)


@pytest.mark.parametrize(
    ("name", "cores"),
    [("jetson-agx-xavier", 2), ("jetson-agx-orin", 2), ("jetson-orin-nano", 0), ("jetson-thor", 0)],
)
def test_accelerators(name, cores) -> None:
    assert catalog.get(name).dla_cores == cores


def test_no_two_targets_describe_one_device() -> None:
    for target in PROFILES:
        for phrase in target.device_tree:
            assert [each.name for each in PROFILES if each.describes(f"NVIDIA {phrase} Kit")] == [
                target.name
            ]


def broken(**changes: object) -> TargetProfile:
    return TargetProfile.model_validate(catalog.get("jetson-orin-nx").model_dump() | changes)


@pytest.mark.parametrize(
    "changes",
    [{"build": "here"}, {"compute_capability": None}, {"precisions": []}, {"precisions": ["fp8"]}],
)
def test_a_profile_that_contradicts_itself_is_refused(changes) -> None:
    with pytest.raises(ValueError):
        broken(**changes)


@pytest.mark.parametrize(
    ("jetpack", "l4t", "found"),
    [
        ("6.2.1+b38", None, "6.2"),
        ("5.1.2", None, "5.1"),
        (None, "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "6.2"),
        (None, "36.4.0", "6.1"),
        (None, "36.3.0", "6.0"),
        ("4.6.1", None, None),
        (None, "32.7.1", None),
        (None, None, None),
        ("60.2", None, None),
    ],
)
def test_a_release_is_identified_from_the_device_info(jetpack, l4t, found) -> None:
    row = catalog.get("jetson-orin-nx").release(jetpack, l4t)
    assert (row.jetpack if row else None) == found
