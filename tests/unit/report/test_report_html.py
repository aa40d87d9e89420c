from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from report_fixture import (
    NOT_MEASURED,
    cpu_gate,
    cpu_measurements,
    cpu_target,
    latency,
    latency_row,
    rtx_target,
    run_report,
    views,
)

from tmkd_deploy.errors import MissingExtra
from tmkd_deploy.gate.evaluate import evaluate
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.report import charts
from tmkd_deploy.report.html import Html
from tmkd_deploy.report.interface import RunReport

pytestmark = pytest.mark.usefixtures("drawn")

NASTY = ["<script>alert(1)</script>", '"><img src=http://evil.example/x onerror=alert(1)>']
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would find: elements with attributes, headings, visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.headings: list[tuple[int, str]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in HEADINGS:
            self.headings.append((int(self._open[-1][1]), data))
        if "style" not in self._open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture(scope="module")
def report() -> RunReport:
    return run_report()


@pytest.fixture(scope="module")
def text(report: RunReport) -> str:
    return Html().render(report)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_first_lines_say_what_each_split_is_for(page: Page) -> None:
    words = page.words
    assert "1,785 training, 315 validation and 524 test images." in words
    assert (
        "Chosen on validation, judged on test: no choice saw the test images. "
        "The validation and test splits were held out with seed 0."
    ) in words


def test_the_sections_come_in_the_order_in_which_they_are_asked_for(page: Page) -> None:
    assert [text for level, text in page.headings if level == 2] == [
        "Verdict",
        "Teacher, student and selected engine",
        "Where accuracy was lost",
        "Latency and engines",
        "Confusion matrix of the selected engine",
        "Training",
        "Teacher views",
        "Quantization",
        "Budgets",
        "Provenance",
    ]


def test_headings_start_at_one_and_skip_no_level(page: Page) -> None:
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_verdict_of_each_target_leads_with_word_and_sign(page: Page) -> None:
    top = page.words[: page.words.index("Teacher, student and selected engine")]
    assert "cpu ✓ passed The INT8 engine ships. It is the fastest engine" in top
    assert "rtx-ada ? inconclusive The INT8 engine is selected, but not bundled." in top
    assert NOT_MEASURED in top


def test_the_page_loads_nothing_and_runs_nothing(text: str, page: Page) -> None:
    assert {"script", "link", "iframe", "object", "embed", "base"}.isdisjoint(
        tag for tag, _ in page.elements
    )
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_the_page_forbids_the_browser_to_load_anything_else(page: Page) -> None:
    policies = [
        attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_no_id_is_used_twice_and_every_reference_finds_one(text: str, page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    referred = re.findall(r'(?:url\(#|href="#|aria-labelledby=")([^")]+)', text)
    assert referred
    assert set(referred) <= set(ids)


def test_tables_have_captions_and_scopes_and_images_have_descriptions(page: Page) -> None:
    tags = [tag for tag, _ in page.elements]
    assert tags.count("table") == tags.count("caption") > 0
    for tag, attributes in page.elements:
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        if tag == "img":
            assert re.fullmatch(r"(rgb|edge|freq) view of cell\d+\.png, \w+", attributes["alt"])
        if attributes.get("role") == "img":
            assert attributes["aria-label"]


def test_a_target_that_was_not_timed_says_so_and_shows_its_engines(page: Page) -> None:
    only_rtx = Page(Html().render(run_report(rtx_target())))
    assert f"Latency was not measured. {NOT_MEASURED}" in only_rtx.words
    assert "24 of 31" in only_rtx.words
    assert "0.50 MB" in only_rtx.words
    assert "No confusion matrix" in only_rtx.words
    # ledger, weights and three trainings have charts, latency and confusion none
    assert only_rtx.count("svg") == 5
    assert page.count("svg") == 8


def test_the_interleaved_engines_appear_with_percentiles_and_ratios(page: Page) -> None:
    for row in latency().rows:
        assert row.label in page.words
    assert "1.60 (1.55 to 1.66)" in page.words
    assert "Warning. The load average was 1.8" in page.words
    assert "Decoding and resizing come on top." in page.words


def test_the_ledger_tells_what_was_lost_and_folds_its_flips_away(page: Page) -> None:
    section = page.words[page.words.index("Where accuracy was lost") :]
    section = section[: section.index("Latency and engines")]
    assert "Accuracy lost. The step to 'Distilled student' lost points" in section
    assert "Agreement with compared row" in section
    assert "INT8 engine against ONNX, INT8: 16 of 524 predictions changed" in section
    assert not any("open" in attributes for tag, attributes in page.elements if tag == "details")


def test_hostile_names_are_text_and_nothing_else(report: RunReport) -> None:
    hostile = dataclasses.replace(
        run_report(cpu_target(NASTY), class_names=NASTY),
        name=NASTY[0],
        recipe_yaml=f"note: {NASTY[1]}</pre></details>",
        notes=[f"</style>{NASTY[0]}"],
        machine={NASTY[0]: NASTY[1]},
    )
    page = Page(Html().render(hostile))
    assert page.count("script") == 0
    assert page.count("img") == 3 * len(report.views.images)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert NASTY[0] in page.words
    assert f"note: {NASTY[1]}</pre></details>" in page.words
    assert f"</style>{NASTY[0]}" in page.words


def test_each_view_is_shown_with_its_own_weight(report: RunReport, page: Page) -> None:
    widths = [
        attributes["style"]
        for tag, attributes in page.elements
        if attributes.get("style", "") and tag == "span"
    ]
    assert widths == [f"width:{100 * weight:.1f}%" for weight in report.views.weights.ravel()]


def test_the_pixels_shown_are_those_given(report: RunReport, page: Page) -> None:
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    shown = []
    for source in sources:
        data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        shown.append(np.asarray(Image.open(io.BytesIO(data))))
    assert np.array_equal(np.stack(shown), report.views.images.reshape(-1, 96, 96, 3))


def test_large_views_are_shown_small() -> None:
    large = dataclasses.replace(
        run_report(rtx_target()), views=views(["a", "b"], count=1, side=480)
    )
    page = Page(Html().render(large))
    source = next(attributes["src"] for tag, attributes in page.elements if tag == "img")
    data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).size == (160, 160)


def test_the_same_run_gives_the_same_bytes(report: RunReport, text: str) -> None:
    assert Html().render(report) == text


def test_what_a_run_lacks_is_left_out_or_said() -> None:
    target = rtx_target()
    verdict = evaluate(Budgets(), target.gate.measurements, "int8")
    gate = target.gate.model_copy(update={"verdict": verdict})
    target = dataclasses.replace(target, gate=gate)
    bare = dataclasses.replace(run_report(target), views=None, quantization=None)
    page = Page(Html().render(bare))
    assert page.count("img") == 0
    assert "Quantization is disabled in the recipe." in page.words
    assert "rtx-ada – not judged" in page.words
    assert "The recipe sets no budgets for this target." in page.words


def test_quantization_names_what_was_left_in_floating_point(page: Page) -> None:
    assert "38 quantizers in 13 layers. Calibration: 99.99th percentile" in page.words
    assert "Layers kept in floating point: fc" in page.words


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, report: RunReport, missing: str
) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == missing:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match=rf"'{missing}'.*tmkd-deploy\[train\]"):
        Html().render(report)


