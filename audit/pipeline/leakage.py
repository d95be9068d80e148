"""What all attacks on a cell show together, and the files that hold it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attacks.entry import Entry, Family
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.config import CellConfig, Config
from audit.core.guesses import MembershipGuess
from audit.core.randomness import named_generator
from audit.core.scores import Outcome, Score
from audit.formats.files import read_json, read_json_lines, write_json_lines
from audit.formats.guesses import read_guess
from audit.scoring import (
    STRONGEST,
    SliceValues,
    score_groups,
    score_strongest,
    score_strongest_inversion,
)
from audit.store.run import RunDirectory
from audit.vault import MembershipTruth, Vault

WORST = "worst-"
"""Slices that summarise a column of groups start with it."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One attack of one adversary on one cell."""

    cell: CellConfig
    adversary: Adversary
    entry: Entry

    @property
    def name(self) -> str:
        """For people, and for the names of random streams."""
        return f"{self.cell.id}/{self.adversary.value}/{self.entry.id}"

    def folder(self, run: RunDirectory) -> Path:
        """Return where its guess and result lie."""
        return run.attack_folder(self.cell.id, self.adversary.value, self.entry.id)


def guess_stream(seed: int, task: str) -> np.random.Generator:
    """Return the stream from which an attack draws.

    Args:
        seed: Public seed.
        task: Name of the attack of an adversary on a cell.
    """
    return named_generator(seed, "attack", task, "guess")


def keep_scores(run: RunDirectory, config: Config, scores: list[Score]) -> None:
    """Replace the scores of what was run again, and keep all others, in a stable order."""
    again = {(s.cell, s.adversary, s.attack) for s in scores}
    _replace(run, config, scores, lambda s: (s.cell, s.adversary, s.attack) in again)


def summarise(
    run: RunDirectory,
    config: Config,
    cell: CellConfig,
    truth: MembershipTruth,
    recording: str,
) -> None:
    """Score the strongest attack of each adversary and every group, from all guesses on disk.

    Args:
        run: The run.
        config: Its configuration.
        cell: Which cell.
        truth: Of the membership game.
        recording: Guesses made from another recording are left out.
    """
    guesses = dict(_guesses(run, cell, recording))
    groups = score_groups(guesses, truth, cell.id)
    summary = [
        *score_strongest(guesses, truth, cell.id),
        *score_strongest_inversion(
            dict(_measured(run, cell, recording)),
            cell.id,
            rng=named_generator(config.seed, "attack", cell.id, "strongest-inversion"),
        ),
        *groups.worst,
    ]
    _replace(
        run,
        config,
        summary,
        lambda s: s.cell == cell.id and (s.attack == STRONGEST or s.slice.startswith(WORST)),
    )
    path = run.path / "groups.jsonl"
    others = [line for line in read_json_lines(path) if line["cell"] != cell.id]
    write_json_lines(path, [*others, *(g.model_dump(mode="json") for g in groups.groups)])


def _replace(
    run: RunDirectory, config: Config, new: list[Score], gone: Callable[[Score], bool]
) -> None:
    path = run.path / "scores.jsonl"
    old = (Score.model_validate(line) for line in read_json_lines(path))
    order = {cell.id: i for i, cell in enumerate(config.cells)}
    ranked = sorted(
        [*(score for score in old if not gone(score)), *new],
        key=lambda s: (order[s.cell], s.adversary, s.attack),
    )
    write_json_lines(path, [score.model_dump(mode="json") for score in ranked])


def _guesses(
    run: RunDirectory, cell: CellConfig, recording: str
) -> Iterator[tuple[tuple[Adversary, str], MembershipGuess]]:
    for entry in ATTACKS.values():
        if entry.family is not Family.MEMBERSHIP:
            continue
        for adversary in entry.adversaries:
            folder = run.attack_folder(cell.id, adversary.value, entry.id)
            if _made_from(folder, recording):
                guess = read_guess(folder)
                if isinstance(guess, MembershipGuess):
                    yield (adversary, entry.id), guess


def _measured(
    run: RunDirectory, cell: CellConfig, recording: str
) -> Iterator[tuple[tuple[Adversary, str], dict[str, dict[str, SliceValues]]]]:
    """Yield what inversion and identification measured of each victim."""
    vault = Vault(run.secrets)
    for entry in ATTACKS.values():
        for adversary in entry.adversaries:
            kept = vault.measured(cell.id, adversary.value, entry.id)
            folder = run.attack_folder(cell.id, adversary.value, entry.id)
            if kept is not None and _made_from(folder, recording):
                yield (
                    (adversary, entry.id),
                    {
                        name: {metric: SliceValues(**one) for metric, one in found.items()}
                        for name, found in kept.items()
                    },
                )


def _made_from(folder: Path, recording: str) -> bool:
    path = folder / "result.json"
    if not path.exists():
        return False
    result = read_json(path)
    return bool(
        result.get("outcome") == Outcome.EXECUTED.value and result.get("recording") == recording
    )
