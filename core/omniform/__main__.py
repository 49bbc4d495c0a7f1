"""Run the command line as `python -m omniform`."""

import sys

from omniform.cli import main

sys.exit(main())
