"""`python -m joyvasa`: the command line."""

from pipelines.cli.main import main

if __name__ == "__main__":
    main()
