#!/usr/bin/env bash
# Run the tests on each supported Python that is at hand, but for the one that `make test` uses; say which are not.
# Left out there: what starts whole fleets to break them. It takes minutes, and asks little of the language.
set -euo pipefail
cd "$(dirname "$0")/.."
used=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)

find_python() { # VERSION -> a path whose python really is that version
  for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
    if [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
      command -v "$candidate"
      return
    fi
  done
}

missing=()
for version in 3.11 3.12 3.13 3.14; do
  [ "$version" != "$used" ] || continue
  python=$(find_python "$version")
  if [ -z "$python" ]; then
    missing+=("$version")
    continue
  fi
  echo "== Python $version"
  here=(PYTHON="$python" VENV=".venv-$version" ARGS="--ignore=tests/faults --ignore=tests/docker --deselect=tests/cli/test_demo.py")
  make --no-print-directory test "${here[@]}" || make --no-print-directory again "${here[@]}"
done
echo "== run on Python $used before; not at hand, so not run: ${missing[*]:-none}"
