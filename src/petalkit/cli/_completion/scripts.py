"""Completion scripts: the words as tables, and the little that a shell does with them.

The rule: what is known beforehand stands in the script, so most presses of Tab start nothing. For
the names that only a broker knows, the script asks the `petalkit` that is being typed, which says
them within a second or is silent. The trap: a shell splits words in its own ways, so a line is
passed on as it is typed, in one argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from .words import Option, Words, all_options

SHELLS = ("bash", "zsh", "fish")


def make_script(shell: str, words: Sequence[Words]) -> str:
    """The script for one of `SHELLS`."""
    return _MAKERS[shell](words)


def _quoted(text: str) -> str:
    """For any of these shells: nothing in it means anything."""
    return "'" + text.replace("\\", "").replace("'", "") + "'"


def _with_value(words: Sequence[Words]) -> str:
    return "|".join(name for one in all_options(words) if one.takes_value for name in one.names)


def _positional_cases(words: Sequence[Words], indent: str) -> Iterator[str]:
    """Lines of a `case` on command and number of the word: what it may be."""
    for one in words:
        if one.choices:
            yield f"{indent}'{one.name}:0') choices={_quoted(' '.join(one.choices))} ;;"
            continue
        for number, kind in enumerate(one.positionals):
            last = number == len(one.positionals) - 1
            many = last and kind in ("files", "watchable")
            if kind:
                yield f"{indent}'{one.name}:'{'*' if many else number}) kind={kind} ;;"


def _option_cases(words: Sequence[Words], indent: str) -> Iterator[str]:
    """Lines of a `case` on an option: what its value may be."""
    for one in all_options(words):
        if one.takes_value:
            names = "|".join(one.names)
            if one.choices:
                yield f"{indent}{names}) choices={_quoted(' '.join(one.choices))} ;;"
            elif one.kind:
                yield f"{indent}{names}) kind={one.kind} ;;"


_BASH = """\
# Completion of petalkit for bash: source it, or put it where bash-completion looks.
_petalkit_complete() {
    local line=${COMP_LINE:0:COMP_POINT} command= kind= choices= expects= word cur prefix
    local -a words=()
    local -i number=0 i
    COMPREPLY=()
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    cur=${words[${#words[@]}-1]}
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        word=${words[i]}
        if [[ -n $expects ]]; then expects=; continue; fi
        case $word in
            @WITH_VALUE@) expects=$word ;;
            -*) ;;
            *)
                if [[ -z $command ]]; then command=$word
                elif [[ $command == @GROUPS@ && $number -eq 0 ]]; then command+=" $word"
                else number+=1; fi ;;
        esac
    done
    if [[ -z $expects && $cur == --*=* ]]; then expects=${cur%%=*} cur=${cur#*=}; fi
    if [[ -n $expects ]]; then
        case $expects in
@OPTION_CASES@
        esac
    elif [[ $cur == -* ]]; then
        case $command in
@OPTIONS@
        esac
    elif [[ -z $command ]]; then
        choices=@COMMANDS@
    else
        case "$command:$number" in
@POSITIONALS@
        esac
    fi
    case $kind in
        "") ;;
        files)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return ;;
        *) choices=$("${words[0]}" complete-names "$kind" "$line" 2>/dev/null) ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur")
    prefix=${cur%"${cur##*[:=]}"}  # readline takes what stands before these for another word
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
}
complete -F _petalkit_complete petalkit
"""


def _bash(words: Sequence[Words]) -> str:
    options = (
        f"            '{one.name}') choices={_quoted(' '.join(_names(one.options)))} ;;"
        for one in words
    )
    return _filled(
        _BASH,
        {
            "WITH_VALUE": _with_value(words),
            "GROUPS": _groups(words),
            "OPTION_CASES": "\n".join(_option_cases(words, " " * 12)),
            "OPTIONS": "\n".join([*options, "            '') choices='--help --version' ;;"]),
            "COMMANDS": _quoted(" ".join(_top(words))),
            "POSITIONALS": "\n".join(_positional_cases(words, " " * 12)),
        },
    )


_ZSH = """\
#compdef petalkit
# Completion of petalkit for zsh: source it behind compinit, or put it into $fpath as _petalkit.
_petalkit() {
    local command= kind= choices= expects= word cur line
    local -a said
    local -i number=0 i
    cur=${words[CURRENT]}
    line="${(j: :)words[1,CURRENT]}"
    for ((i = 2; i < CURRENT; i++)); do
        word=${words[i]}
        if [[ -n $expects ]]; then expects=; continue; fi
        case $word in
            (@WITH_VALUE@) expects=$word ;;
            (-*) ;;
            (*)
                if [[ -z $command ]]; then command=$word
                elif [[ $command == @GROUPS@ && $number -eq 0 ]]; then command+=" $word"
                else number+=1; fi ;;
        esac
    done
    if [[ -n $expects ]]; then
        case $expects in
@OPTION_CASES@
        esac
    elif [[ $cur == -* ]]; then
        case $command in
@OPTIONS@
        esac
        _describe -o option said
        return
    elif [[ -z $command ]]; then
        said=(@COMMANDS@)
        _describe command said
        return
    else
        case "$command:$number" in
@POSITIONALS@
        esac
    fi
    case $kind in
        ("") ;;
        (files) _files; return ;;
        (*) choices=$("${words[1]}" complete-names "$kind" "$line" 2>/dev/null) ;;
    esac
    said=(${=choices})
    compadd -a said
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _petalkit "$@"
else
    compdef _petalkit petalkit
fi
"""


def _zsh(words: Sequence[Words]) -> str:
    options = (
        f"            ('{one.name}') said=({' '.join(_described(one.options))}) ;;" for one in words
    )
    commands = (
        _quoted(f"{one.name}:{_zsh_text(one.help)}") for one in words if " " not in one.name
    )
    return _filled(
        _ZSH,
        {
            "WITH_VALUE": _with_value(words),
            "GROUPS": f"({_groups(words)})",
            "OPTION_CASES": "\n".join(_option_cases(words, " " * 12)),
            "OPTIONS": "\n".join([*options, "            ('') said=(--help --version) ;;"]),
            "COMMANDS": " ".join(commands),
            "POSITIONALS": "\n".join(_positional_cases(words, " " * 12)),
        },
    )


def _described(options: Sequence[Option]) -> Iterator[str]:
    for one in options:
        for name in one.names:
            yield _quoted(f"{name}:{_zsh_text(one.help)}")


def _zsh_text(text: str) -> str:
    return text.replace(":", " ")


_FISH = """\
# Completion of petalkit for fish: put it into ~/.config/fish/completions/petalkit.fish
function __petalkit_at
    # Whether the cursor is behind this command, and with a number, at this word behind it.
    set -l command
    set -l number 0
    set -l expects
    for word in (commandline -opc)[2..-1]
        if test -n "$expects"
            set expects
            continue
        end
        switch $word
            case @WITH_VALUE@
                set expects $word
            case '-*'
            case '*'
                if test -z "$command"
                    set command $word
                else if contains -- $command @GROUPS@; and test $number -eq 0
                    set command "$command $word"
                else
                    set number (math $number + 1)
                end
        end
    end
    test "$command" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; and return 0
    test -z "$expects"; or return 1
    test "$argv[2]" = many; or test $number -eq $argv[2]
end
function __petalkit_names
    set -l words (commandline -opc)
    $words[1] complete-names $argv[1] (commandline -cp) 2>/dev/null
end
complete -c petalkit -f
complete -c petalkit -n "__petalkit_at ''" -l help -s h -d 'Show the commands'
complete -c petalkit -n "__petalkit_at ''" -l version -d 'Show versions'
"""


def _fish(words: Sequence[Words]) -> str:
    groups = " ".join(_groups(words).split("|"))
    with_value = " ".join(_quoted(one) for one in _with_value(words).split("|"))
    lines = [_filled(_FISH, {"WITH_VALUE": with_value, "GROUPS": groups}).rstrip("\n")]
    for one in words:
        if " " not in one.name:
            at = "__petalkit_at '' 0"
            lines.append(f'complete -c petalkit -n "{at}" -a {one.name} -d {_quoted(one.help)}')
        if one.choices:
            values = _quoted(" ".join(one.choices))
            lines.append(f"complete -c petalkit -n \"__petalkit_at '{one.name}' 0\" -a {values}")
        for number, kind in enumerate(one.positionals):
            many = number == len(one.positionals) - 1 and kind in ("files", "watchable")
            at = f"__petalkit_at '{one.name}' {'many' if many else number}"
            if kind == "files":
                lines.append(f'complete -c petalkit -n "{at}" -F')
            elif kind:
                lines.append(f'complete -c petalkit -n "{at}" -a "(__petalkit_names {kind})"')
        lines += (_fish_option(one.name, option) for option in one.options)
    return "\n".join(lines) + "\n"


def _fish_option(command: str, option: Option) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    )
    value = ""
    if option.takes_value:
        value = " -r -F" if option.kind == "files" else " -x"
        if option.choices:
            value += f" -a {_quoted(' '.join(option.choices))}"
        elif option.kind not in ("", "files"):
            value += f' -a "(__petalkit_names {option.kind})"'
    at = f"__petalkit_at '{command}'"
    return f'complete -c petalkit -n "{at}" {names}{value} -d {_quoted(option.help)}'


def _names(options: Sequence[Option]) -> Iterator[str]:
    for one in options:
        yield from one.names


def _top(words: Sequence[Words]) -> list[str]:
    return [one.name for one in words if " " not in one.name]


def _groups(words: Sequence[Words]) -> str:
    """Commands that have commands of their own."""
    return "|".join(dict.fromkeys(one.name.split()[0] for one in words if " " in one.name))


def _filled(template: str, parts: Mapping[str, str]) -> str:
    for name, text in parts.items():
        template = template.replace(f"@{name}@", text)
    return template


_MAKERS: Mapping[str, Callable[[Sequence[Words]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
