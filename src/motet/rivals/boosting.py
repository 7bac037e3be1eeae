"""Gradient boosting of trees, as many as predict an inner fold best."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from motet.rivals.readings import Rows

Array = NDArray[np.float64]

MOST_ROWS = 20_000  # to learn from
MOST_INPUTS = 400  # those that vary most
MOST_TREES = 100  # for each class or output
N_HELD_OUT = 2  # folds by which their number is tuned
SETTINGS: Mapping[str, Any] = {
    "learning_rate": 0.1,
    "max_leaf_nodes": 8,
    "max_bins": 31,
    "early_stopping": False,
    "random_state": 0,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Boosted:
    """Trees of a class, or of each output of a quantity.

    Attributes:
        models: one, or one for each output.
        inputs: the positions of those that are read.
    """

    models: Sequence[Any]
    inputs: NDArray[np.int64]

    @property
    def n_parameters(self) -> int:
        """Leaves that all trees may have."""
        n_trees = sum(model.n_iter_ * model.n_trees_per_iteration_ for model in self.models)
        return int(n_trees * SETTINGS["max_leaf_nodes"])

    def predict(self, inputs: Array) -> NDArray[Any]:
        """(row,) classes, or (row, output)."""
        found = [model.predict(inputs[:, self.inputs]) for model in self.models]
        return found[0] if hasattr(self.models[0], "classes_") else np.stack(found, axis=1)


def boosted(rows: Rows) -> tuple[Boosted, Mapping[str, Any]]:
    """Gradient boosting; the number of trees is tuned."""
    rows = rows.thinned(MOST_ROWS)
    read = _most_varied(rows.inputs)
    rows = dataclasses.replace(rows, inputs=rows.inputs[:, read])
    is_class = rows.answers.ndim == 1
    outputs = [rows.answers] if is_class else list(rows.answers.T)
    made = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    models, n_trees = [], []
    for answers in outputs:
        one = dataclasses.replace(rows, answers=answers)
        errors = np.sum([_errors(made, one, fold) for fold in np.unique(one.folds)[:N_HELD_OUT]], axis=0)
        n_trees.append(int(np.argmin(errors)) + 1 if errors.shape else MOST_TREES)
        models.append(made(max_iter=n_trees[-1], **SETTINGS).fit(one.inputs, one.answers))
    return Boosted(models, read), {"trees": n_trees}


def _errors(made: Any, rows: Rows, fold: int) -> Any:
    """(tree,) error on a fold of as many trees of the others; 0 if they cannot be fitted."""
    train, test = rows.select(rows.folds != fold), rows.select(rows.folds == fold)
    if len(np.unique(train.answers)) < 2:
        return 0.0
    model = made(max_iter=MOST_TREES, **SETTINGS).fit(train.inputs, train.answers)
    if not hasattr(model, "classes_"):
        return [float(((found - test.answers) ** 2).sum()) for found in model.staged_predict(test.inputs)]
    is_true = test.answers[:, None] == model.classes_
    return [float(((found - is_true) ** 2).sum()) for found in model.staged_predict_proba(test.inputs)]


def _most_varied(inputs: Array) -> NDArray[np.int64]:
    """Positions of inputs, in an order that does not depend on theirs, by which trees break ties."""
    read = np.sort(np.argsort(-inputs.var(axis=0), kind="stable")[:MOST_INPUTS])
    return np.asarray(read[np.lexsort(inputs[:, read])])
