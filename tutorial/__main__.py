"""`make tutorial`: run as `.venv/bin/python tutorial`. No package: what starts commands is nothing that a config can name."""

import sys

import page

from seedbed import quiet

quiet.install()
sys.exit(page.main(sys.argv[1:]))
