"""`python -m motet` is the command line."""

import sys

from motet.cli import main

sys.exit(main())
