import pytest

from pipelines.settings import command_line


def usage_error(capsys, *arguments):
    parser = command_line.parser("sample", "Draws.")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--num", type=command_line.whole_number(2))
    with pytest.raises(SystemExit) as error:
        parser.parse_args(arguments)
    assert error.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: MODEL"),
        (["vae", "--no"], "unrecognized arguments: --no"),
        (["vae", "--nu", "3"], "unrecognized arguments: --nu 3"),
        (["vae", "--num", "1"], "argument --num: '1': expected a whole number, 2 or more"),
        (["vae", "--num", "x"], "argument --num: 'x': expected a whole number, 2 or more"),
    ],
)
def test_a_usage_error_is_a_usage_line_and_an_error_line(capsys, arguments, message):
    usage = "usage: genmodels sample [-h] [--num NUM] MODEL"
    assert usage_error(capsys, *arguments) == f"{usage}\nerror: {message}\n"
