"""The pictures of a study can be read: every setting has its number and name, and no number covers another."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from experiments.report.looks import METHODS, SIDE_STEP, frontier, method, side_by_side
from experiments.report.summary import thop_macs, weight_bytes
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from experiments import report
from experiments.report import figures
from experiments.study.records import Record
from tests.helpers.fake_records import crowd, few, quality, record, studies, write_results


def numbers_of(figure: Figure) -> list[Annotation]:
    texts = [text for text in figure.axes[0].texts if isinstance(text, Annotation)]
    return [text for text in texts if text.get_text().isdecimal()]


def names_of(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    figure.canvas.draw()
    return [
        (a.get_text(), b.get_text())
        for a, b in itertools.combinations(numbers_of(figure), 2)
        if a.get_window_extent().overlaps(b.get_window_extent())
    ]


@pytest.mark.parametrize("make_records", [few, crowd])
def test_numbers_do_not_overlap_and_lie_inside(make_records, tmp_path):
    records = make_records()
    (study,) = studies(tmp_path, records)
    for figure in (
        figures.metric_against(study, thop_macs, "MACs"),
        figures.metric_against(study, weight_bytes, "bytes"),
        figures.combined(study),
    ):
        assert overlapping(figure) == []
        assert {f"{number} {row.name}" for number, row in enumerate(study.rows, 1)} <= set(names_of(figure))
        numbers = numbers_of(figure)
        assert sorted(int(text.get_text()) for text in numbers) == list(range(1, len(records) + 1))
        frame = figure.axes[0].bbox
        for text in numbers:
            box = text.get_window_extent()
            assert frame.contains(box.x0, box.y0)
            assert frame.contains(box.x1, box.y1)


def test_the_frontier_is_what_nothing_beats(tmp_path):
    (study,) = studies(tmp_path, crowd())
    best = frontier(study, weight_bytes)
    costs = {row.name: (row.mean(weight_bytes), row.error().estimate) for row in study.rows}
    unbeaten = {
        name
        for name, own in costs.items()
        if not any(
            other != own and all(theirs <= mine for theirs, mine in zip(other, own, strict=True))
            for other in costs.values()
        )
    }
    assert {row.name for row in best} <= unbeaten
    assert {costs[row.name] for row in best} == {costs[name] for name in unbeaten}


@given(st.lists(st.sampled_from([1e3, 1.01e3, 1.2e3, 5e4, 5.1e4, 9e5]), min_size=1, max_size=25))
def test_points_side_by_side_keep_their_distance_and_order(costs):
    limits = (500.0, 2e6)
    places = np.array(side_by_side(costs, limits))
    step = SIDE_STEP * math.log(limits[1] / limits[0])
    assert np.diff(np.log(np.sort(places))).min(initial=math.inf) > 0.999 * step
    assert all(places[i] < places[j] for i in range(len(costs)) for j in range(len(costs)) if costs[i] < costs[j])
    if len(costs) == 1:
        assert places[0] == pytest.approx(costs[0])


def test_methods_follow_from_the_settings(tmp_path):
    def made(name: str, **changes: object) -> Record:
        run = record(name, source=changes.get("source"))  # type: ignore[arg-type]
        return replace(run, setting=run.setting | {"model": "small"} | changes)

    runs = [replace(record(), setting=record().setting | {"model": "large"})]
    runs += [made("fair_base", model="large"), made("hard"), made("taught", teacher="fair_base")]
    runs += [made("pruned", recipe={"pruning": {"interval": 50}}, teacher="fair_base", model="large")]
    runs += [made("rounded", recipe={"scheme": "int8"}, source="hard"), made("stored", source="taught", recipe=None)]
    (study,) = studies(tmp_path, runs)
    found = {row.name: method(study, row) for row in study.rows}
    assert found == {
        "base": "seminar's recipe",
        "fair_base": "base, our recipe",
        "hard": "hard labels",
        "taught": "taught",
        "pruned": "pruned",
        "rounded": "rounded in training",
        "stored": "taught",
    }
    assert set(found.values()) == METHODS.keys()


def perfect(name: str, **changes) -> Record:
    none = replace(quality(1e-9, 1.0), auroc_error=0.0, balanced_au_fa_fr=0.0)
    return replace(record(name, **changes), validation=none, testing=none, held_out=none)


def test_models_without_an_error_are_drawn_and_reported(tmp_path):
    runs = [perfect("base"), perfect("student", macs=50_000)]
    results = write_results(tmp_path / "results", runs)
    report.main(results, tmp_path)
    report.main(results, tmp_path, check=True)
    (study,) = studies(tmp_path / "results", runs)
    assert len(numbers_of(figures.metric_against(study, thop_macs, "MACs"))) == 2


def test_training_has_a_panel_for_each_trained_setting(tmp_path):
    runs = [run for seed in (0, 1) for run in (record(seed=seed), record("student", 1e-3, seed=seed))]
    runs.append(record("stored", 1e-3, source="student"))
    (study,) = studies(tmp_path, runs)
    figure = figures.training_curves(study, tmp_path)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["base\n8.0k clips/s", "student\n8.0k clips/s"]
    assert [len(axes.lines) for axes in panels] == [2, 2]
    assert [line.get_xdata()[-1] for line in panels[0].lines] == [60, 60]
