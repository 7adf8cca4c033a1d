#!/bin/sh
# Runs every linter over the files that git knows or would add. All of them run, whatever fails;
# a linter that saw no file has failed: its list of files is wrong, or its configuration.
set -u
cd "$(dirname "$0")/.." || exit 1
PATH=$PWD/.venv/bin:$PATH
export PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
failed=

# Files that exist (a deleted one is still in the index), by suffix or by interpreter.
git ls-files --cached --others --exclude-standard | sort -u | while IFS= read -r file; do
    [ -f "$file" ] || continue
    first=
    case $file in
        *.py) echo "$file" >>"$work/python" ;;
        *.sh) echo "$file" >>"$work/shell" ;;
        *.yml | *.yaml | .ansible-lint | .yamllint) echo "$file" >>"$work/yaml" ;;
        *.j2 | *.md | *.txt | *.in | *.png) ;;
        *) IFS= read -r first <"$file" || : ;;
    esac
    case $first in
        '#!'*python*) echo "$file" >>"$work/script" ;;
        '#!'*sh | '#!'*'sh '*) echo "$file" >>"$work/shell" ;;
    esac
done
touch "$work/python" "$work/script" "$work/shell" "$work/yaml"

lint() { # name, list of files, command: the files are appended to it
    name=$1
    list=$2
    shift 2
    count=$(wc -l <"$list")
    echo "lint: $name, $count files"
    if [ "$count" -eq 0 ]; then
        echo "lint: $name looked at no file" >&2
        failed="$failed $name"
    elif ! xargs -d '\n' "$@" <"$list"; then
        failed="$failed $name"
    fi
}

# What runs on the control node or is typed by the same hand; the sample app has its own environment.
grep -E '^(bench|plugins|playbooks/files|scripts|tests/unit|tests/faults|tests/chaos|roles/[^/]+/files)/' "$work/python" >"$work/typed"
cat "$work/python" "$work/script" >"$work/all-python"

lint shellcheck "$work/shell" shellcheck --external-sources
lint yamllint "$work/yaml" yamllint --strict
lint ruff-check "$work/all-python" ruff check --quiet
lint ruff-format "$work/all-python" ruff format --check --quiet
lint mypy "$work/typed" mypy --no-error-summary
# Two files without a suffix would both be called __main__.
while IFS= read -r file; do
    echo "$file" >"$work/one"
    lint "mypy:$file" "$work/one" mypy --no-error-summary
done <"$work/script"

echo "lint: ansible-lint"
# It checks each playbook's syntax without an inventory, which ansible.cfg refuses. Never name one here: ANSIBLE_INVENTORY
# is a list of paths, and a directory in it has its executable files run, which scripts/faults.sh is one of.
export ANSIBLE_INVENTORY_UNPARSED_FAILED=false ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=false
if ! ansible-lint --nocolor >"$work/report" 2>&1; then
    failed="$failed ansible-lint"
    cat "$work/report" >&2
elif ! grep -Eq ' in [1-9][0-9]* files processed' "$work/report"; then
    failed="$failed ansible-lint"
    echo "lint: ansible-lint looked at no file" >&2
    cat "$work/report" >&2
else
    grep ' files processed' "$work/report"
fi

if [ -n "$failed" ]; then
    echo "lint: failed:$failed" >&2
    exit 1
fi
echo "lint: all passed"
