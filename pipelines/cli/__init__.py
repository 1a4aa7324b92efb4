"""The command line, one module per group of commands."""

FAILED = 1  # exit code of a command that did not finish
ROWS_FAILED = 3  # exit code of a finished command with bad or failed rows
STOPPED = 130  # exit code after Ctrl-C, by the convention of shells
