"""A calibration for people."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from audit.gate.calibrate import Calibration, RulePower


def render_calibration(result: Calibration) -> RenderableType:
    """Return what `audit gate --calibrate` prints."""
    table = Table(title=f"the policy on {result.pairs} simulated pairs a row")
    for column in (
        "rule", "cell", "unchanged: pass / undecided / fail", "smallest rise found, 80 %",
        "n now", "n to pass, 80 %",
    ):  # fmt: skip
        table.add_column(column, overflow="fold")
    for rule in result.rules:
        table.add_row(*_row(rule))
    held = result.false_alarms <= result.expected_at_most
    verdict = "held" if held else "[red]not held[/]"
    return Group(
        table,
        f"an unchanged recipe failed in {result.false_alarms} of {result.pairs} gates of "
        f"{result.tests} comparisons; at alpha {result.alpha:g} at most "
        f"{result.expected_at_most} are expected: {verdict}",
        "simulated from the stored values, intervals and n; attacks taken to detect their controls",
        *(
            ["one seed: what retraining adds is only the policy's spread; approve several seeds"]
            if all(rule.seeds == 1 for rule in result.rules)
            else []
        ),
    )


def _row(rule: RulePower) -> list[str]:
    return [
        f"{escape(rule.rule)}: margin {rule.margin:g}, {rule.tests} scores",
        escape(rule.cell),
        f"{rule.passed:.0%} / {rule.inconclusive:.0%} / {rule.failed:.0%}",
        "none" if rule.smallest is None else f"{rule.smallest:.2g}",
        f"{rule.n:,}" + (f" x {rule.seeds} seeds" if rule.seeds > 1 else ""),
        "seeds needed" if rule.n_to_pass is None else f"{rule.n_to_pass:,}",
    ]
