"""Starts the MLflow UI on the store of this checkout and prints links to its main pages.

The start page of MLflow shows a table without metrics, so the first link is the saved view
`leaderboard`. Before the server starts, the store is completed from the files.
"""

import os
import socket
import sys

from pipelines import publish
from pipelines.settings import command_line, paths
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.tracking import registry, saved_views
from pipelines.tracking.address import OFF, hide_password, is_remote, store_uri
from pipelines.tracking.store import PIPELINE, REPORTS, open_store

HOST = "127.0.0.1"


def _check_port(port: int) -> None:
    """Refuses a port that is in use or no port."""
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: a port is a number from 1 to 65535")
    with socket.socket() as listener:
        # Like the server: connections of a server that has just ended do not block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            raise UserError(
                f"--port {port}: the port is in use; choose another one, such as {port + 1}"
            ) from None


def _links(server: str) -> dict[str, str]:
    """Addresses by name, the most useful first; empty if the store is off."""
    store = open_store()
    pipeline, reports = store.experiment_id(PIPELINE), store.experiment_id(REPORTS)
    if pipeline is None or reports is None:
        return {}
    views = {
        "leaderboard": (pipeline, saved_views.LEADERBOARD),
        "by model": (pipeline, saved_views.BY_MODEL),
        "curves": (pipeline, saved_views.CURVES),
        "reports": (reports, saved_views.LEADERBOARD),
    }
    views |= {name: (study, saved_views.LEADERBOARD) for name, study in store.studies().items()}
    addresses = {name: saved_views.link(server, *view) for name, view in views.items()}
    if registered := registry.link(store, server):
        addresses["registry"] = registered
    if paths.REPORT.is_file():
        addresses["report file"] = str(paths.REPORT)
    return addresses


def server_command(port: int) -> list[str]:
    """The command of a server that only this machine can reach."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    # A page of another site sends its own name in the Host header.
    hosts = f"{HOST}:{port},localhost:{port}"
    origins = f"http://{HOST}:{port},http://localhost:{port}"
    command += ["--allowed-hosts", hosts, "--cors-allowed-origins", origins]
    command += ["--artifacts-destination", str(paths.MLFLOW_ARTIFACTS.absolute())]
    return [*command, "--workers", "1"]


def server_environment() -> dict[str, str]:
    """The environment of the server. The address may contain a password: `ps` shows arguments."""
    return os.environ | {"MLFLOW_BACKEND_STORE_URI": store_uri()}


@exit_on_user_error
def main() -> None:
    """Prints the links and becomes the server, unless the store has a server already."""
    parser = command_line.parser("ui", __doc__)
    parser.add_argument(
        "--port",
        type=int,
        default=5000,
        metavar="N",
        help=f"port on {HOST}, 1 to 65535 (default: %(default)s)",
    )
    port, uri = parser.parse_args().port, store_uri()
    if uri == OFF:
        raise UserError("MLFLOW_TRACKING_URI=off: tracking is off, so there are no runs to show")
    if not is_remote(uri):
        _check_port(port)
    try:
        publish.publish()
    except UserError as error:
        print(f"nothing to publish yet: {error}")
    addresses = _links(uri.rstrip("/") if is_remote(uri) else f"http://{HOST}:{port}")
    if not addresses:
        raise UserError("the MLflow store cannot be shown; see the warning above")
    for name, address in addresses.items():
        print(f"{name:>12}  {hide_password(address)}")
    print("The assistant on the right hides columns; closed once, it stays closed.", flush=True)
    if not is_remote(uri):
        os.execve(sys.executable, server_command(port), server_environment())


if __name__ == "__main__":
    main()
