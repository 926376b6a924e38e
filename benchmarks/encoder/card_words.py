"""What a model card says that no result file can: what the model is, is for, and is not for.

Sections follow Mitchell et al. 2019, "Model Cards for Model Reporting", FAT* (arXiv:1810.03993).
"""

from index.risk.config import RiskConfig

_RISK = RiskConfig()

HEAD = """\
# Model card

<!-- Made by `python -m benchmarks.encoder.card > docs/model-card.md` from result files and the
     words beside it in `benchmarks/encoder/`; change those, not this. -->

A card for the models that `lookalike train` and `lookalike rebuild` make, in the order of \
Mitchell et al. 2019 ([Model Cards for Model Reporting](https://arxiv.org/abs/1810.03993)).
No weights are shipped: everybody trains on their own events, so the figures tell how good \
models made this way were on the data sets named here.
Measure your own with `lookalike evaluate`; where its figures and these differ, yours count.
"""

MODEL = """\
## The model

- **Vector.** A user's events become one unit vector, composed of blocks: behavior (a network \
over the events), conduct and opinion (learned from labels), statistics, targets, and text where \
a sentence model is set ([decision](adr/0003-composite-vector.md)).
  A similarity is the sum of its blocks' shares.
- **Risk.** Known violators and others of equal age vote among the neighbors; a logistic \
regression stacks this vote and the vector's opinion, and a calibration on held-out users makes \
it a probability with an interval and a band ([decision](adr/0005-equal-age-risk.md)).
- **Answers.** `likely`, `possible`, `unlikely` or `insufficient_data`, beside the look-alikes \
and the evidence for each.
- **Trained on** the events and labels of one platform, without a GPU, in minutes.
  A fifth of the users is held out of the labels that the encoder is told, for the risk to be \
fitted on.
- **Version.** The space id is a hash of all that decides what a vector is; answers, exports and \
builds carry it.
- **Licence.** Apache-2.0, for the code; a trained model is made of a platform's own data and is \
the platform's to decide on."""

USES = """\
## Intended use

| who | for what |
|---|---|
| moderators | to find the known violators who behave like a user, see why, and decide |
| risk models of the platform | neighbor features as one input among others, online and past |
| nightly jobs | to keep the index as it was yesterday or better |

It ranks whom a person should look at first.
It is built for platforms with some hundred known violators and labels that say when something \
happened and when it was known."""

NOT_FOR = f"""\
## It must not be used for

- **Automatic bans, or any penalty without a person** who looked at the evidence and may \
disagree; the precision of a band is a share of users, not a finding about one.
- **Employment, credit, insurance, housing, education, border control or law enforcement.**
- **Inferring protected traits**, such as origin, religion, health, sexuality, age or politics, \
or finding users by them.
  Hours, languages, places and habits go with such traits, so a block or a cluster may tell \
them; do not name clusters after people.
- **Evidence of identity on its own.** Two accounts that behave alike may be a household, a \
school class, a script or chance.
- **Users of too few events.** Below {_RISK.events_min} events the answer is \
`insufficient_data`, below {_RISK.likely_events_min} nobody is `likely`; that is no sign of \
innocence and must not be worked around.
- **Platforms whose event schema has changed since the training**: a column renamed, a type \
split, a client that sends other events.
  Columns that are gone read as empty and new ones are not read, without an error; train \
again, and measure before you publish.
- **Another platform than the one it was trained on.** Vectors of another space are refused; \
events of another platform are not, and the answers mean nothing.
- **Tracking people across services**, or looking for critics, sources or private contacts.
- **Measuring how many violators there are**: labels are of those who were caught."""

METRICS = """\
## How it was measured

- *AUC*: how often, of a violator and another user, the violator has the higher risk.
  *Recall at 95 % precision*: the share of violators found when 95 % of those found are violators.
  *Calibration error*: how far the probabilities are from the shares of violators, over bins; \
lower is better, as with the Brier score.
- *Reciprocal rank, CSLS*: one over the rank at which the right account is found, with the hub \
correction that `lookalike` ranks with.
  *hit@1*: how often it is the first.
- *Simple methods* stand beside every figure, on the same users, fields and labels; the best is \
picked on the very users who are judged, which favors it.
- Brackets hold 95 % intervals of a bootstrap over users, over whole groups where \
groups are looked for; leads are paired.
  *Ahead* and *behind* are said only where the interval of the lead is all on one side, else \
the two are *level*.
  Many are compared: where nothing differs, one in twenty is called different all the same.
  Intervals tell of other users, not of other trainings.
- Users who are judged were not learned from.
  But some choices of the design were made by looking at users who are judged here, which favors \
`lookalike`; [experiments](experiments.md#looks-at-the-test-users) lists every look."""

