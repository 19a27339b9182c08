# Tells what systemd does to our units and when a delivered file changes, line by line, until stdin ends.
#
# The journal of PID 1 tells of units. A transient path unit turns a change of a file into a start of a
# service that does nothing, of which the journal tells as well. It is made anew when the ledger changes,
# and goes with this script; nothing is written under fleetd's directories. Names of a stream's own units
# hold the script's pid, so that streams do not meet, and what a killed one left is known as that.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

FOLLOWED=UNIT,MESSAGE,MESSAGE_ID,_BOOT_ID
# Each watched path costs an inotify instance, of which root has 128 where nobody raised that.
MOST_PATHS=40

verb_follow() {
  CURSOR='' BEAT=300
  read_body follow_asked || exit 3
  case $BEAT in '' | *[!0-9]*) exit 3 ;; esac
  # Background commands lose stdin, whose end tells that nobody listens any more; and a lost reader must
  # not kill this shell before it has cleaned up.
  exec 3<&0 </dev/null
  trap '' PIPE
  OWN=fleetd_watch-$$ ROUND=0 WANTS='' PATHS_WATCHED='' WATCHING='' LEDGER_SEAL='' JOURNAL=''
  follow_sweep
  set -- -f -o json --no-pager --output-fields="$FOLLOWED"
  if [ -n "$CURSOR" ] && journalctl -q -n 1 -o cat --after-cursor="$CURSOR" >/dev/null 2>&1; then
    set -- "$@" --no-tail --after-cursor="$CURSOR"
  else
    [ -z "$CURSOR" ] || follow_say "the journal does not know where we were; it is read from now on"
    # Not from its end: what we ask for below may be written before journalctl has found that.
    set -- "$@" --since="@$(date +%s)"
  fi
  {
    # shellcheck disable=SC2016
    sh -c 'echo "pid $$"; exec journalctl "$@" _PID=1' sh "$@" 2>&1 3<&-
    echo "ended $?"
  } | follow_sift
}

follow_asked() {
  [ "$1" = follow ] || return 0
  plain "$2"
  CURSOR=$PLAIN BEAT=$3
}

follow_say() {
  one_line "$1"
  printf 'said\t%s\n' "$ONE_LINE"
}

# follow_sift: hands on what concerns us, until the journal's reader ends or nobody takes it.
follow_sift() {
  while IFS= read -r line; do
    case $line in
      *'"UNIT":"fleetd_watch-'* | *'"UNIT" : "fleetd_watch-'*)
        case $line in
          *"\"$OWN-"*)
            printf '%s\n' "$line" || break
            case $line in *-files.service\"*) follow_watch || break ;; esac
            ;;
        esac
        ;;
      *'"UNIT":"fleetd-'* | *'"UNIT" : "fleetd-'* | *'"MESSAGE":"Reload'* | *'"MESSAGE" : "Reload'*)
        printf '%s\n' "$line" || break
        ;;
      '{'*) ! follow_borrowed || printf '%s\n' "$line" || break ;;
      'pid '*)
        JOURNAL=${line#pid }
        follow_stdin &
        STDIN=$!
        follow_watch || break
        ;;
      'ended '*) break ;;
      *) follow_say "$line" || break ;;
    esac
  done
  trap '' TERM
  kill "$JOURNAL" "$STDIN" 2>/dev/null
  follow_unwatch "$WATCHING"
} 3<&3

# follow_borrowed: whether $line tells of a unit of the host that a copy borrows or replaces.
follow_borrowed() {
  IFS=$NL
  for name in $BORROWED; do
    case $line in
      *"\"UNIT\":\"$name\""* | *"\"UNIT\" : \"$name\""*)
        IFS=$TAB$NL' '
        return 0
        ;;
    esac
  done
  IFS=$TAB$NL' '
  return 1
}

# follow_stdin: waits for the end of stdin, then ends the journal's reader, and all with it. From time to
# time it has PID 1 say something, so that a journal that fell silent is noticed.
follow_stdin() {
  trap 'kill "$!" 2>/dev/null; exit 0' TERM
  while :; do
    timeout "$BEAT" cat <&3 >/dev/null 2>&1 &
    wait "$!"
    case $? in 124 | 137 | 143) ;; *) break ;; esac
    systemd-run --quiet --collect --unit="$OWN-beat" --description='fleetd asks whether the journal tells' \
      true >/dev/null 2>&1
  done
  kill "$JOURNAL"
}

