"""All candidates, in the order of the tables. To measure another, add a line."""

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.encoder.changes import (
    PLAIN,
    Alteration,
    add_noise,
    redraw_times,
    shuffle_order,
)
from benchmarks.encoder.floors import (
    fit_bigrams,
    fit_count,
    fit_statistics,
    fit_statistics_and_tokens,
    fit_tokens,
)
from benchmarks.encoder.items import fit_items
from benchmarks.encoder.lifestream import fit_lifestream
from benchmarks.encoder.methods import Candidate, Unanswerable
from benchmarks.encoder.ours import Variant, fit_ours, fit_without_target
from benchmarks.encoder.positions import (
    SENTENCE_PACKAGE,
    find_sentence_model,
    fit_positions,
    fit_positions_and_titles,
)
from benchmarks.encoder.published import fit_published, fit_untrained
from embedder.config import BackboneName, EmbedderConfig, LossConfig, TrainingPlan
from jobs.errors import UsageError

LABEL_SHARES = (0.1, 0.01)


def with_sentences(config: EmbedderConfig) -> EmbedderConfig:
    """Return the settings with the sentence model that is installed."""
    folder = find_sentence_model()
    if folder is None:
        raise Unanswerable(f"no sentence model is installed; {SENTENCE_PACKAGE} has one")
    return config.model_copy(update={"text_model": str(folder)})


def as_shipped(config: EmbedderConfig) -> EmbedderConfig:
    """Return the settings as they are."""
    return config


def ours(
    name: str,
    about: str,
    *,
    alteration: Alteration = PLAIN,
    config: Callable[[EmbedderConfig], EmbedderConfig] = as_shipped,
    plan: Callable[[TrainingPlan], TrainingPlan] = lambda plan: plan,
    altered_from: str | None = "ours",
    in_parts: bool = False,
) -> Candidate:
    """Return a training of ours that is altered in something."""
    variant = Variant(name, alteration, config, plan, in_parts=in_parts)
    fit = partial(fit_ours, variant=variant)
    return Candidate(name, "ours", about, fit, altered_from=altered_from)


def with_labels(share: float) -> list[Candidate]:
    """Return ours and the boosted trees with a share of the labels."""
    percent = f"{share * 100:g}"
    return [
        Candidate(
            f"statistics_tfidf_labels_{percent}",
            "floor",
            f"`statistics_tfidf` with {percent} % of the labels",
            partial(fit_statistics_and_tokens, label_share=share),
            altered_from="statistics_tfidf",
        ),
        ours(
            f"ours_labels_{percent}",
            f"`ours` with {percent} % of the labels",
            alteration=Alteration(f"labels_{percent}", label_share=share),
        ),
    ]


def ours_learned(name: str, about: str, **losses: float) -> Candidate:
    """Return a training of ours with what it learns from changed."""

    def plan(shipped: TrainingPlan) -> TrainingPlan:
        changed = LossConfig(**(shipped.losses.model_dump() | losses))
        return shipped.model_copy(update={"losses": changed})

    return ours(name, f"`ours`, {about}", plan=plan)


def ours_by(backbone: BackboneName, about: str) -> Candidate:
    """Return a training of ours with one backbone alone, shipped whether it is better or not."""

    def plan(shipped: TrainingPlan) -> TrainingPlan:
        return shipped.model_copy(update={"backbones": (backbone,)})

    return ours(f"ours_{backbone}", f"`ours`, {about} alone, better or not", plan=plan)


TERMS: tuple[Candidate, ...] = (
    ours_learned("ours_without_pairs_apart", "both slices of a pair anywhere", apart_share=0),
    ours_learned("ours_without_matryoshka", "cut vectors not learned", matryoshka=False),
)
GRU = ours_by("gru", "the GRU")
ABLATIONS: tuple[Candidate, ...] = (
    *TERMS,
    ours_learned("ours_without_contrast", "no contrast between labels", contrast_weight=0),
    ours_by("twin", "the order-free network"),
    GRU,
    ours_by("transformer", "the transformer"),
)
PARTS: tuple[Candidate, ...] = (
    ours("ours", "as shipped (`.behavior_alone`: the learned block alone)", altered_from=None),
    *TERMS,
    ours_learned(
        "ours_without_terms", "nothing but slices anywhere", apart_share=0, matryoshka=False
    ),
    GRU,
)

