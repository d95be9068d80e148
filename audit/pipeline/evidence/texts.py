"""What stays outside of every guarantee, and how a run is made again."""

from audit.core.config import Config

OUTSIDE = (
    "Gaussian noise in floating point is not the real-valued Gaussian of the proof (Mironov 2012, "
    "doi:10.1145/2382196.2382264): the noise is a continuous sampler's output in double precision, "
    "not a discrete mechanism's.",
    "The audit's own results on members, this report among them, are computed from patients' "
    "records without noise. They are aggregates of at least ten records, and no part of the claim.",
    "Probes are laboratory releases on a few records, each with a price of its own, beyond the "
    "claim. In operation there are none.",
    "Hyperparameters chosen on these very records cost privacy that the claim does not count, "
    "unless the configuration says how many trials there were.",
    "Timing, memory, logs of other software, backups and people.",
    "What a model says rightly about a population can harm a person who never was in the data.",
    "Attacks that nobody has thought of: a value at chance says that these attacks failed.",
)


def reproduction(config: Config, budget: str) -> list[str]:
    """Return the commands that make a run of this configuration again.

    Args:
        config: Of the run.
        budget: Of its last attacks.
    """
    kind = (
        "The fixed noise key lies in the run's secrets and not here: with it, the same numbers."
        if config.reproduction
        else "Noise comes from the operating system: other runs give other numbers, within their "
        "intervals."
    )
    return [
        "audit train config.resolved.yaml --out RUN",
        f"audit attack RUN --budget {budget}",
        "audit report RUN",
        f"Public seed {config.seed}: initial weights, split, partition and attacks. {kind}",
    ]
