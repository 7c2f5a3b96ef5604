"""``shifted_clock.py MINUTES COMMAND…``: the command ``evercgm COMMAND…`` on a machine whose clock is wrong."""

import sys
from datetime import datetime, timedelta

from evercgm.provider_kit import clock

if __name__ == "__main__":
    right, off = clock.utc_now, timedelta(minutes=float(sys.argv[1]))

    def wrong() -> datetime:
        return right() + off

    # Before anything else is loaded: all of the service reads the time of its machine by this.
    clock.utc_now = wrong
    from evercgm.cli.main import main

    sys.argv = ["evercgm", *sys.argv[2:]]
    main()
