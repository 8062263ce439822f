# shellcheck shell=sh
# To be sourced: where mk/tools.sh puts its tools, and they first in the PATH.
TOOLS=${HEARTBEAT_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/heartbeat-tools}
PATH=$TOOLS/bin:$TOOLS/venv/bin:$PATH
export TOOLS PATH
