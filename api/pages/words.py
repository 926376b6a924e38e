"""Numbers and times in words, for people who decide."""

from datetime import datetime
from typing import Final

from index.answers import Band, BandRule, RiskAnswer

BAND_TITLES: Final[dict[Band, str]] = {
    "likely": "Likely a violator",
    "possible": "Possibly a violator",
    "unlikely": "Unlikely a violator",
    "insufficient_data": "Not enough data",
}

CHANNEL_MEANINGS: Final = {
    "behavior": "what is done, and in which order",
    "conduct": "what sets violators of one kind apart",
    "opinion": "how risky the events look, by themselves",
    "target": "the same places, items or people",
    "statistics": "hours, rhythm and mix of actions",
    "text": "the words that are used",
}


def risk_sentence(risk: RiskAnswer) -> str:
    """Say what a risk means."""
    if risk.probability is None or risk.interval is None:
        return (
            f"{count(risk.num_events, 'event')} {'is' if risk.num_events == 1 else 'are'} "
            "too few to compare this user with violators. Look again when there are more."
        )
    low, high = risk.interval
    return (
        f"Of 100 users who behaved like this after as many events, about "
        f"{in_hundred(risk.probability)} turned out to be violators; "
        f"the data allows {in_hundred(low)} to {in_hundred(high)}."
    )


def band_rule_sentence(rule: BandRule | None) -> str | None:
    """Say what `likely` means where a policy has its own precision; None elsewhere."""
    if rule is None or rule.policy is None:
        return None
    if rule.likely_log_odds is None:
        return (
            f"Most like violators of {rule.policy}, where likely means at least "
            f"{percent(rule.precision)}; nothing has proven that yet, so nobody is."
        )
    proven = "" if rule.fitted_on == "policy" else ", proven on everyone: of the policy are too few"
    return (
        f"Most like violators of {rule.policy}, where likely means at least "
        f"{percent(rule.precision)}{proven}."
    )


def in_hundred(share: float) -> str:
    """Return a share in [0, 1] as a number of 100; the ends are never claimed."""
    if share < 0.01:
        return "fewer than 1"
    if share > 0.99:
        return "more than 99"
    return str(round(share * 100))


def percent(share: float) -> str:
    """Return a share in [0, 1] in percent; the ends are never claimed."""
    if share < 0.01:
        return "< 1 %"
    if share > 0.99:
        return "> 99 %"
    return f"{share * 100:.0f} %"


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def moment(time: datetime) -> str:
    """Return a time to the minute."""
    return f"{time.day} {time:%b %Y, %H:%M} UTC"


def duration(seconds: float) -> str:
    """Return a span of time in its largest sensible unit."""
    for size, noun in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return count(int(seconds // size), noun)
    return count(max(0, int(seconds)), "second")


def policies_sentence(policies: list[str | None]) -> str:
    """Say for what the violators among some neighbors were labelled, most frequent first."""
    names = [policy or "no policy named" for policy in policies]
    ordered = sorted(set(names), key=lambda name: (-names.count(name), name))
    return ", ".join(f"{names.count(name)} for {name}" for name in ordered)
