"""python -m pynn selftest: does this build on this machine give the bits of the arithmetic contract?"""

from __future__ import annotations

import argparse
import sys

from . import _calls, _gate, threads
from ._library import __version__
from .errors import PynnError


def main(arguments: list[str] | None = None) -> int:
    """Prints every run of the self-test with the SHA-256 of its results.

    Returns 0 if all are right, 1 if some are not, 2 if nothing could be computed.
    """
    parser = argparse.ArgumentParser(prog="python -m pynn", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("selftest", help="compare training and prediction with stored digests")
    command.add_argument("--threads", type=int, default=1, help="threads that share the work (1)")
    given = parser.parse_args(arguments)
    try:
        workers = _gate.integer("threads", given.threads, 1, threads.MOST)
        print(f"pynn {__version__}, {_calls.instruction_set()}, {workers} thread{'s' * (workers > 1)}")
        wrong = 0
        for name, digest, right in _calls.selftest(workers):
            print(f"{name:22} {digest} {'ok' if right else 'WRONG'}", flush=True)
            wrong += not right
    except PynnError as error:
        rule = _calls.broken_rule()
        print(f"pynn: {error}" + (f"; {rule}" if rule else ""))
        return 2
    if wrong:
        print(f"{wrong} wrong: this build or machine does not keep the arithmetic contract")
    else:
        print(f"all right: version {_calls.contract()} of the arithmetic contract")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
