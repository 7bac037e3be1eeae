"""The command line: verbs, and the tasks they call. Nothing is imported before a verb is chosen."""

from __future__ import annotations

import codecs
import importlib
import re
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from motet import __version__
from motet.errors import InputError, did_you_mean
from motet.names import visible

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

USAGE = """usage: motet <verb> [options]

Learn from populations of time-series, keeping sight of every individual and of the collective.

  motet data list                 recordings that motet knows by name
  motet data show RECORDING       what is in a recording
  motet data fetch NAME           download a recording, and check it
  motet simulate population       make recordings of simulated subjects
  motet simulate gravity          … of bodies of several systems, only those of one system attract each other
  motet simulate springs          … of particles in a box, half of the pairs joined by springs
  motet simulate charged          … of charged particles in a box, which attract or repel
  motet simulate kuramoto         … of oscillators, half of the pairs pull each other's phase
  motet decode RECORDING …        cross-validated decoding beside classical rivals; leaves a run
  motet predict RUN RECORDING     predictions of a run's model for new trials
  motet interactions train RECORDING …         learn who interacts with whom where it is known; leaves a run
  motet interactions evaluate RUN RECORDING …  score a run beside closed-form rules, on systems of any size
  motet interactions recover RUN FILE          who interacts in trajectories of your own, as tables and a picture
  motet forecast train RECORDING …             learn how individuals move, from trajectories alone; leaves a run
  motet forecast evaluate RUN RECORDING …      errors of a run's forecasts by horizon, beside closed-form rivals
  motet forecast predict RUN FILE              where individuals of your own go next, as tables and a picture

motet <verb> --help tells the options of a verb, with an example. motet --version tells the version.

  motet simulate population --output data
  motet decode data/subject-1.npz --target direction --output runs/first
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it worked, 2 for an `InputError`, 130 if interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _write_plainly_where_letters_lack()
    try:
        return _run(words)
    except InputError as error:
        sys.stderr.write(f"motet: {' '.join(str(error).split())}\n")
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("motet: interrupted; the same command goes on where it stopped.\n")
        return 130


_PLAIN = {
    "…": "...",
    "×": "x",
    "²": "2",
    "³": "3",
    "·": "*",
    "→": "->",
    "−": "-",
    "–": "-",
    "±": "+-",
    "≥": ">=",
    "≤": "<=",
}


def _write_plainly_where_letters_lack() -> None:
    """Write ASCII to a terminal that is not of Unicode: what it lacks is spelt out, or shown by its number."""
    encoding = (sys.stdout.encoding or "utf-8").lower()
    if hasattr(sys.stdout, "reconfigure") and not encoding.startswith("utf"):
        codecs.register_error("motet.plain", _spelt_out)
        sys.stdout.reconfigure(encoding="ascii", errors="motet.plain")


def _spelt_out(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    letter = error.object[error.start]
    return _PLAIN.get(letter, letter.encode("ascii", "backslashreplace").decode()), error.start + 1


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"motet {__version__}\n")
        return 0
    verb, rest = words[0], words[1:]
    if verb in _GROUPS:
        members = _GROUPS[verb]
        if not rest or rest[0] in ("-h", "--help"):
            lines = (line for line in USAGE.splitlines() if line.startswith(f"  motet {verb} "))
            sys.stdout.write("\n".join((f"usage: motet {verb} <{'|'.join(members)}> [options]", "", *lines, "")))
            return 0
        if rest[0] not in members:
            raise did_you_mean(rest[0], members, what=f"word after 'motet {verb}'")
        verb, rest = f"{verb} {rest[0]}", rest[1:]
    if verb not in _VERBS:
        raise did_you_mean(verb, {name.split()[0] for name in _VERBS}, what="verb")
    return _VERBS[verb](rest)


def _parser(verb: str, description: str, example: str) -> ArgumentParser:
    """A parser with --config and --print_config, whose complaints are `InputError`s; no value can name an import."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
            raise InputError(f"{_shortened(message)} (motet {verb} --help tells the options)") from ex

    set_parsing_settings(import_path_denylist=["*"], instantiate_subclass_spec_in_any=False)
    parser = Parser(prog=f"motet {verb}", description=description, epilog=f"example: {example}", allow_abbrev=False)
    parser.add_argument("--config", action="config", help="A YAML file of options; see --print_config.")
    return parser


