"""The teacher and the students as their stages train them, on digits."""

import pytest
from recorded_events import RecordedEvents
from safetensors.torch import load_file, save_file

from tmkd_deploy.distill.candidates import validate
from tmkd_deploy.distill.train_teacher import train_teacher
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models.classifier import create


def recipe_with(digits, **visual):
    """The digits' recipe with a teacher of a second an epoch."""
    settings = {
        "model": "test_resnet",
        "weights": "none",
        "batch_size": 64,
        "learning_rate": 0.01,
        **visual,
    }
    given = digits.recipe.model_dump(mode="json")
    given["teacher"]["visual"] = settings
    return type(digits.recipe).model_validate(given)


def trained(digits, folder, **visual):
    folder.mkdir()
    recipe = recipe_with(digits, **visual)
    record = train_teacher(recipe, digits.data, folder, SilentEvents())
    teacher, _ = create("test_resnet", len(digits.data.class_names), {}, 32, scratch=True)
    teacher.load_state_dict(load_file(folder / "visual.safetensors"))
    return record, validate(teacher, digits.data, "the teacher").candidate


def test_the_teacher_that_is_written_is_the_one_that_the_curve_names(digits, tmp_path):
    record, candidate = trained(digits, tmp_path / "teacher", epochs=3, keep="best", ema_decay=0.99)
    curve = record.curve
    kept = curve.epochs[curve.kept - 1]
    assert [each.epoch for each in curve.epochs] == [1, 2, 3]
    assert (kept.top1, kept.nll) == pytest.approx((candidate.top1, candidate.nll), abs=1e-5)
    assert kept.top1 > 0.3, "a teacher that guesses would make this test pass whatever is kept"
    assert curve.ema_decay == 0.99


def test_a_teacher_that_is_not_trained_has_no_curve(digits, tmp_path):
    record, _ = trained(digits, tmp_path / "teacher", epochs=0)
    assert record.curve is None


@pytest.mark.parametrize("shift", [0, 1])
def test_weights_at_chance_on_the_own_labels_are_told_before_training(digits, tmp_path, shift):
    """A teacher of these classes, and the same one with its classes in another order."""
    trained(digits, tmp_path / "teacher", epochs=3)
    state = load_file(tmp_path / "teacher" / "visual.safetensors")
    for name in ("weight", "bias"):
        state[f"network.backbone.fc.{name}"] = state[f"network.backbone.fc.{name}"].roll(shift, 0)
    save_file(state, tmp_path / "own.safetensors")
    events = RecordedEvents()
    (tmp_path / "again").mkdir()
    recipe = recipe_with(digits, epochs=1, weights=str(tmp_path / "own.safetensors"))
    record = train_teacher(recipe, digits.data, tmp_path / "again", events)
    before = events.told[: next(n for n, e in enumerate(events.told) if e[0] == "begin")]
    told = [message for kind, message in before if kind == ("warn" if shift else "say")]
    if shift:
        assert "not above chance before it is trained" in told[0] and "their order" in told[0]
    else:
        assert "Before training, the teacher's top-1 is" in told[-1] and not events.warnings
    assert record.weights == "own.safetensors"
