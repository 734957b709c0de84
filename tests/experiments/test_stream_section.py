"""The streaming chapter says what stream records say, and whether the goal is met."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments.report.stream_figure import stream_det
from experiments.report.stream_records import lowest_miss_rates, read_stream_studies
from experiments.report.stream_section import goal

from experiments import report
from experiments.stream_eval import count_cost
from kws_jax.config import BASE, CrnnConfig
from kws_jax.errors import UserError
from tests.helpers.fake_records import few, write_results
from tests.helpers.models import DEPLOYED_STUDENT
from tests.test_report import README, read_table

MODES = ("carried", "reset", "sliding")


def mode(miss_rate: float) -> dict[str, Any]:
    return {
        "smoothing": 3,
        "threshold": 0.99,
        "miss_rate": miss_rate + 0.1,
        "miss_rate_interval": [miss_rate, miss_rate + 0.2],
        "false_alarms_per_hour": 1 / 3,
        "false_alarms_interval": [0.01, 1.86],
        "latency": -0.02,
        "latency_90": 0.15,
        "validation_miss_rate_at_1": miss_rate - 0.01,
        "test_miss_rate_at_1": miss_rate,
        "test_miss_rate_at_half": miss_rate + 0.05,
        "test_miss_rate_at_1_interval": [miss_rate - 0.02, miss_rate + 0.02],
        "test_miss_rate_at_half_interval": [miss_rate, miss_rate + 0.1],
        "curve": {"false_alarms_per_hour": [90.0, 3.0, 1.0, 0.0], "miss_rate": [0.0, miss_rate / 2, miss_rate, 0.9]},
    }


def heard(keywords: int = 164) -> dict[str, Any]:
    snrs = [None, 20.0] * 9
    events = {"word": 2_800, "speech": 330, "keyword": keywords}
    part = {"hours": 3.0, "streams": 18, "keywords": keywords, "keyword_speakers": 120, "snrs": snrs, "events": events}
    return {"validation": part, "testing": part}


def stream_record(
    name: str, miss_rate: float = 0.3, less: tuple[float, float, float] = (0, -0.02, 0.005), config: CrnnConfig = BASE
) -> dict[str, Any]:
    difference = {"difference": less[0], "interval": [less[1], less[2]]}
    return {
        "checkpoint": name,
        "keyword": "happy",
        "seed": 0,
        "corpus": "c" * 64,
        "corpus_name": "speech_commands",
        "speech": "librispeech",
        "scenes": heard(),
        "cost": count_cost(config),
        "reset_seconds": 10.0,
        "modes": {name: mode(miss_rate + 0.01 * number) for number, name in enumerate(MODES)},
        "carried_minus_sliding": difference,
        "reset_minus_sliding": difference,
    }


def peer_record(keywords: int = 164) -> dict[str, Any]:
    return {
        "engine": "pocketsphinx",
        "version": "5.1.1",
        "keyword": "happy",
        "seed": 0,
        "corpus": "c" * 64,
        "scenes": heard(keywords),
        "mode": mode(0.7) | {"threshold": None, "latency": None, "latency_90": None},
        "speed": {"pocketsphinx": {"seconds_per_second": 0.025, "median_chunk_seconds": 2e-3}},
        "device": "a processor, 2 cores",
    }


RECORDS = [
    stream_record("base-happy-official-0"),
    stream_record("small-happy-official-0", 0.2, (0.00, -0.02, 0.005), DEPLOYED_STUDENT),
    stream_record("small-happy-official-1", 0.3, (0.01, -0.01, 0.013), DEPLOYED_STUDENT),
]


def write_streams(results: Path, records: list[dict[str, Any]], peer: dict[str, Any] | None = None) -> Path:
    for folder, found in (("streams", records), ("streams_peer", [peer] if peer else [])):
        (results / folder).mkdir(parents=True, exist_ok=True)
        for record in found:
            (results / folder / f"{record.get('checkpoint', 'peer')}.json").write_text(json.dumps(record))
    return results


@pytest.fixture
def rendered(tmp_path) -> Path:
    write_results(tmp_path, few())
    (tmp_path / "README.md").write_text(README)
    report.main(write_streams(tmp_path, RECORDS, peer_record()), tmp_path)
    return tmp_path


def test_the_chapter_says_what_the_records_say(rendered):
    text = (rendered / "REPORT.md").read_text().partition("## In a stream")[2].partition("## Settings")[0]
    assert read_table(text, "heard")["test speakers"]["keywords"] == "164"
    assert "in turn: no noise, 20 dB." in text
    lines = [line for line in text.splitlines() if line.startswith("| small | ")]
    assert "| small | carried | 2 | 25.0 % (23.0 to 27.0) | 30.0 % (25.0 to 35.0) |" in lines
    assert "| small | reset every 10 s | 2 | 26.0 % (24.0 to 28.0) | 31.0 % (26.0 to 36.0) |" in lines
    assert "| small | carried | 2 | 35.0 % (25.0 to 45.0) | 0.33 (0.01 to 1.86) | -20 ms | 150 ms |" in lines
    assert "| small | 2 | +0.5 (-1.5 to +0.9) | +0.5 (-1.5 to +0.9) | met |" in lines
    assert "| small | 84,000 | 885,000 | 464,454 | 5,805,678 | 10.5x | 12.2x | 5,040 |" in lines
    assert "| pocketsphinx | its own |  | 80.0 % (70.0 to 90.0) | 0.33 (0.01 to 1.86) | - | - |" in text
    assert "| base-happy-official-0 | sliding 1 s window | 3 | 0.99 | 32.0 % | 42.0 % | 0.33 |" in text
    assert "| pocketsphinx | 0.0250 | 2.00 ms |" in text
    assert "(figures/stream_det.png)" in text
    assert "- `base`: **not met**. Carried less sliding is +0.0 (-2.0 to +0.5) points" in text
    assert "11.4x less work, which is short of 12" in text


def test_the_readme_gets_a_line_of_the_best_on_validation_speakers(rendered):
    (line,) = [line for line in (rendered / "README.md").read_text().splitlines() if "In a stream" in line]
    assert "`small` misses 25.0 % (23.0 to 27.0) of “happy” with a carried state" in line
    assert "27.0 % (25.0 to 29.0) as a sliding window at 12.2 times the work. pocketsphinx misses 70.0 %" in line
    assert line.endswith("[More](REPORT.md#in-a-stream)")


def test_check_sees_changed_streams_and_a_missing_picture(rendered):
    report.main(rendered, rendered, check=True)
    picture = (rendered / "figures" / "stream_det.png").read_bytes()
    (rendered / "figures" / "stream_det.png").unlink()
    with pytest.raises(UserError, match=r"stream_det\.png is stale"):
        report.main(rendered, rendered, check=True)
    (rendered / "figures" / "stream_det.png").write_bytes(picture)
    write_streams(rendered, [stream_record("base-happy-official-0", 0.31)])
    with pytest.raises(UserError, match=r"REPORT\.md is stale"):
        report.main(rendered, rendered, check=True)


def test_without_streams_there_is_no_chapter(tmp_path):
    write_results(tmp_path, few()[:1])
    report.main(tmp_path, tmp_path)
    assert "In a stream" not in (tmp_path / "REPORT.md").read_text()
    assert not (tmp_path / "figures" / "stream_det.png").exists()


@pytest.mark.parametrize(
    ("less", "config", "expected"),
    [
        ((-0.01, -0.02, 0.01), DEPLOYED_STUDENT, "met"),
        ((-0.01, -0.02, 0.011), DEPLOYED_STUDENT, "undecided"),
        ((0.05, 0.011, 0.09), DEPLOYED_STUDENT, "not met"),
        ((-0.01, -0.02, 0.0), BASE, "not met"),
    ],
)
def test_goal_is_the_whole_interval_and_the_work(tmp_path, less, config, expected):
    write_streams(tmp_path, [stream_record("one-happy-official-0", less=less, config=config)])
    (study,) = read_stream_studies(tmp_path)
    assert goal(study.rows[0]) == expected


def test_the_curve_is_a_step_function():
    curve = {"false_alarms_per_hour": [9.0, 2.0, 1.0, 1.0, 0.0], "miss_rate": [0.5, 0.1, 0.3, 0.2, 0.9]}
    found = lowest_miss_rates(curve, np.array([0.0, 0.5, 1.0, 1.9, 2.0, 100.0]))
    assert found.tolist() == [0.9, 0.9, 0.2, 0.2, 0.1, 0.1]
    noisy = {"false_alarms_per_hour": [5.0], "miss_rate": [0.0]}
    assert lowest_miss_rates(noisy, np.array([4.0, 5.0])).tolist() == [1.0, 0.0]


def test_a_picture_has_a_panel_a_setting_and_a_line_a_mode(tmp_path):
    (study,) = read_stream_studies(write_streams(tmp_path, RECORDS, peer_record()))
    figure = stream_det(study)
    figure.canvas.draw()
    titled = {axes.get_title(): axes for axes in figure.axes}
    assert list(titled) == ["base", "small"]
    marks = 2  # lines at the goal's numbers of false alarms
    assert len(titled["base"].lines) == 3 + 1 + marks
    assert len(titled["small"].lines) == 3 * (2 + 1) + 1 + marks
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*MODES[:1], "reset every 10 s", "sliding 1 s window", "pocketsphinx", "single runs; thick: mean"]


def test_records_that_do_not_fit_are_one_line(tmp_path):
    write_streams(tmp_path, RECORDS, peer_record(keywords=20))
    with pytest.raises(UserError, match="other scenes than any checkpoint"):
        read_stream_studies(tmp_path)
    old = {name: value for name, value in RECORDS[0].items() if name != "cost"}
    write_streams(tmp_path, [old])
    with pytest.raises(UserError, match=r"base-happy-official-0\.json .* it has no 'cost'"):
        read_stream_studies(tmp_path)
    (tmp_path / "streams" / "base-happy-official-0.json").write_text("{")
    with pytest.raises(UserError, match="is no JSON"):
        read_stream_studies(tmp_path)