def _parse(parser: ArgumentParser, words: list[str]) -> Namespace:
    """The options of a command; those on the command line go before those of a file, wherever it is named."""
    from motet.plain import read_options

    options = parser._option_string_actions
    files, rest = [], []
    given = iter(words)
    for word in given:
        name, equals, value = word.partition("=")
        if name == "--config":
            files.append(value if equals else next(given, ""))
            continue
        if name.startswith("--") and not _is_option(name, options):
            raise did_you_mean(name, options, what="option")
        rest.append(word)
    for file in files:
        read_options(file)  # refused here, before the parser sees it
    parsed = parser.parse_args([*(f"--config={file}" for file in files), *rest])
    groups = {name.split(".")[0].removeprefix("--") for name in options if "." in name}
    for name in groups:
        if not isinstance(parsed[name], type(parsed)):
            raise InputError(f"{name} is {parsed[name]!r}; give names and values, such as {name}.<name>=<value>.")
    return parser.instantiate(parsed)


def _is_option(name: str, options: Collection[str]) -> bool:
    """Whether an option is known, or a key inside one that takes names and values."""
    owner = next((known for known in options if name.startswith(f"{known}.")), None)
    return name in options or (owner is not None and not any(known.startswith(f"{owner}.") for known in options))


def _shortened(message: str) -> str:
    """A complaint of jsonargparse about a value, in a few words: the option, what was given, what is allowed."""
    message = " ".join(message.split())
    if "denied by the '*' entry" in message:
        return "a value names a class or a module; options are names and plain values, and nothing is imported for them"
    patterns = (
        r'Parser key "(?P<key>[^"]+)": .*?Subtypes: \[(?P<kinds>.*?)\] Errors: .*? Given value: (?P<value>.*)',
        r'Parser key "(?P<key>[^"]+)": Expected a (?P<kinds>.*?)\. Got value: (?P<value>.*)',
    )
    found = next((match for pattern in patterns if (match := re.fullmatch(pattern, message))), None)
    if found is None:
        return message
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "NoneType": "null", "str": "text"}
    words |= {
        "tuple": "a list such as [1, 2]",
        "list": "a list such as [1, 2]",
        "dict": "names and values as {name: 1}",
    }
    kinds = re.sub(r"typing\.Literal\[(.*?)\]", r"\1", found["kinds"])
    kinds = re.sub(r"<class '(\w+)'>|(\w+)\[[^]]*\]", lambda kind: words.get(kind[1] or kind[2], kind[0]), kinds)
    return f"{found['key']} is {found['value']!r}; give {' or '.join(kinds.split(', '))}"


def _say(text: Any) -> None:
    """Write to standard output; on a terminal, what would steer it is shown as an escape."""
    shown = str(text).removesuffix("\n")
    if sys.stdout.isatty():
        shown = "\n".join(map(visible, shown.split("\n")))
    sys.stdout.write(shown + "\n")


def _data_list(words: list[str]) -> int:
    parser = _parser("data list", "Recordings that motet knows by name.", "motet data list")
    _parse(parser, words)
    from rich.console import Console
    from rich.table import Table

    from motet.data.catalogue import CATALOGUE

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "subject", "what it is", "licence", "source"):
        table.add_column(heading)
    for entry in CATALOGUE.values():
        table.add_row(entry.name, entry.subject, entry.description, entry.licence, entry.citation)
    Console(soft_wrap=True, highlight=False, markup=False, emoji=False).print(table)
    return 0


def _data_show(words: list[str]) -> int:
    parser = _parser("data show", "What is in a recording.", "motet data show reach/chewie-1")
    parser.add_argument("recording", type=str, help="A file, or a name in the catalogue.")
    what = "Options for reading the file, by name, such as {columns: {individual: fish}, targets: [choice]}."
    parser.add_argument("--reading", type=dict[str, Any] | None, default=None, help=what)
    from motet.tasks.find import describe, find_recording

    asked = _parse(parser, words)
    _say(describe(find_recording(asked.recording, asked.reading)))
    return 0


def _data_fetch(words: list[str]) -> int:
    parser = _parser("data fetch", "Download a recording, and check its bytes.", "motet data fetch reach/chewie-1")
    parser.add_argument("name", type=str, help="A name in the catalogue (motet data list).")
    from motet.data.catalogue import fetch

    for path in fetch(_parse(parser, words).name):
        _say(path)
    return 0


