#!/bin/sh
# Runs Deno in a copy of the repository on a node of a cluster, with the version that the driver
# has: the installed Deno if it is that, otherwise the one of npm.
#
#   sh lib/cli/node.sh probe DENO                     what the node has, as a line of JSON
#   sh lib/cli/node.sh run DENO SOURCES MARK ARGS…    `deno ARGS…`, set up before if needed
#
# SOURCES is the hash that the sources must have, or "-" where they were just unpacked. MARK names
# the set-up: it is done once a machine and mark.
set -eu

mode=$1 version=$2
shift 2

# Installers put Deno here, which the processes of a cluster often do not search.
PATH="$PATH:${HOME:-/root}/.deno/bin"
export DENO_NO_UPDATE_CHECK=1 npm_config_update_notifier=false

found=$(deno --version 2>/dev/null | sed -n '1s/^deno \([^ ]*\).*/\1/p') || found=
if [ "$found" = "$version" ]; then
  npm=
elif command -v npx >/dev/null; then
  npm=1
else
  echo "This node has ${found:+Deno $found and }no npx, the driver has Deno $version: install it here" >&2
  exit 1
fi

run() {
  if [ "$npm" ]; then npx -y "deno@$version" "$@"; else deno "$@"; fi
}

# Without the configuration, Deno does not look for packages that are not there yet.
versions() {
  run run -q --no-config --no-lock --allow-read --allow-env lib/cli/versions.ts "$@"
}

if [ "$mode" = probe ]; then
  versions
  exit
fi

sources=$1 mark=data/cache/prepared-$2-$(uname -n)
shift 2
[ "$sources" = - ] || versions "$sources"
# An image that cannot be written was set up when it was made.
if [ ! -e "$mark" ] && [ -w . ]; then
  run task -q setup --quiet
  rm -f data/cache/prepared-*-"$(uname -n)"
  : >"$mark"
fi
if [ "$npm" ]; then exec npx -y "deno@$version" "$@"; else exec deno "$@"; fi