CANDIDATES: tuple[Candidate, ...] = (
    Candidate("count", "floor", "the number of events, nothing else", fit_count, is_seeded=False),
    Candidate(
        "statistics",
        "floor",
        "hand statistics: boosted trees for risk (`.neighbors`: Gaussian-weighted neighbors), "
        "cosine of standardised values for retrieval",
        fit_statistics,
    ),
    Candidate(
        "statistics_tfidf",
        "floor",
        "boosted trees on hand statistics and an SVD of TF-IDF",
        fit_statistics_and_tokens,
    ),
    Candidate(
        "tfidf",
        "floor",
        "TF-IDF of attribute tokens: logistic regression for risk, cosine for retrieval "
        "(`.target`: of the target alone, `.svd_N`: reduced to N dimensions)",
        fit_tokens,
    ),
    Candidate(
        "bigrams", "floor", "TF-IDF of pairs of event types in a row", fit_bigrams, is_seeded=False
    ),
    Candidate(
        "items",
        "floor",
        "mean vector of the targets, which are known by the targets around them (item2vec as an "
        "SVD of positive mutual information)",
        fit_items,
    ),
    Candidate(
        "positions",
        "floor",
        "boosted trees on the first 20 events one by one: kind, gap, hour, popularity of the "
        "target, same target, seen before (`.statistics`: hand statistics of all events, too)",
        fit_positions,
    ),
    Candidate(
        "positions_titles",
        "floor",
        "`positions.statistics` with MiniLM vectors of the targets' names",
        fit_positions_and_titles,
    ),
    Candidate(
        "untrained_twin",
        "floor",
        "our order-free network with the weights it is drawn with",
        partial(fit_untrained, backbone="twin"),
    ),
    Candidate(
        "untrained_gru",
        "floor",
        "our GRU with the weights it is drawn with",
        partial(fit_untrained, backbone="gru"),
    ),
    Candidate(
        "untrained_transformer",
        "floor",
        "our transformer with the weights it is drawn with",
        partial(fit_untrained, backbone="transformer"),
    ),
    Candidate(
        "coles",
        "published",
        "CoLES (Babaev et al. 2022): slices of a user attract, the hardest of others repel",
        partial(fit_published, recipe="coles"),
    ),
    Candidate(
        "coles_lifestream",
        "published",
        "CoLES as its authors' `pytorch-lifestream` trains it, on the same fields and budget",
        fit_lifestream,
    ),
    Candidate(
        "next_event",
        "published",
        "a GRU that foretells the next event",
        partial(fit_published, recipe="next_event"),
    ),
    Candidate(
        "supervised",
        "published",
        "a GRU that is told the labels of prefixes, end to end",
        partial(fit_published, recipe="supervised"),
    ),
    ours(
        "ours",
        "as shipped (`.knn`, `.opinion_vote`: one input of the stack alone; `.X_alone`, "
        "`.without_X`: vector and risk by some blocks; `.dims_N`: every block cut to its first N "
        "dimensions; `.same_kind`: blocks weighed for that purpose; `.whitened`: all directions of "
        "the same spread)",
        altered_from=None,
        in_parts=True,
    ),
    ours(
        "ours_sentences",
        "`ours`, whose opinion and text block hear a sentence model, too",
        config=with_sentences,
    ),
    ours(
        "ours_order_shuffled",
        "`ours`, what a user did dealt to the user's times at random",
        alteration=Alteration("order_shuffled", shuffle_order),
    ),
    ours(
        "ours_times_redrawn",
        "`ours`, times drawn evenly between a user's first and last",
        alteration=Alteration("times_redrawn", redraw_times),
    ),
    Candidate(
        "ours_without_target",
        "ours",
        "`ours`, the target's column empty",
        fit_without_target,
        altered_from="ours",
    ),
    ours(
        "ours_with_noise",
        "`ours`, with a column of random values as a session id would be",
        alteration=Alteration("noise", add_noise),
    ),
    *ABLATIONS,
    *(candidate for share in LABEL_SHARES for candidate in with_labels(share)),
)


def chosen(names: Sequence[str], among: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates of these names, all if there are none.

    Raises:
        UsageError: If there is no candidate of a name.
    """
    known = {candidate.name for candidate in among}
    for name in names:
        if name not in known:
            raise UsageError(f"there is no method {name}; there are {', '.join(sorted(known))}")
    return tuple(candidate for candidate in among if not names or candidate.name in names)
