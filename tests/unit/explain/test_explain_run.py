"""A run folder with a planted mistake, explained through the command line."""

import json

import onnx
import planted_mistakes as plant
import pytest

from tmkd_deploy import artifacts
from tmkd_deploy.cli.main import main
from tmkd_deploy.engines.build import build
from tmkd_deploy.errors import ExitCode
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.onnx_model import MODEL, OnnxRecord
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets.catalog import get

LAYER = "blocks.1.1.conv_dw"
VARIANTS = {
    "cpu": "student-int8-unsigned-fp32",
    "jetson-orin-nano": "student-int8-signed-fp16",
}


@pytest.fixture(scope="module")
def run_folder(inverted_residuals, tmp_path_factory):
    """Exported and built for two targets, with a blocked pair, and not measured."""
    folder = tmp_path_factory.mktemp("runs") / "planted"
    for target, variant in VARIANTS.items():
        quant_scheme = QuantScheme.U8 if target == "cpu" else QuantScheme.S8
        proto = inverted_residuals(quant_scheme)
        plant.operator_before(proto, LAYER)
        exported = folder / "export" / variant
        with artifacts.writing(exported, kind="export", fingerprint="", inputs={}) as draft:
            onnx.save(proto, draft.folder / MODEL)
            draft.record = OnnxRecord(
                variant=variant,
                opset=20,
                bytes=1,
                largest_difference=0.0,
                agreement=1.0,
                parity_images=1,
                quantize_linear=1,
                dequantize_linear=1,
                int8_weights=1,
            )
        place = folder / "build" / target
        with artifacts.writing(place, kind="build", fingerprint="", inputs={}) as draft:
            models = {"int8": exported / MODEL}
            draft.record = build(get(target), models, 32, draft.folder, SilentEvents())
    return folder


def explained(capsys, *arguments):
    code = main(["explain", *map(str, arguments)])
    return code, capsys.readouterr()


def test_a_recipe_stands_for_its_run(run_folder, tmp_path, capsys):
    recipe = tmp_path / "of-the-run.yaml"
    recipe.write_text(
        f"{{name: {run_folder.name}, data: {{source: elpv}}, targets: [{{target: cpu}}]}}"
    )
    code, told = explained(capsys, recipe, "--runs", run_folder.parent, "--json")
    assert code == ExitCode.OK
    assert json.loads(told.out)["run"] == str(run_folder)


def test_the_planted_layer_is_named_for_every_target(run_folder, capsys):
    code, told = explained(capsys, run_folder, "--json")
    assert code == ExitCode.OK
    by_target = {each["target"]: each for each in json.loads(told.out)["explanations"]}
    assert set(by_target) == set(VARIANTS)
    for each in by_target.values():
        blocked = [item for item in each["speed"] if item["kind"] == "blocked_pair"]
        assert [item["layer"] for item in blocked] == [LAYER]
        assert each["next"].startswith("tmkd-deploy validate RECIPE --runs")
    assert by_target["cpu"]["shares"] and by_target["cpu"]["slowest"]
    assert by_target["jetson-orin-nano"]["engine"] is None
    assert "built on the device" in by_target["jetson-orin-nano"]["notes"][0]


