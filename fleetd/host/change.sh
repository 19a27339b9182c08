# What the verbs that change a host share: the lock, the fence, durable files, the ledger, units.
#
# A step that fails sets STEP and WHY and returns 1; its caller returns 1 in turn, and the verb reports it
# with an observation. Nothing is printed while work is under way, and signals of a lost connection are
# ignored, so that a cut leaves either the whole request undone or runs it to its end (P 77).
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

STEP='' WHY='' CHANGED=0 REFUSED=0 STAGE='' NOTES=''

# begin: from here on nobody is listening, or may not be.
begin() {
  trap '' HUP PIPE
  trap 'clean_up' EXIT
}

clean_up() {
  [ -z "$STAGE" ] || rm -rf -- "$STAGE"
}

# fail STEP WHY
fail() {
  STEP=$1 WHY=$2
  return 1
}

# finish STATUS: reports, and observes with the lock given back.
finish() {
  exec 9>&-
  clean_up
  STAGE=''
  if [ "$REFUSED" = 1 ]; then
    one_line "$WHY"
    part refused 0 "$OWNER_FLEET$TAB$OWNER_TERM$TAB$ONE_LINE$NL"
    return 0
  fi
  if [ "$1" = 0 ]; then
    part apply 0 "changed$TAB$CHANGED$NL$NOTES"
  else
    one_line "$WHY"
    part apply 0 "failed$TAB$STEP$TAB$ONE_LINE$NL"
  fi
  observe "$2" 0
}

# fence: whether the host may carry out an order of FLEET and ORDER_TERM (P 86).
fence() {
  case $ORDER_TERM in '' | *[!0-9]*) exit 3 ;; esac
  read_owner || fail owner "$STATE/owner is not whole; see \`fleetd adopt\`" || return 1
  [ -n "$OWNER_FLEET" ] || return 0
  if [ "$OWNER_FLEET" != "$FLEET" ]; then
    REFUSED=1
    fail refused "this host belongs to fleet $OWNER_FLEET" || return 1
  fi
  if [ "$ORDER_TERM" -lt "$OWNER_TERM" ]; then
    REFUSED=1
    fail refused "this host obeys term $OWNER_TERM, and the order is of term $ORDER_TERM" || return 1
  fi
}

# lock: one order at a time (P 85).
lock() {
  mkdir -p -m 0700 "$STATE" && mkdir -p -m 0755 "$RUN" ||
    fail lock "cannot make $STATE and $RUN" || return 1
  while :; do
    exec 9>>"$RUN/lock"
    flock -w 30 -E 75 9
    case $? in
      0) ;;
      75) fail lock "another fleetd is at work on this host" || return 1 ;;
      *) fail lock "flock failed" || return 1 ;;
    esac
    # A purge takes the file away while it holds the lock: then this is the lock of nothing.
    ids=$(stat -L -c '%d %i' -- "$RUN/lock" /proc/self/fd/9 2>/dev/null)
    [ "${ids%%"$NL"*}" != "${ids##*"$NL"}" ] || break
    mkdir -p -m 0755 "$RUN"
  done
}

# enter: the lock and the fence; then LEDGER is ours to change.
enter() {
  lock && fence && read_ledger
}

read_ledger() {
  load_ledger || fail ledger "$STATE/ledger is not whole; move it away after a look"
}

# own: claims the host for FLEET, or raises its term; before the first change of a visit.
own() {
  CHANGED=1
  [ "$OWNER_FLEET" != "$FLEET" ] || [ "$ORDER_TERM" != "$OWNER_TERM" ] || return 0
  put "$STATE/owner" "$FLEET$TAB${OWNER_KEY:-$KEY}$TAB$ORDER_TERM$NL" ||
    fail owner "cannot write $STATE/owner: $SAID" || return 1
  OWNER_FLEET=$FLEET OWNER_KEY=${OWNER_KEY:-$KEY} OWNER_TERM=$ORDER_TERM
}

# put PATH TEXT: writes a file of ours (0600) so that it is either the old one or the new one, whole.
put() {
  SAID=''
  SAID=$({ printf '%s' "$2" >"$1.new" && [ "$(cat "$1.new")$NL" = "$2" ] && sync -- "$1.new" &&
    mv -fT -- "$1.new" "$1" && sync -- "${1%/*}"; } 2>&1) && return 0
  rm -f -- "$1.new"
  return 1
}

# put_ledger LINES: replaces the ledger; `end` tells a reader that it is whole.
put_ledger() {
  own || return 1
  put "$STATE/ledger" "${1}end$NL" || fail ledger "cannot write $STATE/ledger: $SAID" || return 1
  LEDGER=$1
}

# split_ledger DS SLOT: sets MINE to the lines of that copy (slot `*`: of every slot) and OTHERS to the rest.
split_ledger() {
  MINE='' OTHERS='' WANT_DS=$1 WANT_SLOT=$2
  each split_line "$LEDGER"
}

