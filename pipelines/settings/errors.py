"""User errors: the command prints one line and ends with exit code 1, without a traceback."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class UserError(ValueError):
    """A mistake of the user, as one line: the key or file, the value and what is allowed."""


def exit_on_user_error(command: Callable[P, None]) -> Callable[P, None]:
    """Decorates a command: a `UserError` is printed as one line, Ctrl-C prints nothing."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # set while the modules were imported
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except UserError as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:  # the reader (`| head`) has ended: discard the rest of the output
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    return wrapped
