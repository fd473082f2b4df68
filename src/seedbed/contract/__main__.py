"""The door of the process that measures: quiet libraries first, as in `seedbed.__main__`."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from seedbed import quiet
from seedbed.contract import work
from seedbed.run import children

children.guard()
quiet.install()
sys.exit(work.main())