def _simulate(system: str) -> Callable[[list[str]], int]:
    def simulate(words: list[str]) -> int:
        from motet.systems import SYSTEMS
        from motet.tasks.simulate import simulate_to_folder

        settings = SYSTEMS[system].settings
        example = f"motet simulate {system} --output data --seed 1"
        parser = _parser(f"simulate {system}", (settings.__doc__ or "").split("\n")[0], example)
        parser.add_argument("--output", type=str, default="data", help="Folder to write recordings to.")
        parser.add_class_arguments(settings, nested_key=None)
        parsed = _parse(parser, words).as_dict()
        output = parsed.pop("output")
        parsed.pop("config", None)
        for path in simulate_to_folder(system, settings(**parsed), output):
            _say(path)
        return 0

    return simulate


def _task(
    module: str, settings_name: str, function_name: str, positionals: dict[str, bool], example: str
) -> Callable[[list[str]], int]:
    """A verb whose options are one settings class."""

    def run(words: list[str]) -> int:
        task = importlib.import_module(module)
        settings, function = getattr(task, settings_name), getattr(task, function_name)
        words_of_example = example.split()
        verb = " ".join(words_of_example[1 : 3 if words_of_example[1] in _GROUPS else 2])
        parser = _parser(verb, (function.__doc__ or "").split("\n")[0], example)
        for name, several in positionals.items():
            parser.add_argument(name, type=str, nargs="+" if several else None, help=_help_of(settings, name))
        parser.add_class_arguments(settings, nested_key=None, skip=set(positionals))
        parsed = _parse(parser, words).as_dict()
        parsed.pop("config", None)
        if text := str(function(settings(**parsed))):  # nothing, in all but the first of several processes
            _say(text)
        return 0

    return run


def _help_of(settings: type[Any], name: str) -> str:
    """What the docstring of a settings class says of one of them."""
    from docstring_parser import parse

    return next(p.description or "" for p in parse(settings.__doc__ or "").params if p.arg_name == name)


_VERBS: dict[str, Callable[[list[str]], int]] = {
    "data list": _data_list,
    "data show": _data_show,
    "data fetch": _data_fetch,
    "simulate population": _simulate("population"),
    "simulate gravity": _simulate("gravity"),
    "simulate springs": _simulate("springs"),
    "simulate charged": _simulate("charged"),
    "simulate kuramoto": _simulate("kuramoto"),
    "decode": _task(
        "motet.tasks.decode",
        "DecodeSettings",
        "decode",
        {"recordings": True},
        "motet decode reach/chewie-1 --target direction",
    ),
    "predict": _task(
        "motet.tasks.predict",
        "PredictSettings",
        "predict",
        {"run": False, "recording": False},
        "motet predict runs/first data/subject-1.npz",
    ),
    "interactions train": _task(
        "motet.tasks.interactions",
        "TrainInteractionsSettings",
        "train_interactions",
        {"recordings": True},
        "motet interactions train data/gravity-2x2.npz --states '[mass]' --output runs/gravity",
    ),
    "interactions evaluate": _task(
        "motet.tasks.interactions_evaluate",
        "EvaluateInteractionsSettings",
        "evaluate_interactions",
        {"run": False, "recordings": True},
        "motet interactions evaluate runs/gravity test/gravity-2x2.npz test/gravity-3x3.npz",
    ),
    "interactions recover": _task(
        "motet.tasks.interactions_recover",
        "RecoverInteractionsSettings",
        "recover",
        {"run": False, "recording": False},
        "motet interactions recover runs/gravity shoal.csv --output shoal",
    ),
    "forecast train": _task(
        "motet.tasks.forecast",
        "TrainForecastSettings",
        "train_forecast",
        {"recordings": True},
        "motet forecast train data/gravity-2x2.npz --objective.horizon_bins 10 --output runs/orbits",
    ),
    "forecast evaluate": _task(
        "motet.tasks.forecast_evaluate",
        "EvaluateForecastSettings",
        "evaluate_forecast",
        {"run": False, "recordings": True},
        "motet forecast evaluate runs/orbits test/gravity-2x2.npz test/gravity-2x3.npz",
    ),
    "forecast predict": _task(
        "motet.tasks.forecast_predict",
        "PredictForecastSettings",
        "predict_forecast",
        {"run": False, "recording": False},
        "motet forecast predict runs/orbits shoal.csv --output shoal",
    ),
}
_GROUPS = {
    group: [name.split()[1] for name in _VERBS if name.startswith(f"{group} ")]
    for group in ("data", "simulate", "interactions", "forecast")
}
