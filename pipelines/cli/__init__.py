"""The command line, one module per group of commands."""

FAILED = 1  # exit code: the command did not finish
ROWS_FAILED = 3  # exit code: finished, but rows are bad or failed
STOPPED = 130  # exit code, as shells give it to a program that Ctrl-C ended
