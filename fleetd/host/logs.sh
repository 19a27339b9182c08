# Hands over to journalctl; what follows BEGIN is its output.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

verb_logs() {
  UNITS='' LINES=-1 FOLLOW=0 SINCE=''
  read_body logs_asked || exit 3
  set --
  IFS=$NL
  for unit in $UNITS; do set -- "$@" -u "$unit"; done
  IFS=$TAB$NL' '
  [ $# -gt 0 ] || exit 3
  [ "$LINES" = -1 ] || set -- "$@" -n "$LINES"
  [ "$FOLLOW" = 0 ] || set -- "$@" -f
  [ -z "$SINCE" ] || set -- "$@" --since "$SINCE"
  exec journalctl -q -o short-iso --no-pager "$@" </dev/null
}

logs_asked() {
  case $1 in
    logs)
      plain "$4"
      LINES=$2 FOLLOW=$3 SINCE=$PLAIN
      ;;
    unit) UNITS="$UNITS$2$NL" ;;
  esac
}
