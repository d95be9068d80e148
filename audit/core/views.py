"""One frozen view for each adversary: exactly what it sees, and what it knows besides.

A view names protocols where a model is needed, so that nothing here depends on torch. Views are
built by ``audit.disclosure`` and by nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.attributes import HiddenAttribute
from audit.core.fields import Field
from audit.core.model import Architecture, Oracle, Weights
from audit.core.parcel import Parcel


@dataclass(frozen=True, kw_only=True)
class Records:
    """Records with labels, under pseudonyms.

    Args:
        ids: Shape (records,).
        inputs: Shape (records, *input shape), as the model takes them.
        labels: Shape (records,).
    """

    ids: tuple[str, ...]
    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class References:
    """Reference federations: trained by the adversary itself, each on half of the candidates.

    Args:
        trained_on: True where a model trained on a candidate, shape (models, candidates); every
            candidate is in exactly half of the models.
        logits: Of the global model after each round, shape (models, rounds, candidates, classes);
            the last round's is the reference of the released model.
        population_logits: Of the last round's model, shape (models, population, classes); no
            model trained on the population.
    """

    trained_on: NDArray[np.bool_]
    logits: NDArray[np.float32]
    population_logits: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The public training recipe of one cell: part of every adversary's knowledge.

    Args:
        rounds: Communication rounds.
        local_steps: DP-SGD steps of a hospital in a round.
        expected_batch_size: Normaliser of every step, records.
        sample_rate: Poisson sampling rate of a record in a step.
        learning_rate: Of the local optimiser, at the first round.
        momentum: Of the local optimiser.
        noise_multiplier: Noise over clipping norm; None without DP.
        max_grad_norm: Clipping norm; None without DP.
        loss_scale: Multiplies a record's loss before its gradient is clipped; 1 without DP.
        augment_shift: Pixels by which an image is moved at most in a round; in a probe it is not.
        class_priors: Shares of the classes that the loss evens out; None: as they come.
    """

    rounds: int
    local_steps: int
    expected_batch_size: float
    sample_rate: float
    learning_rate: float
    momentum: float
    noise_multiplier: float | None
    max_grad_norm: float | None
    loss_scale: float = 1.0
    augment_shift: int = 0
    class_priors: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Background:
    """Auxiliary knowledge that every adversary has, printed in the report.

    Args:
        architecture: The model's architecture.
        recipe: How it was trained.
        candidates: Records whose membership is asked; members and others, shuffled.
        population: A reference sample that no hospital trained on.
        record_range: Lowest and highest value of an input.
        references: Reference federations; None where the attack asked for none.
        pool: Records among which those of the probes are, shuffled; None where none was kept.
        fields: Which columns of a table's record are numbers, and which together a category;
            empty: the records are no tables.
    """

    architecture: Architecture
    recipe: Recipe
    candidates: Records
    population: Records
    record_range: tuple[float, float]
    references: References | None = None
    pool: Records | None = None
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A gradient-bearing message of known origin: one client's update, or the mean of several.

    Args:
        name: Unique in the view.
        round: The round before which, or in which, it was made.
        clients: Whose records it mixes: one client, or all that were summed.
        shares: Each of these clients' part in the mean; together 1.
        records: Records of each client in it; None for a Poisson-sampled round.
        weights: The global model that the clients started from.
        update: New weights minus old, the mean over ``clients`` by their shares.
        learning_rate: Of each step that turned gradients into the update.
        steps: Local steps behind it; momentum as in the recipe.
        batch: Records of each client in a step of a probe, every record in one step an epoch; None:
            each step is on all of them. Unknown of a round.
        order: Auxiliary knowledge, where batches come from a public seed: the batch of each of a
            client's records in each epoch, shape (clients, epochs, records). Records are anonymous
            places. None: the hospitals alone know.
    """

    name: str
    round: int
    clients: tuple[str, ...]
    shares: tuple[float, ...]
    records: int | None
    weights: Weights
    update: Weights
    learning_rate: float
    steps: int = 1
    batch: int | None = None
    order: NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True)
class WireMessage:
    """One message as the server sent or received it.

    Args:
        session: ``round-003``, or a probe's name.
        stage: Stage of the protocol: ``keys``, ``shares``, ``train``, ``unmask``.
        client: The hospital at the other end.
        sent: True if the server sent it.
        parcel: Its content.
    """

    session: str
    stage: str
    client: str
    sent: bool
    parcel: Parcel


@dataclass(frozen=True, kw_only=True)
class QueryView:
    """``query``: a counted oracle of the released model.

    Args:
        hidden: What is asked about an attribute of the candidates; the candidates then lack it.
            None: their records are complete.
    """

    background: Background
    oracle: Oracle
    hidden: HiddenAttribute | None = None


@dataclass(frozen=True, kw_only=True)
class RecipientView:
    """``recipient``: the released weights."""

    background: Background
    weights: Weights


@dataclass(frozen=True, kw_only=True)
class ParticipantView:
    """``participant``: one curious hospital.

    Args:
        client: Which hospital it is.
        models: The global model at the start of each round, and the last one after it.
        updates: Its own update of each round, by round.
        own: Its own records.
    """

    background: Background
    client: str
    models: tuple[Weights, ...]
    updates: Mapping[int, Weights]
    own: Records


@dataclass(frozen=True, kw_only=True)
class ServerView:
    """``server``: no secure aggregation between it and the updates.

    Args:
        models: The global model that it broadcast in each round, and the last one after it.
        rounds: Every client's update of every round.
        probes: Every client's update of every probe.
    """

    background: Background
    models: tuple[Weights, ...]
    rounds: tuple[Observation, ...]
    probes: tuple[Observation, ...]


@dataclass(frozen=True, kw_only=True)
class SecaggServerView:
    """``secagg-server``: the sums, and all that the protocol showed it.

    Args:
        models: The global model that it broadcast in each round, and the last one after it.
        rounds: The mean update of each round.
        probes: The mean update of each probe.
        wire: Every message of the protocol: keys, encrypted shares, masked vectors, revealed
            shares.
    """

    background: Background
    models: tuple[Weights, ...]
    rounds: tuple[Observation, ...]
    probes: tuple[Observation, ...]
    wire: tuple[WireMessage, ...]


@dataclass(frozen=True, kw_only=True)
class ColludingServerView:
    """``colluding-server``: as secagg-server, with what k hospitals know.

    Args:
        server: The secagg-server's view.
        colluders: The hospitals that help it.
        updates: Their own updates, one observation a round or probe.
        keys: Session to colluder to that hospital's private protocol state.
    """

    background: Background
    server: SecaggServerView
    colluders: tuple[str, ...]
    updates: tuple[Observation, ...]
    keys: Mapping[str, Mapping[str, Parcel]]


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """What is left of audit cells' updates when the known records' gradients are taken off.

    Args:
        first: The first 16 coordinates, in deviations of the noise, shape (audit cells, hospitals,
            rounds, 16); NaN where it cannot be told.
        places: Audit cell and hospital of each canary, shape (canaries, 2).
        columns: Column of the last layer of each canary, shape (canaries,).
        signs: Which way canaries push in each round, shape (rounds,).
        shapes: Of the model's trained parameters, in the order in which they get noise.
    """

    first: NDArray[np.float64]
    places: NDArray[np.int64]
    columns: NDArray[np.int64]
    signs: NDArray[np.float64]
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class CanaryView:
    """What an adversary saw of audit cells along their canaries.

    Audit cells are federations of the released one's recipe and code, with canaries: made-up
    records, each in one hospital or not. Values are in units of one canary, clipped, in every batch
    of a round: 1 is the canary itself; or of a canary hospital whose batches have their expected
    size. What the adversary does not see is None.

    Args:
        canaries: Pseudonyms, shape (canaries,).
        updates: In the update of the hospital that a canary would be in, shape (canaries, rounds).
        others: In the update of another hospital, same shape.
        sums: In the sum of all updates, same shape.
        own: What the sum would hold if every hospital's update were the adversary's own, which is
            a hospital itself, same shape.
        likeness: Of outlier canaries: the part of a round's update along what the hospital's known
            records alone would have sent, 1 where all of it is there, same shape.
        leftovers: Of single updates; None also where hospitals make several steps in a round.
        labels: Of canary records, the label that each was trained with, shape (canaries,).
        answers: Of canary records, log-probabilities by the final model of their audit cell, shape
            (canaries, classes).
        released: Of canary hospitals: in the final model less the initial one, shape (canaries,).
        cells: How many audit cells there were.
    """

    background: Background
    canaries: tuple[str, ...]
    updates: NDArray[np.float64] | None = None
    others: NDArray[np.float64] | None = None
    sums: NDArray[np.float64] | None = None
    own: NDArray[np.float64] | None = None
    likeness: NDArray[np.float64] | None = None
    leftovers: Leftovers | None = None
    labels: NDArray[np.int64] | None = None
    answers: NDArray[np.float64] | None = None
    released: NDArray[np.float64] | None = None
    cells: int = 0


View = (
    QueryView
    | CanaryView
    | RecipientView
    | ParticipantView
    | ServerView
    | SecaggServerView
    | ColludingServerView
)
