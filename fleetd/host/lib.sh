# What every verb shares: framing, iteration over lines, messages.
#
# Lists are text, one line per entry and fields between tabs, as on the wire; `each` walks them without
# a fork, a here-document (which needs room in /tmp in some shells) or eval. Globbing is off throughout.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

STATE=/var/lib/fleetd-node
RUN=/run/fleetd-node
UNIT_DIR=/etc/systemd/system
TAB='	'
NL='
'

# main VERB: reads the header of the request, prints BEGIN, runs the verb, prints END.
main() {
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  TZ=UTC0
  SYSTEMD_LOG_COLOR=0 # older systemd has colours even where nobody can see them
  export PATH TZ SYSTEMD_LOG_COLOR
  umask 077
  set -f
  IFS=$TAB read -r kind NONCE VERB SIZE DIGEST || exit 3
  [ "$kind" = request ] && [ "$VERB" = "$1" ] || exit 3
  case $NONCE in '' | *[!0-9a-f]*) exit 3 ;; esac
  case $SIZE in '' | *[!0-9]*) exit 3 ;; esac
  printf 'FLEETD1 %s BEGIN\n' "$NONCE"
  "verb_$1"
  printf 'FLEETD1 %s END rc=0\n' "$NONCE"
  exit 0
}

# part NAME STATUS LINES: prints one part of the reply; LINES is empty or ends with a newline.
part() {
  printf '%s part %s\n%s%s end %s %s\n' "$NONCE" "$1" "$3" "$NONCE" "$1" "$2"
}

# each FUNCTION LINES: calls FUNCTION with the fields of each line; stops at the first that fails.
each() {
  IFS=$NL
  for line in $2; do
    IFS=$TAB
    # shellcheck disable=SC2086
    "$1" $line || {
      IFS=$TAB$NL' '
      return 1
    }
  done
  IFS=$TAB$NL' '
}

# read_body FUNCTION: calls FUNCTION with the fields of each typed line; fails unless all of them came.
read_body() {
  while IFS=$TAB read -r kind a b c d; do
    [ "$kind" = data ] && return 0
    "$1" "$kind" "$a" "$b" "$c" "$d"
  done
  return 1
}

# has LINES LINE: whether LINE is one of LINES (which ends with a newline).
has() {
  case $NL$1 in *"$NL$2$NL"*) return 0 ;; esac
  return 1
}

# one_line TEXT: sets ONE_LINE to the text with its line ends and tabs as spaces, not too long.
one_line() {
  ONE_LINE=$(printf '%s' "$1" | tr '\n\t' '  ' | head -c 900)
  [ -n "$ONE_LINE" ] || ONE_LINE=-
}

# plain FIELD: sets PLAIN to the field, `-` read as empty.
plain() {
  PLAIN=$1
  [ "$PLAIN" != - ] || PLAIN=
}

# read_owner: sets OWNER_FLEET, OWNER_KEY, OWNER_TERM; empty where nobody owns the host. Fails when
# there is an owner file that cannot be read whole.
read_owner() {
  OWNER_FLEET='' OWNER_KEY='' OWNER_TERM=''
  [ -e "$STATE/owner" ] || return 0
  IFS=$TAB read -r OWNER_FLEET OWNER_KEY OWNER_TERM <"$STATE/owner"
  case $OWNER_TERM in '' | *[!0-9]*) return 1 ;; esac
}

# keyed KEY SHA256: sets KEYED to what the ledger holds for a secret file: a digest that cannot be looked up
# without the fleet's key.
keyed() {
  KEYED=$(printf '%s %s %s' "$1" "$2" "$1" | sha256sum)
  KEYED=keyed-${KEYED%% *}
}

# load_ledger: sets LEDGER to the host's ledger without its end line. Fails when it is not whole: an
# empty or cut ledger does not mean that nothing is here.
load_ledger() {
  LEDGER=''
  [ -e "$STATE/ledger" ] || return 0
  LEDGER=$(cat "$STATE/ledger") || return 1
  case $NL$LEDGER in
    *"${NL}end") LEDGER=${LEDGER%end} ;;
    *) return 1 ;;
  esac
}

# uptime_s: sets UPTIME to the whole seconds since boot.
uptime_s() {
  read -r UPTIME _ </proc/uptime
  UPTIME=${UPTIME%.*}
}
