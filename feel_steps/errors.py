"""The one exception a user is meant to read."""


class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one line that names the file and the key, column or row, what was expected, and what to do. The
    command line prints it without a traceback and exits with status 1.
    """
