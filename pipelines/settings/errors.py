"""How a mistake of the user's ends a command: one line and exit code 1, never a traceback."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class UserError(ValueError):
    """A mistake of the user's, in one line: the key or file, the value and what is allowed."""


def exit_on_user_error(command: Callable[P, None]) -> Callable[P, None]:
    """Decorates a command: a `UserError` is printed as one line, Ctrl-C ends it quietly."""

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
        except BrokenPipeError:  # as of `| head`; what is left in the buffer has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    return wrapped
