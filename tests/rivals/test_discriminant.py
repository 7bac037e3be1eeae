import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from motet.rivals.discriminant import ShrinkageLDA


@pytest.mark.parametrize(
    ("n_rows", "n_inputs", "n_classes"), [(60, 10, 3), (60, 300, 8), (40, 5, 2), (9, 3, 2), (30, 1, 2)]
)
def test_it_is_scikit_learns_to_rounding(n_rows, n_inputs, n_classes):
    rng = np.random.default_rng(0)
    classes = np.arange(n_rows) % n_classes
    rates = np.exp(0.2 * rng.normal(size=(n_classes, n_inputs)))
    x, x_test = (np.sqrt(rng.poisson(rates[codes])).astype(float) for codes in (classes, classes[:20]))
    if n_inputs > 4:
        x[:, 2] = 0.0  # silent
        x[classes == 0, 3] = 0.0  # silent in one class
    plain = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x, classes)
    found = ShrinkageLDA().fit(x, classes)
    assert np.allclose(found.predict_log_proba(x_test), plain.predict_log_proba(x_test), atol=1e-6)
    assert found.n_parameters == n_classes * (n_inputs + 1)


def test_classes_need_rows():
    with pytest.raises(ValueError, match="too few"):
        ShrinkageLDA().fit(np.eye(2), np.array([0, 1]))
