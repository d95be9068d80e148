"""The exchangeable part: a protocol's server and client halves, by their configured name."""

from audit.core.config import AggregationConfig
from audit.core.errors import ConfigError
from training.secagg.identity import Identity, Roster
from training.secagg.masked_client import MaskedClient
from training.secagg.masked_server import MaskedServer
from training.secagg.plain import PlainClient, PlainServer
from training.secagg.protocol import ClientProtocol, ServerProtocol
from training.secagg.quantise import Quantiser
from training.secagg.threshold import allowed_dropouts, exposure_warning


def server_protocol(config: AggregationConfig, roster: Roster | None) -> ServerProtocol:
    """Return the server's half."""
    if config.protocol == "plain" or roster is None:
        return PlainServer(weights=config.weights)
    return MaskedServer(
        roster=roster,
        colluders=config.colluders,
        quantiser=_quantiser(config),
        weights=config.weights,
    )


def client_protocol(
    config: AggregationConfig, client: str, identity: Identity, roster: Roster | None
) -> ClientProtocol:
    """Return one hospital's half."""
    if config.protocol == "plain" or roster is None:
        return PlainClient(client)
    return MaskedClient(
        client,
        identity=identity,
        roster=roster,
        colluders=config.colluders,
        quantiser=_quantiser(config),
        weights=config.weights,
    )


def check_aggregation(config: AggregationConfig, clients: int) -> str | None:
    """Check that the protocol can serve so many hospitals.

    Returns:
        A warning for people, or None.

    Raises:
        ConfigError: Too few hospitals, or too many colluders for them.
    """
    if config.protocol == "plain":
        return None
    if clients < 2:
        raise ConfigError(
            f"partition.clients {clients}: masked aggregation needs at least 2 hospitals; "
            "use aggregation.protocol=plain"
        )
    try:
        allowed_dropouts(clients, config.colluders)
    except Exception as error:
        raise ConfigError(f"aggregation.colluders {config.colluders}: {error}") from None
    return exposure_warning(clients, config.colluders)


def _quantiser(config: AggregationConfig) -> Quantiser:
    return Quantiser(
        clip_range=config.clip_range,
        bits=config.bits,
        stochastic=config.rounding == "stochastic",
    )
