# Takes every trace of the fleet away, whatever it knows of it.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

verb_purge() {
  begin
  read_body purge_asked || exit 3
  PURGED=1
  purge && PURGED=0
  finish "$PURGED" 0
}

purge_asked() {
  [ "$1" = purge ] || return 0
  FLEET=$2 ORDER_TERM=$3
}

purge() {
  enter || return 1
  MINE=$LEDGER OTHERS='' STRAYS='' STRAY_FILES='' SLOT='*'
  on_units 60 'fleetd-op-*' stop || :
  find_strays 'fleetd-*.service' 'fleetd-*.target' 'fleetd-*.timer' 'fleetd-*.socket'
  find_containers "label=fleetd.ds" || return 1
  take_away || return 1
  CHANGED=1
  collect_images '*'
  unmount_below "$STATE/w" || return 1
  rm -rf -- "$STATE/w" "$STATE/stage" "$STATE/fetch" "$STATE/images" "$STATE/ledger" "$STATE/owner" "$RUN" || fail purge "cannot delete $STATE" ||
    return 1
  rmdir -- "$STATE" 2>/dev/null
  return 0
}
