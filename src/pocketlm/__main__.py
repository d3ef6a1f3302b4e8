"""python -m pocketlm: the command line."""

from pocketlm.cli.main import main

if __name__ == "__main__":
    main()
