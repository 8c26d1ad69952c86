"""Cost of tracking: time of `genmodels train` with the store on and off.

`python -m tests.bench.tracking` trains a shipped model with all seeds in a clone, with the store on
and off in alternation, and prints the ratios of wall time and of processor time (all processes).
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from pipelines.settings import params, paths, yaml_files
from tests.bench.turns import Ratio
from tests.clone import Clone


def spent(clone: Clone, model: str, uri: str) -> tuple[float, float]:
    """Wall time and processor time of one training, in seconds."""

    def processor() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    wall, cpu = time.perf_counter(), processor()
    done = clone.run(sys.executable, "-m", "pipelines.train", model, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - wall, processor() - cpu


def main() -> None:
    """Prints the times of each round and the overall ratio."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tracking", description=__doc__)
    parser.add_argument("--model", default="vae")
    parser.add_argument("--steps", type=int, help="default: as params.yaml says")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    shipped = yaml_files.read_yaml(paths.PARAMS)
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(Path(folder))
        entry = params.load().models[arguments.model]
        steps = arguments.steps or entry["num_steps"]
        clone.settings["prepare"] = shipped["prepare"]
        clone.settings["train"] = shipped["train"]
        clone.settings["models"][arguments.model] = entry | {"num_steps": steps}
        clone.settings["selected"][arguments.model] = entry["kind"]
        clone.write_params()
        create = "from pipelines.tracking.store import open_store; assert open_store().is_on"
        for command in (["-c", create], ["-m", "pipelines.prepare"]):
            assert clone.run(sys.executable, *command).returncode == 0
        store = clone.folder / "mlflow.db"
        empty = store.read_bytes()
        spans: dict[str, list[tuple[float, float]]] = {"on": [], "off": []}
        for number in range(arguments.rounds):
            for name in list(spans)[:: -1 if number % 2 else 1]:
                # A new store, because a complete run is not written again.
                store.write_bytes(empty)
                uri = f"sqlite:///{store}" if name == "on" else "off"
                spans[name].append(spent(clone, arguments.model, uri))
                wall, cpu = spans[name][-1]
                print(f"tracking {name}: {wall:.1f} s, CPU {cpu:.1f} s", flush=True)
        pairs = list(zip(spans["on"], spans["off"], strict=True))
        ratio = Ratio([on[0] / off[0] for on, off in pairs], [on[1] / off[1] for on, off in pairs])
        print(f"{arguments.model}, {steps} steps: on / off {ratio}")


if __name__ == "__main__":
    main()