def test_people_are_told_in_sentences_and_what_to_run_next(run_folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, told = explained(capsys, "planted", "--runs", run_folder.parent, "--target", "cpu")
    assert code == ExitCode.OK
    assert f"- {LAYER} computes in floating point: HardSwish separates it from" in told.out
    assert "Advice:" in told.out and "Share of time" in told.out
    last = told.out.rstrip().splitlines()[-1]
    runs = run_folder.parent
    assert last == f"Next: tmkd-deploy validate RECIPE --runs {runs} --target cpu"
    assert "\x1b" not in told.out


@pytest.mark.parametrize(
    ("recipes", "said"),
    [
        ({"recipe.yaml": "planted", "b.yaml": "planted"}, ""),
        ({"recipe.yaml": "another", "b c.yaml": "planted"}, " 'b c.yaml'"),
        ({"recipe.yaml": "another", "recipes/b.yaml": "planted"}, " recipes/b.yaml"),
        ({"recipe.yaml": "another", "broken.yaml": "'"}, " RECIPE"),
    ],
)
def test_the_next_command_names_the_recipe_of_this_run(
    run_folder, capsys, monkeypatch, tmp_path, recipes, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    for path, name in recipes.items():
        (tmp_path / path).write_text(f"name: {name}\n")
    (tmp_path / "runs").symlink_to(run_folder.parent)
    _, told = explained(capsys, "planted", "--target", "cpu", "--json")
    (only,) = json.loads(told.out)["explanations"]
    assert only["next"] == f"tmkd-deploy validate{said} --target cpu"


def test_an_alias_of_a_target_will_do(run_folder, capsys):
    code, told = explained(capsys, run_folder, "--target", "jetson", "--json")
    (only,) = json.loads(told.out)["explanations"]
    assert code == ExitCode.OK and only["target"] == "jetson-orin-nano"


@pytest.mark.parametrize(
    ("arguments", "offered"),
    [
        (["--target", "cpo"], 'Did you mean "cpu"?'),
        (["--precision", "int-8"], 'Did you mean "int8"?'),
        (["--precision", "fp16"], "It has int8"),
    ],
)
def test_typing_errors_get_the_nearest_name(run_folder, capsys, arguments, offered):
    code, told = explained(capsys, run_folder, *arguments)
    assert code == ExitCode.REQUEST
    assert offered in told.err and told.out == ""


def test_a_run_that_is_not_there_gets_the_nearest_name(run_folder, capsys):
    code, told = explained(capsys, "plantde", "--runs", run_folder.parent)
    assert code == ExitCode.REQUEST
    assert 'Did you mean "planted"?' in told.err


def test_a_run_without_engines_says_how_to_build_them(tmp_path, capsys):
    code, told = explained(capsys, tmp_path)
    assert code == ExitCode.REQUEST
    assert "no engine yet" in told.err and "tmkd-deploy export" in told.err


def test_an_altered_engine_is_refused(run_folder, tmp_path, capsys):
    import shutil

    copied = shutil.copytree(run_folder, tmp_path / "copied")
    with (copied / "build" / "cpu" / "int8.onnx").open("ab") as stream:
        stream.write(b"more")
    code, told = explained(capsys, copied, "--target", "cpu")
    assert code == ExitCode.DATA
    assert "build/cpu" in told.err


# ---- engines that a device has built: its inspector's words, as the agent sends them home ----


FOR_DLA = "int8.dla.onnx"


def device_built(run_folder, folder, given):
    """A run in which a Jetson built the engine from `given`, one of the files that lie there.

    The plan is made up, and so are the layers; their form is the inspector's.
    """
    source = run_folder / "export" / VARIANTS["jetson-orin-nano"]
    proto = onnx.load(source / MODEL)
    convolutions = [node.name for node in proto.graph.node if node.op_type == "Conv"]
    kinds = ["Half"] + ["Int8"] * (len(convolutions) - 1)
    layers = [
        {"name": "Reformatting CopyNode for Input Tensor 0 to w", "kind": "Reformat", "inputs": []},
        *(
            {"name": f"w + q + {name} + r", "kind": "CaskConvolution", "inputs": [kind]}
            for name, kind in zip(convolutions, kinds, strict=True)
        ),
        {"name": "PWN(PWN(a), PWN(b))", "kind": "PointWiseV2", "inputs": ["Half"]},
    ]
    for variant in ("student-int8-signed-fp16", "student-int8-signed-fp32-opset17"):
        record = artifacts.read(source, "export", OnnxRecord).record
        place = folder / "export" / variant
        with artifacts.writing(place, kind="export", fingerprint="", inputs={}) as draft:
            proto.doc_string = variant
            onnx.save(proto, draft.folder / MODEL)
            draft.record = record.model_copy(update={"variant": variant})
    place = folder / "build" / "jetson-orin-nano"
    with artifacts.writing(place, kind="build", fingerprint="", inputs={}) as draft:
        (draft.folder / "int8.engine").write_bytes(b"plan")
        (draft.folder / "int8.layers.json").write_text(json.dumps(layers))
        model = folder / "export" / given / MODEL
        if given == FOR_DLA:
            model = draft.folder / given
            onnx.save(proto, model)
        digest = artifacts.sha256_of(model) if model.exists() else "0" * 64
        (draft.folder / "int8.manifest.json").write_text(json.dumps({"onnx": {"sha256": digest}}))
        draft.record = EngineRecord(
            target="jetson-orin-nano",
            runtime="tensorrt",
            engines=[
                EngineFile(
                    precision="int8",
                    file="int8.engine",
                    bytes=4,
                    sha256="0" * 64,
                    int8_layers=len(convolutions) - 1,
                    total_layers=len(convolutions),
                )
            ],
            kit=[],
            notes=[],
            device="NVIDIA Jetson Orin Nano",
        )
    return folder, convolutions


@pytest.mark.parametrize(
    "given", ["student-int8-signed-fp16", "student-int8-signed-fp32-opset17", FOR_DLA]
)
def test_an_engine_built_on_a_device_is_explained_by_its_inspector(
    run_folder, tmp_path, capsys, given, monkeypatch
):
    folder, convolutions = device_built(run_folder, tmp_path / "device", given)
    opened = []
    read = onnx.load
    monkeypatch.setattr(onnx, "load", lambda path: opened.append(str(path)) or read(path))
    code, told = explained(capsys, folder, "--json")
    (only,) = json.loads(told.out)["explanations"]
    assert code == ExitCode.OK
    assert len(opened) == 1 and given in opened[0].split("/")[-2:]
    assert "inspector" in only["engine"]["source"]
    shares = {each["computes_in"]: each["layers"] for each in only["shares"]}
    assert shares == {
        "int8": len(convolutions) - 1,
        "fp16": 1,
        "pointwise": 1,
        "reformat": 1,
    }
    floats = [each["layer"] for each in only["speed"] if each["kind"] == "float_layer"]
    assert floats == ["conv_stem"]


def test_an_engine_whose_model_was_exported_anew_is_not_explained_by_the_new_one(
    run_folder, tmp_path, capsys
):
    folder, _ = device_built(run_folder, tmp_path / "device", "another")
    code, told = explained(capsys, folder)
    assert code == ExitCode.REQUEST
    assert "was built from is gone" in told.err
