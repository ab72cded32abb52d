"""Scripts for bash and zsh, which look up a `case` for each place in a line.

The trap: a shell splits words in its own ways, so a line is passed on as it is typed, in one
argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .tables import filled, groups, names_of, quoted, top, with_value
from .words import Option, Words, all_options


def _positional_cases(words: Sequence[Words], indent: str) -> Iterator[str]:
    """Lines of a `case` on command and number of the word: what it may be."""
    for one in words:
        if one.choices:
            yield f"{indent}'{one.name}:0') choices={quoted(' '.join(one.choices))} ;;"
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
                yield f"{indent}{names}) choices={quoted(' '.join(one.choices))} ;;"
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


def bash(words: Sequence[Words]) -> str:
    """The script for bash."""
    options = (
        f"            '{one.name}') choices={quoted(' '.join(names_of(one.options)))} ;;"
        for one in words
    )
    return filled(
        _BASH,
        {
            "WITH_VALUE": with_value(words),
            "GROUPS": groups(words),
            "OPTION_CASES": "\n".join(_option_cases(words, " " * 12)),
            "OPTIONS": "\n".join([*options, "            '') choices='--help --version' ;;"]),
            "COMMANDS": quoted(" ".join(top(words))),
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


def zsh(words: Sequence[Words]) -> str:
    """The script for zsh."""
    options = (
        f"            ('{one.name}') said=({' '.join(_described(one.options))}) ;;" for one in words
    )
    commands = (quoted(f"{one.name}:{_zsh_text(one.help)}") for one in words if " " not in one.name)
    return filled(
        _ZSH,
        {
            "WITH_VALUE": with_value(words),
            "GROUPS": f"({groups(words)})",
            "OPTION_CASES": "\n".join(_option_cases(words, " " * 12)),
            "OPTIONS": "\n".join([*options, "            ('') said=(--help --version) ;;"]),
            "COMMANDS": " ".join(commands),
            "POSITIONALS": "\n".join(_positional_cases(words, " " * 12)),
        },
    )


def _described(options: Sequence[Option]) -> Iterator[str]:
    for one in options:
        for name in one.names:
            yield quoted(f"{name}:{_zsh_text(one.help)}")


def _zsh_text(text: str) -> str:
    return text.replace(":", " ")
