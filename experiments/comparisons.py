"""What stands beside the study: the homework's random split, and the two frameworks against each other."""

from collections.abc import Sequence
from itertools import product

from experiments.markdown import error, table
from experiments.sections import natural_scale, ratio_cell
from experiments.setting import BASE_NAME
from experiments.summary import Study

__all__ = ["splits_section"]


def splits_section(studies: Sequence[Study]) -> str:
    """The random split, on which speakers are heard in training, beside the official one; empty without it."""
    blocks = []
    for official, other in product(studies, repeat=2):
        same = (official.corpus, official.keywords) == (other.corpus, other.keywords)
        if same and (official.split, other.split) == ("official", "random"):
            blocks += [f"### {', '.join(official.keywords)} ({official.corpus})", _splits(official, other)]
    if not blocks:
        return ""
    text = (
        "Public solutions are judged on random splits, where nearly every test speaker is also heard in training. Here "
        "are the same settings on both."
    )
    return "\n\n".join(["## Official and random split", text, *blocks])


def _splits(official: Study, random: Study) -> str:
    columns = ["setting", f"au_fa_fr / {BASE_NAME}, official", "random", "1 - AUROC, official", "random"]
    columns += ["au_fa_fr, natural, random", "at p ="]
    found = {row.name: row for row in random.rows}
    rows = [
        [
            row.name,
            *(ratio_cell(one, BASE_NAME) for one in (row, found[row.name])),
            *(error(one.error().estimate) for one in (row, found[row.name])),
            *natural_scale(found[row.name]),
        ]
        for row in official.rows
        if row.name in found
    ]
    return table(columns, rows)
