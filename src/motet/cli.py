"""The command line: verbs are read from `motet.tasks.VERBS`, their options from the fields of their settings."""

from __future__ import annotations

import codecs
import contextlib
import itertools
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from motet import __version__
from motet.errors import InputError, did_you_mean
from motet.names import visible
from motet.tasks import VERBS
from motet.tasks.verbs import Command, Verb

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

USAGE = """usage: motet <verb> [options]

Learn from populations of time-series, keeping sight of every individual and of the collective.

{verbs}

motet <verb> --help shows the options of a verb, with an example. motet --version shows the version.

  motet simulate population --output data
  motet decode data/subject-1.npz --target direction --output runs/first
"""
PLAIN = {
    "…": "...", "×": "x", "²": "2", "³": "3", "·": "*", "→": "->", "−": "-", "–": "-", "±": "+-", "≥": ">=", "≤": "<=",
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if it worked (1 if `motet doctor` finds fault), 2 for an `InputError`, 130 if interrupted."""
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


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(USAGE.format(verbs="\n".join(verb.line for verb in VERBS.values())))
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"motet {__version__}\n")
        return 0
    name, rest = words[0], words[1:]
    group = {verb.name.partition(" ")[2]: verb for verb in VERBS.values() if verb.name.partition(" ")[0] == name}
    if not group:
        raise did_you_mean(name, {verb.partition(" ")[0] for verb in VERBS}, what="verb")
    verb = group.get("")
    if verb is None:
        word, rest = _chosen(name, group, rest, [one.line for one in group.values()])
        if word is None:
            return 0
        verb = group[word]
    commands = verb.commands()
    if "" in commands:
        return _run_command(verb.name, verb, commands[""], rest)
    lines = [f"  motet {verb.name} {word:15s} {command.summary}" for word, command in commands.items()]
    word, rest = _chosen(verb.name, commands, rest, lines)
    return 0 if word is None else _run_command(f"{verb.name} {word}", verb, commands[word], rest)


def _chosen(
    name: str, choices: Mapping[str, Any], words: list[str], lines: Sequence[str]
) -> tuple[str | None, list[str]]:
    """The next word, which is one of several, and the words after it; None after showing what there is."""
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write("\n".join((f"usage: motet {name} <{'|'.join(choices)}> [options]", "", *lines, "")))
        return None, []
    if words[0] not in choices:
        raise did_you_mean(words[0], choices, what=f"word after 'motet {name}'")
    return words[0], words[1:]


def _run_command(name: str, verb: Verb, command: Command, words: list[str]) -> int:
    settings = _parse(_parser(name, verb, command), command, list(_with_values(words, command.settings)))
    outcome = command.function(settings)
    if text := str(outcome):  # nothing, in all but the first of several processes
        _say(text)
    return int(getattr(outcome, "exit_code", 0))


# ------------------------------------------------------------------ options


def _parser(name: str, verb: Verb, command: Command) -> ArgumentParser:
    """A parser with --config and --print_config, whose complaints are `InputError`s; no value can name an import."""
    from docstring_parser import parse
    from jsonargparse import ArgumentParser, set_parsing_settings

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
            raise InputError(f"{' '.join(message.split())} (motet {name} --help shows the options)") from ex

    set_parsing_settings(import_path_denylist=["*"], instantiate_subclass_spec_in_any=False)
    example = verb.example.replace("SYSTEM", name.rpartition(" ")[2])
    parser = Parser(
        prog=f"motet {name}",
        description=command.summary,
        epilog="; or with ".join((f"example: motet {example}", *verb.variations)),
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="A YAML file of options; see --print_config.")
    hints, said = _hints(command.settings), parse(command.settings.__doc__ or "").params
    for positional in command.positionals:
        words = next((one.description or "" for one in said if one.arg_name == positional), "")
        several = "+" if str(hints[positional]).startswith("tuple") else None
        parser.add_argument(positional, type=str, nargs=several, help=words)
    parser.add_class_arguments(command.settings, nested_key=None, skip=set(command.positionals))
    return parser


def _parse(parser: ArgumentParser, command: Command, words: list[str]) -> Any:
    """The settings that a command gives; its options go before those of a file, wherever that is named."""
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
    read = [read_options(file) for file in files]  # refused here, before the parser sees it
    try:
        parsed = parser.parse_args([*(f"--config={file}" for file in files), *rest])
    except InputError:
        for found in read:
            _check("", found, command.settings)
        _check_words(command.settings, rest)
        raise
    groups = {name.split(".")[0].removeprefix("--") for name in options if "." in name}
    for name in groups:
        if not isinstance(parsed[name], type(parsed)):
            raise InputError(f"{name} is {parsed[name]!r}; give names and values, such as {name}.<name>=<value>.")
    values = parser.instantiate(parsed).as_dict()
    values.pop("config", None)
    return command.settings(**values)


def _with_values(words: Sequence[str], settings: type[Any]) -> Iterator[str]:
    """The words of a command, where an option that is true or false may stand without a value: it is true."""
    hints = _hints(settings)
    for word, after in itertools.zip_longest(words, words[1:], fillvalue=""):
        yield word
        if (
            word.startswith("--")
            and hints.get(word[2:]) is bool
            and after.lower() not in ("true", "false", "yes", "no")
        ):
            yield "true"


def _is_option(name: str, options: Collection[str]) -> bool:
    """Whether an option is known, or a key inside one that takes names and values."""
    owner = next((known for known in options if name.startswith(f"{known}.")), None)
    return name in options or (owner is not None and not any(known.startswith(f"{owner}.") for known in options))


def _hints(settings: type[Any]) -> dict[str, Any]:
    """The fields of a settings class, with what they may be."""
    import dataclasses
    import typing

    hints = typing.get_type_hints(settings, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings)}


def _check_words(settings: type[Any], words: Sequence[str]) -> None:
    """Refuse the first value of a command that a settings class does not admit, in our own words."""
    from motet.plain import read_yaml

    given = iter(words)
    for word in given:
        name, equals, text = word.partition("=")
        if not name.startswith("--"):
            continue
        text = text if equals else next(given, "")
        *inside, last = name.removeprefix("--").split(".")
        hints = _hints(settings)
        for part in inside:
            hints = _hints(hints[part]) if isinstance(hints.get(part), type) else {}
        if last in hints:
            value = text
            with contextlib.suppress(InputError):
                value = read_yaml(text, what=name)
            _check(name.removeprefix("--"), value, hints[last], text=text)


def _check(name: str, value: Any, hint: Any, *, text: str | None = None) -> None:
    """Refuse what a setting does not admit, or the first such thing inside a part, in our own words."""
    import dataclasses

    from motet.plain import refuse_imports
    from motet.settings import check_value

    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise InputError(
                f"{name} is {value!r}; give names and values, such as {name}.<name>=<value>: options are plain values, "
                "and nothing is imported for them."
            )
        refuse_imports(value, name)
        hints, start = _hints(hint), f"{name}." if name else ""
        for key, inner in value.items():
            if key not in hints:
                raise did_you_mean(f"{start}{key}", [f"{start}{known}" for known in hints], what="option")
            _check(f"{start}{key}", inner, hints[key])
        return None
    try:
        check_value(name, value, hint)
    except InputError:
        if text is not None:
            with contextlib.suppress(InputError):
                return check_value(name, text, hint)  # text stays text, whatever YAML makes of it
        raise


# ------------------------------------------------------------------ the terminal


def _say(text: str) -> None:
    """Write to standard output; on a terminal, what would steer it is shown as an escape."""
    shown = text.removesuffix("\n")
    if sys.stdout.isatty():
        shown = "\n".join(map(visible, shown.split("\n")))
    sys.stdout.write(shown + "\n")


def _write_plainly_where_letters_lack() -> None:
    """Write ASCII to a terminal that is not of Unicode: what it lacks is spelt out, or shown by its number."""
    encoding = (sys.stdout.encoding or "utf-8").lower()
    if hasattr(sys.stdout, "reconfigure") and not encoding.startswith("utf"):
        codecs.register_error("motet.plain", _spelt_out)
        sys.stdout.reconfigure(encoding="ascii", errors="motet.plain")


def _spelt_out(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    letter = error.object[error.start]
    return PLAIN.get(letter, letter.encode("ascii", "backslashreplace").decode()), error.start + 1
