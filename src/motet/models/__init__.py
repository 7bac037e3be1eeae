"""Models: the EIT and its layers, the EIT as released (`reference`), laws of motion, pairs and groups."""