split_line() {
  if [ "$2" = "$WANT_DS" ] && { [ "$WANT_SLOT" = '*' ] || [ "$3" = "$WANT_SLOT" ]; }; then
    MINE=$MINE$line$NL
  else
    OTHERS=$OTHERS$line$NL
  fi
}

# column KIND NUMBER LINES: sets COLUMN to the field (4 is the first after kind, copy and slot) of all lines
# of that kind, one per line.
column() {
  COLUMN='' WANT_KIND=$1 WANT_FIELD=$(($2 - 1))
  each column_line "$3"
}

column_line() {
  [ "$1" = "$WANT_KIND" ] || return 0
  shift "$WANT_FIELD"
  COLUMN=$COLUMN$1$NL
}

# unit_states UNITS: sets STATES to `unit load active file-state need-reload invocation`, one line each.
unit_states() {
  STATES='' FIRST='' shown=''
  [ -n "$1" ] || return 0
  IFS=$NL
  # shellcheck disable=SC2086
  shown=$(systemctl show --no-pager \
    -p Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,InvocationID -- $1 2>&1) ||
    fail systemctl "$shown" || return 1
  reset_state
  for line in $shown; do
    name=${line%%=*}
    [ -n "$FIRST" ] || FIRST=$name
    if [ "$name" = "$FIRST" ] && [ -n "$s_id" ]; then keep_state; fi
    line=${line#*=}
    case $name in
      Id) s_id=$line ;;
      LoadState) s_load=$line ;;
      ActiveState) s_active=$line ;;
      UnitFileState) s_file=${line:--} ;;
      NeedDaemonReload) s_reload=$line ;;
      InvocationID) s_invocation=${line:--} ;;
    esac
  done
  [ -z "$s_id" ] || keep_state
  IFS=$TAB$NL' '
}

keep_state() {
  STATES="$STATES$s_id$TAB$s_load$TAB$s_active$TAB$s_file$TAB$s_reload$TAB$s_invocation$NL"
  reset_state
}

reset_state() {
  s_id='' s_load=- s_active=- s_file=- s_reload=no s_invocation=-
}

# state_of UNIT: sets LOAD, ACTIVE, FILE_STATE, NEED_RELOAD and INVOCATION from STATES.
state_of() {
  LOAD=not-found ACTIVE=inactive FILE_STATE=- NEED_RELOAD=no INVOCATION=-
  state=$NL$STATES
  case $state in *"$NL$1$TAB"*) ;; *) return 0 ;; esac
  state=${state#*"$NL$1$TAB"}
  IFS=$TAB
  # shellcheck disable=SC2086
  set -- ${state%%"$NL"*}
  IFS=$TAB$NL' '
  LOAD=$1 ACTIVE=$2 FILE_STATE=$3 NEED_RELOAD=$4 INVOCATION=$5
}

# on_units SECONDS LINES COMMAND...: runs `systemctl COMMAND... -- UNITS`, if there are any, for SECONDS at most.
on_units() {
  seconds=$1 units=$2
  shift 2
  [ -n "$units" ] || return 0
  IFS=$NL
  # shellcheck disable=SC2086
  SAID=$(timeout -k 10 "$seconds" systemctl "$@" -- $units 2>&1)
  status=$?
  IFS=$TAB$NL' '
  return "$status"
}

# daemon_reload: at most one per visit; newer systemd may ask for patience (P 57).
daemon_reload() {
  for pause in 0 1 2 5; do
    sleep "$pause"
    SAID=$(timeout -k 10 120 systemctl daemon-reload 2>&1) && return 0
  done
  fail reload "systemctl daemon-reload: $SAID"
}

# stop_units UNITS SECONDS: stops those that systemd knows, whatever their state.
stop_units() {
  unit_states "$1" || return 1
  KNOWN=''
  each known_unit "$STATES"
  on_units "$(($2 + 30))" "$KNOWN" stop || fail stop "systemctl stop: $SAID"
}

known_unit() {
  case $2 in
    not-found | masked) [ "$3" = inactive ] || KNOWN="$KNOWN$1$NL" ;;
    *) KNOWN="$KNOWN$1$NL" ;;
  esac
}

# reversed LINES: sets REVERSED.
reversed() {
  REVERSED=''
  each reverse_line "$1"
}

reverse_line() {
  REVERSED=$1$NL$REVERSED
}

# unmount_below DIR [KEPT]: takes off what is mounted below DIR, innermost first, but not what is below KEPT:
# volumes in memory, and what a container mounted into a volume. Nothing may be deleted through a mount.
unmount_below() {
  BELOW=''
  while IFS=' ' read -r _ _ _ _ at _; do
    case $at in
      "${2:-//}"/*) ;;
      "$1"/*) BELOW=$at$NL$BELOW ;;
    esac
  done </proc/self/mountinfo
  each unmount_one "$BELOW"
}

# unmount_one PATH, as the kernel writes it: blanks in octal. A busy one goes with its last user.
unmount_one() {
  at=$(printf %b. "$1")
  umount -- "${at%.}" 2>/dev/null || SAID=$(umount -l -- "${at%.}" 2>&1) || fail unmount "$SAID"
}
