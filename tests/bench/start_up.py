"""Start-up time of each stage in seconds: imports and checks of settings.

`python -m tests.bench.start_up`: the minimum of three starts; each process ends
before the stage's work.
"""

import subprocess
import sys
import time

from pipelines.settings import paths, yaml_files

PROGRAM = "import pipelines.{stage}; from pipelines.settings import params; params.load()"


def main() -> None:
    """Prints one line per stage."""
    for stage in yaml_files.read_yaml(paths.DVC_YAML)["stages"]:
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", PROGRAM.format(stage=stage)], check=True)
            seconds.append(time.perf_counter() - start)
        print(f"{stage}: {min(seconds):.1f} s", flush=True)


if __name__ == "__main__":
    main()
