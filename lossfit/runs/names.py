"""Names that logs give to the columns that lossfit knows, and which losses are read.

Names (`lossfit.runs.aliases`) are compared in plain form (`plain_name`): ``Train Loss``,
``train/loss`` and ``trainLoss`` are one name.  Training and validation losses are never mixed, and
a component of a loss (a box loss, a regulariser) is read only when it is asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.errors import DataError
from .aliases import ALIASES, NESTS, RUN_LIKE, VALIDATION
from .cleaning import Flag
from .frames import COLUMNS, MEASURE
from .known import close_to, listed

if TYPE_CHECKING:
    import pandas as pd

RATE = re.compile(
    r"^(?:(?:train|training|trainer|optim\d*|optimizer|opt|scheduler)_)?"
    r"(?:base_|current_|cur_|last_|max_|step_)?(?:lr|lrate|learn_rate|learning_rate|learningrate)"
    r"(?:_(?!mult|scale|factor|ratio)[a-z]\w*?)??(?:_?(?:group|pg|param_group|g)_?\d+)?(?:_?\d)?$"
)
TRAINED_ON = re.compile(r"(?<![a-z])(?:train|training|tr|trn)(?![a-z])")
# Further columns of validation losses: OLMo's eval/c4_en-validation/CrossEntropyLoss, eval_g0_loss.
HELD_OUT = re.compile(
    r"(?<![a-z])(?:val|valid|validation|validate|validating|eval|evals|evaluate|evaluation"
    r"|evaluating|test|testing|dev|held_?out|hold_?out)(?![a-z])"
)
LOSS = re.compile(r"(?<![a-z])loss(?:es)?(?![a-z])|logloss|xent(?![a-z])|(?<![a-z])nll(?![a-z])")
NO_LOSS = re.compile(
    r"(?<![a-z])(?:scale|scaler|weight|weights|coef\w*|coeff\w*|lambda|ratio|vs|best|min|lowest|std"
    r"|stdev|var|variance|num|n|grad|norm|rate|diff|delta|improvement|patience|runtime|time|took"
    r"|seconds|spike|spikes)(?![a-z])"
)
COMPONENT = re.compile(
    r"box|(?<![a-z])(?:cls|class|classifier|dfl|obj|objectness|giou|ciou|iou|mask|masks|dice|rpn"
    r"|aux\w*|balanc\w*|load|router|routing|regular\w*|reg|l1|l2|z|kl|kld|kl_?div|gan|adv|disc\w*"
    r"|gen|generator|vq|commit\w*|codebook|perceptual|lpips|style|content|policy|value|critic|actor"
    r"|pg|vf|q|pose|kobj|seg|sem|depth|mtp|distill\w*|align\w*|contrastive|recon\w*|penalty|kpt"
    r"|keypoint|centerness|ins|cate|cardinality|tok2vec|tagger|parser|ner|textcat|(?<!cross_)entropy"
    r"|ce_\d+|loss\d+|s\d|d\d|head\d*|layer\d*)(?![a-z])|loss_\d+$|_\d+$"
)
# Measures that are no "loss" by name and may be the objective.
OBJECTIVE = re.compile(
    r"(?<![a-z])(?:logloss|rmsle|rmse|mape|mae|mse|merror|error|nll|xent|cross_entropy|crossentropy"
    r"|bpb|bpc|deviance|ce|l1|l2|poisson|tweedie|huber|mlogloss|binary_logloss|multi_logloss"
    r"|perplexity)(?![a-z])"
)
TOTAL = re.compile(r"(?<![a-z])(?:total_loss|loss_total)(?![a-z])")
MOVING = re.compile(
    r"(?<![a-z])(?:ema|ewma|ewm|sma|smooth|smoothed|smoothened|debiased|moving|running|rolling|avr)"
    r"(?![a-z])"
)
CAMEL = re.compile(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
NO_WORD = re.compile(r"[\s:=./\\|,;'\"()\[\]{}<>-]+")


@lru_cache(maxsize=16384)
def plain_name(name: str) -> str:
    """A column's name in lower case with one underscore between words; a leading one stays."""
    words = CAMEL.sub("_", name.strip()) if not name.isupper() else name.strip()
    plain = re.sub(r"__+", "_", NO_WORD.sub("_", words).lower())
    return plain.rstrip("_") if plain.startswith("_") and name[:1] == "_" else plain.strip("_")


KNOWN_ROLE = {alias: known for known, aliases in reversed(ALIASES.items()) for alias in aliases}


@lru_cache(maxsize=16384)
def role_of(name: str) -> str:
    """What a column of that name holds.

    One of the keys of `ALIASES`, "val_loss", "other_loss" for a further loss, or "".
    """
    plain = plain_name(name)
    if plain in KNOWN_ROLE:
        return KNOWN_ROLE[plain]
    if plain in VALIDATION:
        return "val_loss"
    if RATE.match(plain):
        return "lr"
    rest = _without_nest(plain)
    if rest != plain and KNOWN_ROLE.get(rest, "loss") != "loss":
        return KNOWN_ROLE[rest]
    return "other_loss" if is_loss(name) else ""


