"""The command line: `pillarbox …` or `python -m relay …`."""

from relay.cli.app import app


def main() -> None:
    app(prog_name="pillarbox")


if __name__ == "__main__":
    main()
