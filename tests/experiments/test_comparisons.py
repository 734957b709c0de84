"""The frameworks' speeds stand in the report as the benchmark's file has them."""

import json
from pathlib import Path
from typing import Any

import pytest
from experiments.report.comparisons import frameworks_section

from experiments import report
from kws_jax.errors import UserError
from tests.helpers.fake_records import few, studies


def inference(model: str, runtime: str, microseconds: float, ratio: float) -> dict[str, Any]:
    speed = {"microseconds_per_second": microseconds, "real_time_factor": 1e-6 * microseconds, "ratio_to_base": ratio}
    work = {"parameters": 9, "macs_per_second": 1e6, "frontend_macs_per_second": 464_454, "step_milliseconds": 80.0}
    return {"model": model, "runtime": runtime} | speed | work


def training(framework: str, what: str, speed: float, ratio: float | None) -> dict[str, Any]:
    named = {"model": "base", "framework": framework, "what": what, "batch_size": 128}
    return named | {"clips_per_second": speed, "ratio_to_torch": ratio}


MEASURED: dict[str, Any] = {
    "environment": {"device": "a processor, 2 cores"},
    "inference": [
        inference(model, runtime, microseconds, ratio)
        for runtime, factor in (("JAX scan", 1), ("PyTorch stream", 3))
        for model, microseconds, ratio in (("base", 800.0 * factor, 1.0), ("light", 160.0 * factor, 5.0))
    ],
    "training": [training("PyTorch", "waveforms", 1_700.4, 1.0), training("JAX", "mel power", 17_000.0, None)],
    "vmap": [
        {"model": "pooled", "seeds": 3, "seconds_in_turn": 3.0, "seconds_together": 2.0, "speed_up": 1.5},
    ],
}


def test_every_row_of_the_benchmark_stands_in_the_report(tmp_path: Path):
    found = studies(tmp_path, few())
    assert "Both frameworks" not in report.render_report(found, tmp_path, tmp_path)
    (tmp_path / "benchmark.json").write_text(json.dumps(MEASURED))
    text = report.render_report(found, tmp_path, tmp_path).split("## Both frameworks on the clock")[1]
    lines = text.split("\n## ")[0].splitlines()
    assert "| model | step | MACs per second, front end included | JAX scan | PyTorch stream |" in lines
    assert "| base | 80 ms | 1,464,454 | 800 (1.00x) | 2400 (1.00x) |" in lines
    assert "| light | 80 ms | 1,464,454 | 160 (5.00x) | 480 (5.00x) |" in lines
    assert "| base | waveforms | PyTorch | 128 | 1,700 | 1.00x |" in lines
    assert "| base | mel power | JAX | 128 | 17,000 | - |" in lines
    assert "| pooled | 3 | 3.00 s | 2.00 s | 1.50x |" in lines


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"environment": {"device": "x"}})])
def test_what_is_no_benchmark_is_an_error(text: str, tmp_path: Path):
    (tmp_path / "benchmark.json").write_text(text)
    with pytest.raises(UserError, match="no file of experiments"):
        frameworks_section(tmp_path / "benchmark.json")
