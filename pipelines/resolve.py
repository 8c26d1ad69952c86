"""Stage `resolve`: the settings of every other stage, with the version of its code.

Writes `outputs/resolve/`: `<stage>.json`, or `<stage>/<model>.json` for each selected model,
`seeds.json`, and `tune/<study>.json` for each study of tune.yaml. A stage depends on its file, so a
change of a comment, a docstring or a setting of another model does not rerun it.
"""

from pipelines.settings import command_line, files, params, paths, resolved, resolving
from pipelines.settings.errors import exit_on_user_error


@exit_on_user_error
def main() -> None:
    """Runs the stage."""
    command_line.parser("resolve", __doc__).parse_args()
    settings = params.load()
    with files.new_folder(paths.RESOLVE) as folder:
        resolving.write(settings, list(resolved.STAGES.values()), settings.trained, folder)
        resolving.write_studies(settings, folder)
    print(
        f"params.yaml: {len(settings.trained)} of {len(settings.models)} models selected "
        f"({', '.join(settings.trained)}), seeds {settings.seeds}, "
        f"data set {settings.prepare.dataset}"
    )
    for name in settings.trained:
        params.warn(settings, name)


if __name__ == "__main__":
    main()
