"""`python -m resnets`: the command `resnets`."""

import sys

from resnets.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
