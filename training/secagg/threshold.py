"""How many clients must take part for a sum to be opened, and what too few clients give away."""


def threshold(n: int, colluders: int) -> int:
    """Smallest number of shares t that opens a secret, with 2t > n + k.

    A lying server can tell some clients that a peer lives and others that it is dead. The n - k
    honest clients reveal one share each and the k colluders both, n + k together: fewer than the
    2t that the peer's two secrets would take.

    Args:
        n: Clients in the roster.
        colluders: Clients k assumed to work with the server.

    Returns:
        t, a number of clients, at most n.

    Raises:
        ValueError: n is below 2, k is negative, or k >= n (no t up to n satisfies the rule).

    Source:
        Bonawitz et al. 2017, section 6, privacy against active adversaries: 2t > n + the number
        of corrupt clients.

    Example:
        >>> threshold(3, 0), threshold(3, 1), threshold(2, 1)
        (2, 3, 2)
    """
    if n < 2:
        raise ValueError(f"n: {n}; a sum over fewer than 2 clients hides nothing")
    if colluders < 0:
        raise ValueError(f"colluders: {colluders}; expected 0 or more")
    t = (n + colluders) // 2 + 1
    if t > n:
        raise ValueError(
            f"colluders: {colluders} of {n} clients; no threshold t <= {n} has 2t > {n + colluders}"
        )
    return t


def allowed_dropouts(n: int, colluders: int) -> int:
    """Number of clients that may drop out and leave a sum that can be opened, n - t.

    Args:
        n: Clients in the roster.
        colluders: Clients assumed to work with the server.

    Returns:
        A number of clients, counted over all stages of one session together.

    Raises:
        ValueError: As `threshold`.

    Example:
        >>> allowed_dropouts(3, 0), allowed_dropouts(3, 1)
        (1, 0)
    """
    return n - threshold(n, colluders)


def exposure_warning(n: int, colluders: int = 0) -> str | None:
    """Text to show when the sum itself gives a single client's update away, else None.

    Args:
        n: Clients in the roster.
        colluders: Clients assumed to work with the server.

    Returns:
        One sentence, or None.
    """
    if n == 2:
        return (
            "With 2 hospitals the sum reveals each hospital's update to the other: "
            "it subtracts its own. Secure aggregation protects them from the server only."
        )
    if colluders >= n - 1:
        return (
            f"With {colluders} colluders among {n} hospitals the sum reveals the remaining "
            "hospital's update: they subtract their own. Only differential privacy protects it."
        )
    if n - allowed_dropouts(n, colluders) == 2:
        return (
            "After the drop-outs that the threshold allows, 2 hospitals are left, and the sum "
            "reveals each one's update to the other."
        )
    return None
