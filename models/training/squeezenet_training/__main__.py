"""`python -m squeezenet_training COMMAND`; see the README beside this package."""

import argparse

from . import anywhere, balance, calibrate, classify, compare, descriptors, export, guard, quantize, segment

COMMANDS = {
    "classify": classify, "segment": segment, "anywhere": anywhere, "balance": balance, "calibrate": calibrate,
    "descriptors": descriptors, "export": export, "guard": guard, "quantize": quantize, "compare": compare,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="squeezenet_training", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        module.add_arguments(subparsers.add_parser(name, help=module.__doc__))
    args = parser.parse_args()
    COMMANDS[args.command].run(args)


if __name__ == "__main__":
    main()