# follow_watch: has systemd watch what the ledger names, unless it does so already.
follow_watch() {
  seal=$(stat -c '%i %s %z' -- "$STATE/ledger" 2>/dev/null)
  [ "$ROUND" = 0 ] || [ "$seal" != "$LEDGER_SEAL" ] || return 0
  # A ledger that is not whole does not mean that there is less to watch.
  if ! load_ledger; then
    [ "$ROUND" = 0 ] || return 0
    LEDGER=''
  fi
  LEDGER_SEAL=$seal BORROWED='' NAMED='' PATHS='' LEFT=0 COUNT=0
  each follow_ledger_line "$LEDGER"
  follow_paths
  [ "$ROUND" = 0 ] || [ "$PATHS" != "$PATHS_WATCHED" ] || return 0
  ROUND=$((ROUND + 1)) PATHS_WATCHED=$PATHS old=$WATCHING WATCHING=$OWN-$ROUND-files
  set -- --quiet --collect --unit="$WATCHING" --description='fleetd looks whether its files change'
  IFS=$NL
  for path in $PATHS; do set -- "$@" --path-property=PathChanged="$path"; done
  IFS=$TAB$NL' '
  said=$(systemd-run "$@" --property=StartLimitIntervalSec=0 true 2>&1) || {
    follow_say "$said"
    return 1
  }
  printf 'watching\t%s\t%s\n' "$COUNT" "$LEFT" || return 1
  [ -z "$old" ] || follow_unwatch "$old"
}

# follow_unwatch NAME: takes a watch away; its service is seldom there to be stopped.
follow_unwatch() {
  [ -z "$1" ] || systemctl stop "$1.path" "$1.service" >/dev/null 2>&1 || return 0
}

# follow_sweep: takes away what streams left that were killed.
follow_sweep() {
  left=$(systemctl list-units --all --plain --no-legend --no-pager 'fleetd_watch-*.path' 2>/dev/null)
  each follow_sweep_line "$left"
}

follow_sweep_line() {
  unit=${1%%.path*}
  pid=${unit#fleetd_watch-}
  pid=${pid%%-*}
  case $pid in '' | *[!0-9]*) return 0 ;; esac
  kill -0 "$pid" 2>/dev/null || follow_unwatch "$unit"
}

# follow_ledger_line KIND DS SLOT NAME ...
follow_ledger_line() {
  case $1 in
    unit) case $4 in fleetd-*) ;; *) BORROWED="$BORROWED$4$NL" ;; esac ;;
    replaced) BORROWED="$BORROWED$4$NL" ;;
    file)
      case $4 in
        # Whole directories where they are ours alone.
        "$STATE"/* | "$UNIT_DIR"/fleetd-*.d/*) NAMED=$NAMED${4%/*}$NL ;;
        "$UNIT_DIR"/fleetd-*) ;;
        *) NAMED=$NAMED$4$NL ;;
      esac
      ;;
  esac
}

# follow_paths: puts the places that there always are before what the ledger names.
follow_paths() {
  follow_path "$STATE/ledger"
  follow_path "$UNIT_DIR"
  follow_path "$RUN/probe"
  set +f
  for link in "$UNIT_DIR"/*.wants/fleetd-* "$UNIT_DIR"/*.requires/fleetd-*; do
    # Once seen, a directory of links stays watched: a link that is gone is no reason to look away.
    [ ! -L "$link" ] || has "$WANTS" "${link%/*}" || WANTS=$WANTS${link%/*}$NL
  done
  set -f
  IFS=$NL
  for path in $WANTS $NAMED; do follow_path "$path"; done
  IFS=$TAB$NL' '
}

# follow_path PATH: adds it to PATHS; systemd would read a % as more than that.
follow_path() {
  case $1 in *%*) return 0 ;; esac
  ! has "$PATHS" "$1" || return 0
  if [ "$COUNT" -ge "$MOST_PATHS" ]; then
    LEFT=$((LEFT + 1))
  else
    PATHS=$PATHS$1$NL COUNT=$((COUNT + 1))
  fi
}
