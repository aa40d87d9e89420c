import yaml

from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.report.recipe_text import recipe_text


def test_folders_do_not_appear_in_reports(tmp_path):
    recipe = Recipe.model_validate(
        {
            "name": "shared",
            "data": {
                "source": "folder",
                "train": tmp_path / "train",
                "test": tmp_path / "test",
            },
            "teacher": {
                "visual": {"weights": str(tmp_path / "teacher.safetensors")},
                "text": {"checkpoint": tmp_path / "clip.pt"},
            },
            "targets": [{"target": "cpu"}],
        }
    )
    text = recipe_text(recipe)
    assert str(tmp_path) not in text
    shown, whole = yaml.safe_load(text), yaml.safe_load(recipe.to_yaml())
    assert (shown["data"]["train"], shown["data"]["test"]) == ("train", "test")
    assert shown["teacher"]["visual"]["weights"] == "teacher.safetensors"
    assert shown["teacher"]["text"]["checkpoint"] == "clip.pt"
    for section in ("distill", "quantize", "student", "targets"):
        assert shown[section] == whole[section]
