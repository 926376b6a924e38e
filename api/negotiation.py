"""Which media type to answer in (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence


def preferred_media_type(accept: str | None, *, offered: Sequence[str]) -> str | None:
    """Return the offered media type that the caller likes best; the first one breaks ties.

    Args:
        accept: The `Accept` header; None accepts everything.
        offered: What can be given, our favourite first.

    Returns:
        None where the caller accepts nothing that is offered.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_parse_range(part) for part in accept.split(",")[:50]]
    liked = max(offered, key=lambda media_type: _quality(media_type, ranges))
    return liked if _quality(liked, ranges) > 0 else None


def _parse_range(part: str) -> tuple[str, float]:
    media_range, *parameters = [piece.strip().lower() for piece in part.split(";")]
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return media_range, quality


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the quality of the most specific range that covers a media type."""
    kind = media_type.partition("/")[0]
    for wanted in (media_type, f"{kind}/*", "*/*"):
        for media_range, quality in ranges:
            if media_range == wanted:
                return quality
    return 0.0