FAILURES = """\
## Known failures

- **A pause is told from a stop by the length of the silence alone.** Right after an event users \
are judged like all who came so far, after a long silence like those who stopped; where no \
silence is told, as in figures by first events, everyone is judged as having stopped.
  Whether a moderator looked meanwhile is not told \
([decision](adr/0005-equal-age-risk.md)).
  Early detection in results of before the risk heard silences, and in those whose commit is not \
recorded, has more alarms.
- **The vectors of users whose labels the encoder was told bear these labels.** Similarity among \
known violators looks better than it is for newcomers; risk is fitted and proven on users whose \
labels it was not told.
- **The same person with different habits.** Where a person's hours and gaps change from one \
account to the next, the statistics dominate the vector and mislead: evaders on simulated \
platforms were found better without that block than with the weights that were learned first \
([experiments](experiments.md)).
- **Halves of a life with hundreds of targets.** The sketch of the targets is noisy for heavy \
users, and the exact TF-IDF of what they visited finds the other half better \
([experiments](experiments.md)).
- **Rings say too little of chance.** The share of a ring's members whom chance explains is told \
too low, few planted rings are found, and hardly any whole ([experiments](experiments.md)).
- **Columns that betray the sample.** Where benign users were drawn by something that is also a \
column, every method looks good; `lookalike audit` finds single such columns, not leaks spread \
over several ([decision](adr/0010-leak-audit.md)).
- **Imitation.** Nothing was measured against violators who know the system and copy ordinary \
users.
- **Change.** A new kind of violation looks like nobody known; it is missed until some of it is \
labelled and a model is trained or a build is made."""

LABELS = """\
## Labels and feedback

- Benign means "not caught yet". Where violators among the benign were never caught precision is \
told too low; recall is of those who were caught, and nobody knows it of the others.
- Labels carry the judgement of those who labelled: what they overlooked, or punished in one \
group more than in another, is learned and repeated.
- **Feedback.** Whoever the model points at is looked at more, so more of them are labelled, and \
the next model is surer of the same kind.
  Keep `source` with every label, review a random sample that no model chose, and measure on \
that sample.
- Decisions that were reversed belong in the labels as revoked, or the model goes on learning \
from them.
  Send the same row again with `revoked_at`, every other column the same, by \
`lookalike ingest labels`.
- `lookalike audit` warns of benign labels that are too young and of label times that can't be."""

PRIVACY = """\
## Privacy and erasure

- Vectors, neighbors and risks are personal data: they tell habits and hours of a person, and a \
vector can be compared with others.
  Keep exports as you keep events.
- Networks learn from sequences of many users; how much of one user can be read back from the \
weights was not measured.
- A user who is erased leaves events, labels and old builds at once, every answer within seconds, \
and the files of the live build with the next rebuild.
  Until then the vote and place in a ring still count for others.
  **A model that was trained with the user keeps what it learned until it is trained again**; \
set a time for that.
- Every read of a user leaves an audit row, logs have hashed ids and no content of events.

## Time honesty

- Nothing a user did at or after the violation is used for that user, and `--as-of` sees neither \
later events nor later labels; tests hold both byte by byte \
([invariants](../ARCHITECTURE.md#invariants)).
- The data sets here lie in the past, and so do the habits in them.
- Where users, not time, are split, whoever is learned from is seen with what came after the cut \
too; `lookalike evaluate --cut` is stricter."""

ADVICE = """\
## Advice

- Run `lookalike audit` and `lookalike evaluate` on your own data before anyone acts on an \
answer, and after every change of clients or events.
- Ask for a precision per policy where a wrong `likely` costs more \
([decision](adr/0009-bands-by-policy.md)), and convert precision to your own base rate.
- Tell users that behavior is compared, and let them appeal to a person.
- Compare error rates between groups of users that matter on your platform; the data sets here \
have no such groups, so it was **not measured** whether benign users of one group are called \
risky more often than of another."""

DATA_SETS = {
    "wiki-vandals": "edits of Wikipedia accounts, some blocked as vandals later (Kumar, Spezzano, "
    "Subrahmanian, KDD 2015)",
    "git-identities": "commits to public repositories by people with several accounts",
    "simulated": "a platform made by `lookalike`'s simulator",
}
METHODS = {"lookalike": "lookalike", "boosted_trees": "boosted trees", "tfidf": "TF-IDF"}
