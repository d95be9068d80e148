"""The verdict and the table in Markdown, for a build's step summary; and the table in LaTeX."""

from audit.formats.evidence import Cell, EvidenceRecord
from reports.page.blocks import Grid
from reports.page.sections.opening import verdict_table
from reports.page.words import STATES, kind_word

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def render_summary(record: EvidenceRecord) -> bytes:
    """Return the summary in Markdown.

    Args:
        record: The record.
    """
    mark, label = STATES[record.verdict.state]
    lines = [
        f"## Privacy audit of {_cell(record.run.config)}: {mark} {label}",
        "",
        record.verdict.headline,
        "",
        *(f"- **{kind_word(s.kind)}:** {_cell(s.text)}" for s in record.verdict.statements),
        "",
        *_markdown(verdict_table(record)),
    ]
    return ("\n".join(lines) + "\n").encode()


def render_latex(record: EvidenceRecord) -> bytes:
    """Return the table of all models as a LaTeX ``tabular``.

    Args:
        record: The record.
    """
    headers = ["target epsilon", "claimed", "accuracy", "low", "high", "found, at least", "verdict"]
    lines = [r"\begin{tabular}{rrrrrrl}", r"\hline"]
    lines += [" & ".join(headers) + r" \\", r"\hline"]
    lines += [" & ".join(_latex_row(cell)) + r" \\" for cell in record.cells]
    lines += [r"\hline", r"\end{tabular}"]
    return ("\n".join(lines) + "\n").encode()


def _latex_row(cell: Cell) -> list[str]:
    best = max((a.lower_bound for a in cell.audits if a.about == "recipe"), default=None)
    return [
        r"$\infty$" if cell.target_epsilon is None else f"{cell.target_epsilon:g}",
        "--" if cell.claimed_epsilon is None else f"{cell.claimed_epsilon:.3f}",
        *(f"{v:.4f}" for v in (cell.accuracy, cell.accuracy_low, cell.accuracy_high)),
        "--" if best is None else f"{best:.2f}",
        _escaped(cell.verdict or "--"),
    ]


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _markdown(grid: Grid) -> list[str]:
    rows = [grid.headers, ["---"] * len(grid.headers), *grid.rows]
    return ["| " + " | ".join(_cell(text) for text in row) + " |" for row in rows]


def _cell(text: str) -> str:
    """Return text that Markdown shows as it is."""
    for letter in "\\`*_{}[]<>|":
        text = text.replace(letter, "\\" + letter)
    return text.replace("\n", " ")
