"""Opens the MLflow UI on the store of this checkout, with links to the pages worth seeing first.

The plain start page of MLflow shows a table without metrics, so the first link is the saved view
`leaderboard`. Before the server starts, the store is completed, which heals a lost database.
"""

import argparse
import os
import socket
import sys

from pipelines import publish
from pipelines.settings import command_line, paths
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.tracking import registry, saved_views
from pipelines.tracking import store as tracking

HOST = "127.0.0.1"


def complete_store() -> None:
    """Publishes what the last `dvc repro` left; without outputs says so in one line."""
    try:
        publish.publish()
    except UserError as error:
        print(f"nothing to publish yet: {error}")


def check_port(port: int) -> None:
    """Refuses a port that is taken, or none.

    Raises:
        UserError: Names the port and the option that chooses another.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: a port is a number from 1 to 65535")
    with socket.socket() as listener:
        # As the server does it: connections of a server that just ended do not block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            raise UserError(
                f"port {port} is taken; choose another one with `--port {port + 1}`"
            ) from None


def links(server: str) -> dict[str, str]:
    """What to open, by name, the most useful first; empty if the store is away."""
    store = tracking.open_store()
    pipeline = store.experiment_id(tracking.PIPELINE)
    reports = store.experiment_id(tracking.REPORTS)
    if pipeline is None or reports is None:
        return {}
    found = {
        "leaderboard": saved_views.link(server, pipeline, saved_views.LEADERBOARD),
        "by model": saved_views.link(server, pipeline, saved_views.BY_MODEL),
        "curves": saved_views.link(server, pipeline, saved_views.CURVES),
        "reports": saved_views.link(server, reports, saved_views.LEADERBOARD),
    }
    for name, experiment_id in store.studies().items():
        found[name] = saved_views.link(server, experiment_id, saved_views.LEADERBOARD)
    registered = registry.link(store, server)
    if registered is not None:
        found["registry"] = registered
    if paths.REPORT.is_file():
        found["report file"] = str(paths.REPORT)
    return found


def server_command(port: int) -> list[str]:
    """The command of a server that only this machine reaches."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    # Another name in the Host header means that a foreign page talks to the server.
    hosts = f"{HOST}:{port},localhost:{port}"
    origins = f"http://{HOST}:{port},http://localhost:{port}"
    command += ["--allowed-hosts", hosts, "--cors-allowed-origins", origins]
    command += ["--artifacts-destination", str(paths.MLFLOW_ARTIFACTS.absolute())]
    return [*command, "--workers", "1"]


def server_environment() -> dict[str, str]:
    """The environment of the server: an address may hold a password, and `ps` shows arguments."""
    return os.environ | {"MLFLOW_BACKEND_STORE_URI": tracking.store_uri()}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = command_line.parser("ui", __doc__)
    parser.add_argument(
        "--port",
        type=int,
        default=5000,
        metavar="N",
        help=f"port on {HOST}, 1 to 65535 (default: %(default)s)",
    )
    return parser.parse_args()


@exit_on_user_error
def main() -> None:
    """Prints the links, then becomes the server; a store behind a server is already served."""
    port = parse().port
    uri = tracking.store_uri()
    if uri == tracking.OFF:
        raise UserError("MLFLOW_TRACKING_URI=off: nothing is tracked, so there is nothing to show")
    served_elsewhere = tracking.is_remote(uri)
    if not served_elsewhere:
        check_port(port)
    complete_store()
    server = uri.rstrip("/") if served_elsewhere else f"http://{HOST}:{port}"
    found = links(server)
    if not found:
        raise UserError("there is no MLflow store to show; the warning above says why")
    for name, address in found.items():
        print(f"{name:>12}  {tracking.hide_password(address)}")
    print("The assistant on the right hides columns; closed once, it stays closed.", flush=True)
    if not served_elsewhere:
        command = server_command(port)
        os.execve(command[0], command, server_environment())


if __name__ == "__main__":
    main()
