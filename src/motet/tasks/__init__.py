"""What motet does for you: for each verb of the command line one settings class and one function."""
