# Takes copies away: what the ledger has of a DaemonSet, and whatever else carries its marks.
#
# Order (P 65): disable, stop, delete, reload, reset-failed, containers, directories; the ledger forgets last,
# so that a removal that was cut is done again.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

verb_remove() {
  begin
  read_body remove_asked || exit 3
  REMOVED=1
  remove && REMOVED=0
  finish "$REMOVED" 1
}

# remove_asked KIND FLEET TERM DS SLOT; the stem of its names comes with the slot, being the last field.
remove_asked() {
  [ "$1" = remove ] || return 0
  FLEET=$2 ORDER_TERM=$3 DS=$4 SLOT=${5%%"$TAB"*} STEM=${5#*"$TAB"}
  case $SLOT in a | b | '*') ;; *) exit 3 ;; esac
}

remove() {
  enter || return 1
  split_ledger "$DS" "$SLOT"
  STRAYS='' STRAY_FILES=''
  if [ "$SLOT" = '*' ]; then
    find_strays "fleetd-$STEM.*"
  else
    set -- "fleetd-$STEM.*.$SLOT"
    find_strays "$1.service" "$1.probe.service" "$1.timer" "$1.socket"
  fi
  find_containers "label=fleetd.ds=$DS" || return 1
  [ -n "$MINE$STRAYS$STRAY_FILES$FOUND" ] || return 0
  if [ -n "$OWNER_FLEET" ]; then own || return 1; fi
  images_of "$DS" "$MINE"
  HAD=$IMAGES_OF
  images_of "$DS" "$OTHERS"
  if [ -n "$IMAGES_OF" ]; then supersede "$DS" "$HAD" "$IMAGES_OF" || return 1; fi
  take_away || return 1
  CHANGED=1
  [ -z "$MINE" ] || put_ledger "$OTHERS" || return 1
  [ -n "$IMAGES_OF" ] || SUPERSEDED=1
  collect_images "$DS"
}

# find_strays PATTERNS...: units of such names that no ledger has: files with our mark, and loaded units whose
# file has it or is gone. A name alone makes nothing ours.
find_strays() {
  for line in $(systemctl show --no-pager -p Id -- "$@" 2>/dev/null); do
    is_foreign "${line#Id=}" || stray "${line#Id=}"
  done
  set +f
  for pattern in "$@"; do
    for file in "$UNIT_DIR"/$pattern; do
      grep -q "^X-Fleetd-DaemonSet=" "$file" 2>/dev/null || continue
      stray "${file##*/}"
      case $NL$OTHERS in *"$TAB$file$TAB"*) ;; *) STRAY_FILES="$STRAY_FILES$file$NL" ;; esac
    done
  done
  set -f
}

is_foreign() {
  fragment=$(systemctl show --no-pager -p FragmentPath -- "$1" 2>/dev/null)
  fragment=${fragment#FragmentPath=}
  [ -n "$fragment" ] && [ -f "$fragment" ] && ! grep -q "^X-Fleetd-DaemonSet=" "$fragment" 2>/dev/null
}

stray() {
  case $1 in '' | fleetd-op-*) return 0 ;; esac
  case $NL$MINE$OTHERS in *"$TAB$1$TAB"*) return 0 ;; esac
  has "$STRAYS" "$1" || STRAYS="$STRAYS$1$NL"
}

# find_containers FILTER: sets FOUND to `runtime id` lines: by our labels, and by the names of the ledger.
find_containers() {
  FOUND=''
  FILTER=$1
  column copy 6 "$MINE"
  ENGINES=$COLUMN
  REQUIRED=1
  case $MINE in '') REQUIRED=0 ENGINES="podman${NL}docker$NL" ;; esac
  each find_in "$ENGINES"
}

find_in() {
  [ "$1" != systemd ] && command -v "$1" >/dev/null 2>&1 || return 0
  set -- "$1" --filter "label=fleetd.fleet=$FLEET" --filter "$FILTER"
  [ "${SLOT:-*}" = '*' ] || set -- "$@" --filter "label=fleetd.slot=$SLOT"
  ENGINE=$1
  shift
  ids=$(timeout -k 5 60 "$ENGINE" ps -aq --no-trunc "$@" 2>/dev/null)
  status=$?
  if [ "$status" != 0 ]; then
    [ "$REQUIRED" = 0 ] || fail containers "$ENGINE ps ended with $status" || return 1
    return 0
  fi
  each found "$ids"
  each find_named "$MINE"
}

found() {
  case $FOUND in *"$TAB$1$NL"*) ;; *) FOUND="$FOUND$ENGINE$TAB$1$NL" ;; esac
}

find_named() {
  [ "$1" = container ] && [ "$5" = "$ENGINE" ] || return 0
  id=$(timeout -k 5 30 "$ENGINE" inspect --type container --format '{{.Id}}' "$4" 2>/dev/null) || return 0
  found "$id"
}

