# Runs a command on the host or in a container; what follows BEGIN is its output, and the exit status is
# its own. Arguments come by length and are never read by a shell.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

verb_exec() {
  LENGTHS=''
  read_body exec_asked || exit 3
  set --
  IFS=$NL
  for length in $LENGTHS; do
    argument=$(head -c "$length" && printf .) || exit 3
    argument=${argument%.}
    [ "${#argument}" -eq "$length" ] || exit 3
    set -- "$@" "$argument"
  done
  unset IFS
  [ $# -gt 0 ] || exit 3
  unset TZ SYSTEMD_LOG_COLOR
  umask 022
  set +f
  [ -z "$CONTAINER" ] || exec "$RUNTIME" exec "$CONTAINER" "$@" </dev/null
  exec "$@" </dev/null
}

exec_asked() {
  case $1 in
    exec)
      plain "$3"
      RUNTIME=$2 CONTAINER=$PLAIN
      ;;
    arg) LENGTHS="$LENGTHS$2$NL" ;;
  esac
}
