"""Models: the EIT and its layers, the EIT as released (`reference`), and the baselines."""
