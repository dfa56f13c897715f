"""`python -m KidneyTumorCascadeLib`: the command line."""

import sys

from KidneyTumorCascadeLib.cli import main

if __name__ == "__main__":
    sys.exit(main())
