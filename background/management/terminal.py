"""Own the look of the terminal."""
import logging, sys
def configure_logging(stream=None, verbosity=1, **k): logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
def banner(lines, **k): [print(*l) for l in lines]
