"""What users fit: scikit-learn estimators, all on one base."""
