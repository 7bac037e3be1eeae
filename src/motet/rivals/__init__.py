"""Classical and closed-form methods, which stand beside the model in every table."""