def _without_nest(plain: str) -> str:
    """``Train trainer/global_step`` of Composer, or ``data/step``, as the name at its end."""
    return next((plain.removeprefix(nest) for nest in NESTS if plain.startswith(nest)), plain)


def is_loss(name: str) -> bool:
    """Whether a column holds a loss by its name, a component or one of held-out data included."""
    plain = plain_name(name)
    return LOSS.search(plain) is not None and not NO_LOSS.search(plain)


@lru_cache(maxsize=16384)
def may_be_loss(name: str) -> bool:
    """Whether a column is a loss, or a measure that may be the objective, by its name."""
    role = role_of(name)
    return role in ("loss", "val_loss", "other_loss") or bool(OBJECTIVE.search(plain_name(name)))


def is_held_out(name: str) -> bool:
    """Whether a column is about data that are not trained on."""
    return HELD_OUT.search(plain_name(name)) is not None


def is_of_training(name: str) -> bool:
    """Whether a column says that it is about data that are trained on."""
    return TRAINED_ON.search(plain_name(name)) is not None


@lru_cache(maxsize=16384)
def is_moving_average(name: str) -> bool:
    """Whether a loss is smoothed over the steps before it, by its name.

    ``loss_ema``, ``smoothed loss``, ``running_loss``, ``avr_loss``; not ``avg_loss``, which mostly
    is a mean over a batch or over the steps since the last line.
    """
    return MOVING.search(plain_name(name)) is not None


def is_component(name: str) -> bool:
    """Whether a loss is one of several that are added up."""
    return COMPONENT.search(plain_name(name)) is not None


def validation_columns(columns: Sequence[str]) -> list[str]:
    """The columns with validation losses, the preferred one first; components are left out."""
    by_name = {plain_name(column): column for column in reversed(columns)}
    found = [by_name[name] for name in VALIDATION if name in by_name]
    losses = [column for column in columns if is_held_out(column) and is_loss(column)]
    if not found and not losses:  # "valid_1's l2" is no component
        return [c for c in columns if is_held_out(c) and OBJECTIVE.search(plain_name(c))]
    return found + [c for c in losses if c not in found and not is_component(c)]


def loss_column(
    columns: Sequence[str],  # columns of the log that hold numbers
    loss: str,  # "train", "val" or the name of a column
) -> tuple[str | None, str]:
    """The column to read as the loss, and what it holds: "train", "val" or "named".

    Raises `DataError`: ``loss`` names a column that is not there; several could be meant; there are
    only components.

    Returns
    -------
    column : str or None
        None where there is no such column.
    kind : str
    """
    if loss == "train":
        train = _training_column(columns)
        if train is not None:
            return train, "train"
    elif loss != "val":
        return named_column(loss, columns, "loss= names", " 'train', 'val'"), "named"
    held_out = validation_columns(columns)
    if not held_out:
        parts = [c for c in columns if is_held_out(c) and is_loss(c)]
        if parts:
            raise DataError(_choose("validation", parts))
        return None, loss
    if len(held_out) > 1 and plain_name(held_out[0]) not in VALIDATION:
        raise DataError(
            f"there are {len(held_out)} columns of validation losses ({listed(held_out, 8)}): say "
            f"which with loss={held_out[0]!r}"
        )
    return held_out[0], "val"


def _training_column(columns: Sequence[str]) -> str | None:
    by_name = {plain_name(column): column for column in reversed(columns)}
    losses = [c for c in columns if is_loss(c) and not is_held_out(c)]
    whole = [c for c in losses if not is_component(c)]
    raw = [c for c in whole if not is_moving_average(c)]
    for alias in ALIASES["loss"]:
        if alias in by_name:
            if is_moving_average(alias) and len(raw) == 1:
                return raw[0]
            return by_name[alias]
    whole = raw or whole
    totals = [c for c in whole if TOTAL.search(plain_name(c))]
    if len(whole) == 1 or len(totals) == 1:
        return (totals or whole)[0]
    if losses:
        raise DataError(_choose("training", whole or losses, bool(whole)))
    if any(is_loss(column) for column in validation_columns(columns)):
        return None
    objectives = [c for c in columns if OBJECTIVE.search(plain_name(c)) and not is_held_out(c)]
    if len(objectives) > 1:  # exp(loss) says nothing more
        objectives = [c for c in objectives if "perplexity" not in plain_name(c)] or objectives
    if len(objectives) > 1:
        raise DataError(_choose("training", objectives, True))
    return objectives[0] if objectives else None


def _choose(kind: str, columns: Sequence[str], whole: bool = False) -> str:
    what = "losses" if whole else "component losses"
    which = (
        f"there are {len(columns)} {what}" if len(columns) > 1 else f"there is one of the {what}"
    )
    return (
        f"{which} of {kind} ({listed(columns, 8)}) and none that is known to be the whole: choose "
        f"one with loss={columns[0]!r} (--loss on the command line)"
    )


