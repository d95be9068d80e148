"""What `audit attack` does, with progress."""

from attacks.attack import Budget
from audit.cli.progress import attack_progress
from audit.executor import processors
from audit.pipeline.attack import AttackOptions, AttackReport, attack
from audit.store.run import RunDirectory


def attack_run(
    run: RunDirectory,
    *,
    only: tuple[str, ...] = (),
    adversaries: tuple[str, ...] = (),
    budget: str,
    controls: bool = True,
) -> AttackReport:
    """Attack a run; the arguments are the command line's."""
    with attack_progress() as progress:
        return attack(
            run,
            AttackOptions(
                only=only,
                adversaries=adversaries,
                budget=Budget(budget),
                planned=progress.planned,
                progress=progress.started,
                trained=progress.trained,
                controls=controls,
                workers=processors(),
            ),
        )