# take_away: MINE, STRAYS, STRAY_FILES and FOUND; OTHERS keeps what it shares with them. What they replaced comes
# back when all of them is gone, since it may want the same ports.
take_away() {
  STOP_S=60 OWN='' LENT='' AWAY='' PATHS='' HOMES='' DIRS=''
  each sort_line "$MINE"
  OWN=$OWN$STRAYS
  reversed "$OWN"
  on_units 60 "$OWN" --no-reload disable || :
  each unlink_unit "$OWN"
  stop_units "$REVERSED" "$STOP_S" || return 1
  each delete_shared "$PATHS$STRAY_FILES"
  each give_back "$LENT"
  daemon_reload || return 1
  on_units 60 "$OWN" reset-failed || :
  each remove_container "$FOUND" || return 1
  each remove_home "$HOMES" || return 1
  reversed "$DIRS"
  each remove_directory "$REVERSED"
  each forget_notes "$OWN$LENT_UNITS"
  each bring_back "$AWAY"
}

# sort_line KIND DS SLOT ...: which of the ledger's things there are to take away.
sort_line() {
  case $1 in
    copy)
      [ "$8" -le "$STOP_S" ] || STOP_S=$8
      HOMES="$HOMES$9$NL"
      ;;
    unit)
      case $NL$OTHERS in *"$TAB$4$TAB"*) return 0 ;; esac
      [ "$5" = borrowed ] || OWN="$OWN$4$NL"
      ;;
    file) PATHS="$PATHS$4$NL" ;;
    dir) DIRS="$DIRS$4$NL" ;;
    borrowed) LENT="$LENT$4$TAB$5$TAB$6$NL" ;;
    replaced)
      case $NL$OTHERS in *"${NL}replaced$TAB$2$TAB"[ab]"$TAB$4$TAB"*) return 0 ;; esac
      # No socket can be started any more when its service runs.
      case $4 in
        *.service) AWAY="$AWAY$4$TAB$5$TAB$6$TAB$7$NL" ;;
        *) AWAY="$4$TAB$5$TAB$6$TAB$7$NL$AWAY" ;;
      esac
      ;;
  esac
}

# unlink_unit UNIT: links that `disable` leaves when the unit's text is gone.
unlink_unit() {
  set +f
  for link in "$UNIT_DIR"/*.wants/"$1" "$UNIT_DIR"/*.requires/"$1"; do
    [ ! -L "$link" ] || rm -f -- "$link"
  done
  set -f
}

delete_shared() {
  case $NL$OTHERS in *"$TAB$1$TAB"*) return 0 ;; esac
  rm -f -- "$1" "${1%/*}/.${1##*/}.fleetd-new"
}

# give_back UNIT FILE-STATE ACTIVE-STATE: a borrowed unit is again as it was before us.
give_back() {
  LENT_UNITS="${LENT_UNITS-}$1$NL"
  case $2 in
    disabled) on_units 60 "$1" --no-reload disable || : ;;
    masked*) on_units 60 "$1" --no-reload mask || : ;;
  esac
  case $3 in
    active | activating | reloading | refreshing) ;;
    *) on_units "$((STOP_S + 30))" "$1" stop || : ;;
  esac
}

# bring_back UNIT FILE-STATE ACTIVE-STATE PLACE: a replaced unit is again as it was before us. Nothing is done
# for one that was uninstalled meanwhile, and nothing is taken from what somebody gave it since.
bring_back() {
  unit=$1 named=$1
  unit_states "$1" || return 1
  state_of "$unit"
  if [ "$LOAD" = not-found ] && [ "$4" != - ] && [ -f "$4" ]; then
    named=$4
  else
    case $LOAD in not-found | masked) return 0 ;; esac
  fi
  case $2 in
    enabled) on_units 90 "$named" enable || fail restore "systemctl enable: $SAID" || return 1 ;;
    enabled-runtime) on_units 90 "$named" --runtime enable || fail restore "systemctl enable: $SAID" || return 1 ;;
  esac
  case $3 in
    active | activating | reloading | refreshing)
      on_units 60 "$unit" start --no-block || fail restore "systemctl start: $SAID" || return 1
      ;;
  esac
  NOTES="${NOTES}note$TAB$unit is as it was before: $2, $3$NL"
}

remove_container() {
  SAID=$(timeout -k 10 120 "$1" rm -f -v "$2" 2>&1 9>&-) && return 0
  "$1" inspect --type container "$2" >/dev/null 2>&1 || return 0
  fail containers "$1 rm $2: $SAID"
}

remove_home() {
  case $1 in *..* | "$STATE"/w/*/*/*) return 0 ;; "$STATE"/w/*/[ab]) ;; *) return 0 ;; esac
  case $NL$OTHERS in *"$TAB$1$NL"*) return 0 ;; esac
  unmount_below "$1" || return 1
  rm -rf -- "$1"
  rmdir -- "${1%/*}" "$STATE/w" 2>/dev/null
  return 0
}

# remove_directory PATH: made by us; goes when nobody has put anything there.
remove_directory() {
  case $NL$OTHERS in *"$TAB$1$NL"*) return 0 ;; esac
  rmdir -- "$1" 2>/dev/null && return 0
  [ ! -f "$1" ] || [ -s "$1" ] || rm -f -- "$1"
  return 0
}

forget_notes() {
  rm -rf -- "$RUN/stamp/$1" "$RUN/probe/$1" "$RUN/env/$1" "$RUN/credentials/$1"
}
