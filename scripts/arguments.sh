#!/bin/sh
# Refuses what was mistyped after make, before anything starts: a wrong name must neither be ignored nor mean all.
# Usage: arguments.sh TARGET [VARIABLE...]     (the variables that the target takes; their values are in the environment)
# Environment: TYPED, the names of the variables typed after make; GOALS, how many targets were typed.
set -eu
cd "$(dirname "$0")/.."
target=$1
shift
takes=$*

refuse() { # what, rule, what to type
    printf '%s: %s. Fix: %s.\n' "$1" "$2" "$3" >&2
    exit 2
}

listed() { # words, as a sentence has them
    printf '%s\n' "$@" | paste -sd , - | sed 's/,/, /g'
}

typed() { # whether this variable was typed
    case " $TYPED " in *" $1 "*) ;; *) return 1 ;; esac
}

is_one_of() { # word, words
    word=$1
    shift
    for each in "$@"; do
        [ "$each" != "$word" ] || return 0
    done
    return 1
}

is_made_of() { # text, characters as in brackets of a pattern
    [ -n "$1" ] && [ -z "$(printf %s "$1" | tr -d "$2")" ]
}

inventories() {
    for place in inventories/*; do
        is_an_inventory "${place#inventories/}" && printf '%s\n' "${place#inventories/}"
    done
}

# A file, or a directory that has one.
is_an_inventory() {
    [ -f "inventories/$1" ] || [ -n "$(find "inventories/$1" -maxdepth 1 -type f 2>/dev/null)" ]
}

check_inventory() {
    case $1 in
        -* | *..* | . | */. | */ | /*) ;;
        *) ! is_made_of "$1" 'A-Za-z0-9._/-' || ! is_an_inventory "$1" || return 0 ;;
    esac
    # shellcheck disable=SC2046 # names without spaces
    rule="there is no inventory of that name; there are $(listed $(inventories))"
    new=
    ! is_made_of "$1" 'a-z0-9-' || new=", or make inventory NAME=$1 for a new one"
    refuse "INVENTORY is ${1:-empty}" "$rule" "make $target INVENTORY=<one of them>$new"
}

check_host() {
    # What --limit takes: names, and patterns of names.
    is_made_of "$1" 'A-Za-z0-9_.,:!&*-' ||
        refuse "HOST is ${1:-empty}" "it is the name of a host of the inventory" \
            "make $target INVENTORY=$INVENTORY HOST=<a host>; make status INVENTORY=$INVENTORY shows them"
}

check_release() {
    case $1 in
        ????????????) ! is_made_of "$1" 'a-f0-9' || return 0 ;;
    esac
    refuse "RELEASE is ${1:-empty}" "a release is 12 of the characters 0-9 and a-f" \
        "make status INVENTORY=$INVENTORY, which shows the live one, or make rollback INVENTORY=$INVENTORY for the one before"
}

check_name() {
    case $1 in
        -*) ;;
        *) ! is_made_of "$1" 'a-z0-9-' || return 0 ;;
    esac
    refuse "NAME is ${1:-empty}" "it is made of lower-case letters, digits and dashes" "make inventory NAME=production"
}

check_scenario() {
    # shellcheck disable=SC2046 # names without spaces
    set -- "$1" $(for file in molecule/*/molecule.yml; do echo "$file" | cut -d / -f 2; done)
    is_one_of "$@" || {
        name=$1
        shift
        refuse "SCENARIO is ${name:-empty}" "there are $(listed "$@")" "make molecule SCENARIO=default"
    }
}

check_row() {
    rows=$(sed -n 's/^- row: "\(.*\)"$/\1/p' tests/faults/rows.yml)
    # An empty ROW means all of them to what comes after, so each comma must have a row on both sides.
    left=$1,
    while [ -n "$left" ]; do
        # shellcheck disable=SC2086 # numbers
        is_one_of "${left%%,*}" $rows ||
            refuse "ROW is ${1:-empty}" "docs/promises.md has rows $(listed $rows)" "make faults ROW=5, or ROW=5,12 for several"
        left=${left#*,}
    done
}

check_bench() {
    names=$(scripts/bench.sh --names)
    # shellcheck disable=SC2086 # names without spaces
    is_one_of "${1%% *}" $names ||
        refuse "BENCH is ${1:-empty}" "there are $(listed $names)" "make bench BENCH=growth, or make bench for all"
}

check_file() {
    [ -f "$1" ] && [ -r "$1" ] ||
        refuse "FILE is ${1:-empty}" "there is no file of that name to read" "make sbom FILE=sample_app/requirements.txt"
}

# Options of make chaos.
check_number() { # variable, value
    case $2 in
        '' | *[!0-9]* | 0*) refuse "$1 is ${2:-empty}" "it is a whole number from 1 on" "make chaos SEED=7 MINUTES=15 FAULTS=20" ;;
    esac
}
check_seed() { check_number SEED "$1"; }
check_minutes() { check_number MINUTES "$1"; }
check_faults() { check_number FAULTS "$1"; }

check_schedule() {
    schedules=$(sed -n '/^PROFILES/,/^}/s/^    "\([a-z]*\)":.*/\1/p' tests/chaos/schedule.py)
    # shellcheck disable=SC2086 # names without spaces
    is_one_of "$1" $schedules ||
        refuse "SCHEDULE is ${1:-empty}" "there are $(listed $schedules)" "make chaos SCHEDULE=mixed"
}

check_result() { # variable, file
    [ -f "$2" ] && [ -r "$2" ] ||
        refuse "$1 is ${2:-empty}" "there is no file of that name to read" "make chaos $1=<a file in .cache/chaos>"
}
check_repeat() { check_result REPEAT "$1"; }
check_shrink() { check_result SHRINK "$1"; }

check_converge() {
    [ "$1" = 1 ] || refuse "CONVERGE is ${1:-empty}" "it is 1, or left out" "make chaos CONVERGE=1"
}

for name in $TYPED; do
    # shellcheck disable=SC2086 # names
    is_one_of "$name" $VARIABLES PYTHON SHELL || case $name in
        # What programs read, such as DEMO_PORT.
        *_*) ;;
        *) refuse "$name is no variable of make" "there are $(listed $VARIABLES)" "make help, which shows who takes which" ;;
    esac
    # With several targets it is another one's.
    # shellcheck disable=SC2086 # names
    if [ "$GOALS" -lt 2 ] && is_one_of "$name" $VARIABLES && ! is_one_of "$name" $takes; then
        refuse "$name is typed" "make $target takes ${takes:-no variable}, and would ignore it" "leave $name out, or see make help"
    fi
done

for name in $takes; do
    eval "value=\${$name-}"
    # Without a host make drain would be for all of them.
    if [ -n "$value" ] || typed "$name" || [ "$target $name" = "drain HOST" ]; then
        "check_$(echo "$name" | tr '[:upper:]' '[:lower:]')" "$value"
    fi
done
