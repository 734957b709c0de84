"""Records of detectors of people's own words: OUT/keyword.json, and RESULTS/own_keywords/NAME.json for the report."""

from dataclasses import dataclass
from pathlib import Path

from experiments.study.json_files import json_files_in, read_json
from experiments.study.stream_records import OperatingPoint

FOLDER = "own_keywords"


@dataclass(frozen=True)
class OwnKeyword:
    """A detector of a person's own word: what it was made of, and what it is worth.

    Attributes:
        word: The word.
        setting: Of the study, that it was trained as.
        takes: Of the word, by part: "training", "validation" and "testing".
        people: Who speak them, as far as folders tell.
        kept_apart: What no two parts share: "people", "recordings" or "stretches" of takes.
        speech: Names of the folders of running sound without the word.
        hours: Of scenes that it was judged on.
        point: In use.
        seconds: From the recordings to the end.
        commit: Of the code.
        versions: Of Python and the packages that matter.
        device: Processor and its cores.
    """

    word: str
    setting: str
    takes: dict[str, int]
    people: int
    kept_apart: str
    speech: tuple[str, ...]
    hours: float
    point: OperatingPoint
    seconds: float
    commit: str
    versions: dict[str, str]
    device: str

    @property
    def misses(self) -> tuple[float, float, float]:
        """Share of the judged takes that is missed, and its exact 95 % interval, as if each was heard once.

        References:
            Clopper, Pearson: The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial, 1934.
        """
        from scipy.stats import binomtest  # half a second to import, which whoever reads records alone saves

        number = self.takes["testing"]
        ends = binomtest(round(number * self.point.miss_rate), number).proportion_ci()
        return self.point.miss_rate, float(ends.low), float(ends.high)


def read_own_keywords(results: Path) -> list[OwnKeyword]:
    """All of the folder for the report, by name.

    Raises:
        UserError: If a file is no record of this version.
    """
    return [read_json(path, OwnKeyword) for path in json_files_in(results / FOLDER)]
