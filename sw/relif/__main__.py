"""`python -m relif` is the command `relif`."""

import sys

from .cli import main

sys.exit(main())
