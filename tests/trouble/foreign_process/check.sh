#!/bin/sh
# check.sh DDIM: exits 0 when a scheduler of a process that is not there is refused by name
ddim=$(realpath "$1") || exit 2
here=$(cd "$(dirname "$0")" && pwd)
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
cp -r "$here/input/." "$t/"
cd "$t" || exit 2
export NODEVICE_SELECT=1
! "$ddim" sample --model model --steps 2 --count 1 --out new.png 2>err && grep -q IPNDMScheduler err