def svg_text(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)  # also shows that it is well-formed
    namespace = "{http://www.w3.org/2000/svg}"
    return ["".join(element.itertext()) for element in root.iter(f"{namespace}text")]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.text(
            st.characters(
                codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"]
            ),
            min_size=1,
            max_size=12,
        ),
        min_size=2,
        max_size=2,
    )
)
def test_any_class_name_is_drawn_as_it_is(names: list[str]) -> None:
    drawn = svg_text(charts.confusion(cpu_gate(cpu_measurements(names)), "chart"))
    shown = {"".join(text.split()) for text in drawn}
    assert {"".join(name.split()) for name in names} <= shown | {""}
    assert {"331", "37", "53", "103"} <= shown


def test_a_confusion_matrix_of_many_classes_shows_shades_alone() -> None:
    classes = 40
    measured = cpu_measurements().model_copy(
        update={
            "class_names": [f"class{index}" for index in range(classes)],
            "test_images": 7 * classes,
            "confusion_by_engine": {"int8": (np.eye(classes, dtype=int) * 7).tolist()},
        }
    )
    assert svg_text(charts.confusion(cpu_gate(measured), "chart")) == [
        "predicted class",
        "true class",
    ]


def test_far_engines_share_a_logarithmic_axis_and_near_ones_a_linear_one() -> None:
    near = latency().model_copy(
        update={"rows": [latency_row("fp32", "FP32", 1.9), latency_row("int8", "INT8", 1.2)]}
    )
    far_ticks = svg_text(charts.latency(latency(), "int8", "chart"))
    near_ticks = svg_text(charts.latency(near, "int8", "chart"))
    assert {"1", "2", "5", "10"} <= set(far_ticks)
    assert "5" not in near_ticks
    assert {"FP32", "INT8", "milliseconds"} <= set(near_ticks)
