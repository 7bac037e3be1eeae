"""Estimators of scikit-learn as rivals: options are tuned, and what fails or does not converge is an `InputError`."""

from __future__ import annotations

import dataclasses
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning

from motet.errors import InputError
from motet.rivals.readings import Rows
from motet.rivals.tuning import Options, tune

MOST_TUNING_ROWS = 2000  # by which options are tuned


@dataclasses.dataclass(frozen=True)
class Estimated:
    """Learns an estimator from rows, with the options that predict each inner fold best from all others.

    Attributes:
        made: the estimator of rows, with these options by name.
        options: the values to try.
    """

    made: Callable[..., Any]
    options: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=lambda: types.MappingProxyType({}))

    def __call__(self, rows: Rows) -> tuple[Any, Mapping[str, Any]]:
        tried = rows.thinned(MOST_TUNING_ROWS)
        parts = [
            (tried.select(tried.folds != fold), tried.select(tried.folds == fold)) for fold in np.unique(tried.folds)
        ]
        parts = [(train, test) for train, test in parts if len(np.unique(train.answers)) > 1]

        def loss(chosen: Options) -> float:
            return sum(squared_error(_fitted(self.made(train, **chosen), train), test) for train, test in parts)

        chosen = tune(self.options, loss) if self.options else {}
        return _fitted(self.made(rows, **chosen), rows), chosen


def squared_error(model: Any, test: Rows) -> float:
    """Of a quantity; of a class, that of its probabilities (Brier's score), or of sure answers where it has none."""
    if test.answers.dtype.kind == "f" and not hasattr(model, "classes_"):
        return float(((model.predict(test.inputs).reshape(test.answers.shape) - test.answers) ** 2).sum())
    is_true = test.answers[:, None] == model.classes_
    if hasattr(model, "predict_proba"):
        probability = model.predict_proba(test.inputs)
    else:
        probability = (model.predict(test.inputs)[:, None] == model.classes_).astype(np.float64)
    is_known = is_true.any(axis=1)
    return float(((probability - is_true) ** 2).sum() + (~is_known).sum())


def _fitted(model: Any, rows: Rows) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return model.fit(rows.inputs, rows.answers)
        except ConvergenceWarning as error:
            raise InputError("it does not converge") from error
        except ValueError as error:
            raise InputError(str(error)) from error


class SharedScaler(TransformerMixin, BaseEstimator):
    """Divides √counts by one number, so that their variance is 1 on average.

    The Poisson noise of √counts is the same for all. Scaling each alone would amplify it in neurons that say little,
    and every decoder here does far worse. Where there are fewer rows than inputs, only the space that they span is
    kept: decoders that read inner products alone do not notice.
    """

    def fit(self, inputs: NDArray[np.float64], answers: NDArray[Any]) -> SharedScaler:
        variance = inputs.var(axis=0).mean()
        basis = np.eye(1) if len(inputs) >= inputs.shape[1] else np.linalg.qr(inputs.T)[0]
        self.basis_ = basis / np.sqrt(max(variance, np.finfo(float).tiny))
        return self

    def transform(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        return inputs * self.basis_[0, 0] if self.basis_.shape == (1, 1) else inputs @ self.basis_