def named_column(name: object, columns: Sequence[str], who: str, besides: str = "") -> str:
    """The column that a user means by that name.

    Raises `DataError`: there is none; ``who`` begins the message.
    """
    if isinstance(name, int) and not isinstance(name, bool) and 0 <= name < len(columns):
        return columns[name]
    if name in columns:
        return str(name)
    plain = plain_name(str(name))
    same = [column for column in columns if plain_name(column) == plain]
    if len(same) == 1:
        return same[0]
    neither = f"neither{besides} nor a column" if besides else "not there"
    hint = close_to(name, columns) or f"; the columns are {listed(columns)}"
    raise DataError(f"{who} {name!r}, which is {neither}{hint}")


def with_known_names(
    frame: pd.DataFrame,  # columns as in the log
    # what the user says: ``{"loss": "val/loss"}`` reads that column as the loss
    columns: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, list[Flag]]:
    """The frame with the names that lossfit knows, and a flag that says what was renamed.

    Raises `DataError`: ``columns`` names a column that is not there, or one that lossfit does not
    know.
    """
    names = [str(column) for column in frame.columns]
    named: dict[str, str] = {}
    for known, column in (columns or {}).items():
        if known not in COLUMNS:
            raise DataError(f"columns= knows {', '.join(COLUMNS)}; got {known!r}")
        named[named_column(column, names, "columns= names")] = known
    for column in (column for column, known in named.items() if known == "loss"):
        _check_falls(frame, column)
    taken = set(named.values())
    by_name: dict[str, list[str]] = {}
    for column in names:
        by_name.setdefault(plain_name(column), []).append(column)
    for known, aliases in ALIASES.items():
        if known in taken or known == "loss" or known in names:
            continue
        match = _first(frame, known, aliases, by_name, named)
        if match is not None:
            named[match] = known
    given = set(named.values())
    # A column that already bears a name which the user gave to another one steps aside.
    aside = {c: f"{c} (not used)" for c in names if c in given and c not in named}
    frame = frame.rename(columns={**named, **aside})
    renamed = [f"{column} -> {known}" for column, known in named.items() if column != known]
    if not renamed:
        return frame, []
    return frame, [Flag(None, "renamed_columns", len(renamed), ", ".join(renamed))]


def _check_falls(frame: pd.DataFrame, column: str) -> None:
    """Raise `DataError` where the column to read as the loss is an accuracy or so, and rises."""
    import pandas as pd

    plain = plain_name(column)
    if not MEASURE.search(plain) or "err" in plain or may_be_loss(column):
        return
    values = pd.to_numeric(frame[column], errors="coerce").dropna()
    part = len(values) // 3
    if part and values[-part:].median() > values[:part].median():
        raise DataError(
            f"the column {column!r} reads like an accuracy, and rises: lossfit forecasts what "
            f"falls; add a column of the error, 1 - {column} (or 100 - {column}), and name that"
        )


def _first(
    frame: pd.DataFrame,
    known: str,
    aliases: tuple[str, ...],
    by_name: Mapping[str, Sequence[str]],
    named: Mapping[str, str],
) -> str | None:
    """The column that holds what ``known`` means: the first of its names that is filled."""
    candidates = [c for alias in aliases for c in by_name.get(alias, ()) if c not in named]
    if known == "lr":
        candidates += [
            c for name, cs in by_name.items() if RATE.match(name) for c in cs if c not in named
        ]
    if known != "run" and not candidates:
        candidates = [
            column
            for name, own in by_name.items()
            for column in own
            if column not in named and _without_nest(name) in aliases
        ]
    # It may be the schedule's name.
    candidates = [c for c in candidates if plain_name(c) != "sched" or _numeric(frame[c])]
    if known == "run" and not candidates:
        candidates = [c for alias in RUN_LIKE for c in by_name.get(alias, ()) if _several(frame[c])]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    filled = [int(frame[c].notna().sum()) for c in candidates]
    enough = max(filled) * (0.9 if known == "step" else 0.5)
    candidates = [c for c, count in zip(candidates, filled, strict=True) if count >= enough]
    if known == "step" and len(candidates) > 1 and falls(frame[candidates[0]]):
        # A counter within epochs, where another counts all steps.
        return next((c for c in candidates if not falls(frame[c])), candidates[0])
    return candidates[0]


def falls(values: Any) -> bool:
    """Whether the numbers of a column go down somewhere; False for a column of text."""
    if values.dtype.kind not in "if":
        return False
    known = values.to_numpy(dtype=float)
    known = known[~np.isnan(known)]
    return bool((known[1:] < known[:-1]).any())


def _numeric(values: Any) -> bool:
    return bool(values.dtype.kind in "if")


def _several(values: Any) -> bool:
    """Whether a column tells runs apart: a few values, each in several rows."""
    try:
        counts = values.value_counts().to_numpy()
    except TypeError:
        return False
    return 1 < len(counts) <= max(len(values) // 3, 1) and bool(np.median(counts) >= 3)
